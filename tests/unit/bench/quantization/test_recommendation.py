"""Which arm is recommended, and when none is."""

from __future__ import annotations

from typing import Any

import pytest

from edgecritic import CriticError, InputError
from edgecritic_bench import cli
from edgecritic_bench.quantization.recommendation import parse_bytes, recommend
from edgecritic_bench.quantization.report import read_report, write_report


def claim(
    low: float, high: float, n_items: int = 500, p_value: float = 0.001, margin: float = 0.02
) -> dict[str, Any]:
    return {
        "claim": {
            "equivalence": {"low": low, "high": high, "p_value": p_value, "margin": margin},
            "difference": {"value": (low + high) / 2, "n": 1000, "n_items": n_items},
            "rows_needed": 2142,
        }
    }


def arm(name: str, megabytes: float, pairs: Any, scores: Any = None, peak: float = 0) -> Any:
    role = "reference" if name == "reference" else "quantized"
    cost = {"n_bytes": megabytes * 1e6, "peak_bytes": peak * 1e6, "cpu": 0.25}
    reference = None if role == "reference" else {"pairs": pairs, "scores": scores}
    named = {"name": name, "role": role}
    return {"arm": named, "cost": cost, "reference": reference, "robustness": {}}


ARMS = [
    arm("reference", 600, None),
    arm("F16", 300, claim(-0.004, 0.004), claim(-0.01, 0.01), 700),
    arm("Q8_0", 170, claim(-0.011, 0.006), claim(-0.05, 0.02), 400),
    arm("Q4_K_M", 130, claim(-0.026, 0.001), claim(-0.1, 0.02), 320),
    arm("Q2_K", 110, claim(-0.2, -0.1), claim(-0.9, -0.5), 290),
]


def test_the_smallest_that_is_equivalent():
    assert recommend(ARMS, 0.02).arm == "Q8_0"
    assert recommend(ARMS, 0.03).arm == "Q4_K_M"
    assert recommend(ARMS, 0.25).arm == "Q2_K"
    words = recommend(ARMS, 0.02).words
    assert words.count("\n") == 0
    for part in ("170 MB on disk", "400 MB of memory", "0.25 s", "2 points", "-1.1 to +0.6"):
        assert part in words


def test_scores_have_to_be_equivalent_too():
    arms = [*ARMS[:2], arm("Q8_0", 170, claim(-0.01, 0.01), claim(-0.3, 0.0))]
    assert recommend(arms, 0.02).arm == "F16"
    assert recommend(arms, 0.04).arm == "Q8_0"


def test_what_was_picked_from_many_has_to_stand_beside_all():
    strong = [*ARMS[:2], arm("Q8_0", 170, claim(-0.01, 0.01, p_value=0.02))]
    assert recommend(strong, 0.02).words.endswith("; this holds for 2 claims at once.")
    # Pairs and scores both have to pass: the weaker one counts, once.
    scores = claim(-0.1, 0.1, p_value=0.03, margin=0.18)
    weak = [*strong[:2], arm("Q8_0", 170, claim(-0.01, 0.01, p_value=1e-9), scores)]
    assert recommend(weak, 0.02).words.endswith("; of 2 claims, one as weak may pass by chance.")
    # Another margin than the report's has other chances, which it does not know.
    assert "claims" not in recommend(weak, 0.03).words
    assert "claims" not in recommend([weak[0], weak[2]], 0.02).words


def test_what_was_not_manipulated_is_said():
    tried = [dict(one) for one in ARMS]
    tried[1]["robustness"] = {"all": {}}
    assert "it did not judge manipulated rows" in recommend(tried, 0.02).words
    tried[2]["robustness"] = {"all": {}}
    assert "manipulated" not in recommend(tried, 0.02).words


def test_few_items_are_no_evidence():
    arms = [ARMS[0], arm("Q8_0", 170, claim(-0.001, 0.001, n_items=5))]
    assert recommend(arms, 0.02).arm == ""


def test_the_rows_that_a_claim_takes_are_those_of_the_margin_that_was_asked_for():
    """Four times as many within half of the report's margin."""
    wide = [ARMS[0], arm("Q8_0", 170, claim(-0.2, 0.2))]
    assert recommend(wide, 0.02).words.endswith("a claim takes about 2,142 rows.")
    assert recommend(wide, 0.01).words.endswith("a claim takes about 8,568 rows.")
    assert "a claim takes" not in recommend(wide, 0.04).words  # 536 rows, and 1,000 were judged
    few = [ARMS[0], arm("Q8_0", 170, claim(-0.2, 0.2, n_items=8))]
    assert recommend(few, 0.04).words.endswith("a claim takes 20 items at least.")
    assert recommend(few, 0.02).words.endswith("about 2,142 rows, and 20 items at least.")


def test_memory_and_what_does_not_fit():
    assert recommend(ARMS, 0.03, 350e6).arm == "Q4_K_M"
    none = recommend(ARMS, 0.02, 350e6)
    assert none.arm == ""
    assert "Q4_K_M comes nearest" in none.words
    assert "2,142 rows" in none.words
    assert recommend(ARMS, 0.02, 100e6).words == "No arm fits: the smallest takes 290 MB."
    # Where memory was not measured, the files are the least.
    assert recommend([ARMS[0], arm("F16", 300, claim(0, 0))], 0.02, 299e6).arm == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8e9), ("8 GiB", 8 * 2**30), ("512MiB", 512 * 2**20), ("1e9", 1e9), ("70k", 7e4)],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "", "8 XB", "GB", "1.2.3GB"])
def test_no_sizes(text):
    with pytest.raises(InputError, match="no size"):
        parse_bytes(text)


def test_the_command_answers_in_one_line(report, tmp_path, capsys):
    path = write_report(report, tmp_path)[0]
    assert cli.main(["recommend", str(path), "--margin", "30"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(CriticError, match="No arm fits"):
        cli.main(["recommend", str(path), "--max-ram", "1MB"])
    with pytest.raises(CriticError, match="None of 4 arms"):
        cli.main(["recommend", str(path), "--margin", "0.01", "--max-ram", "8GB"])


def test_reports_that_are_none(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_report(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="no report"):
        read_report(path)
    path.write_text('{"kind": "edgecritic quantization report", "schema": 1}')
    with pytest.raises(InputError, match="schema 1"):
        read_report(path)


def test_the_nearest_is_the_smallest_of_those_that_flip_least():
    arms = [
        ARMS[0],
        *(arm(name, mb, claim(-0.046, 0.046)) for name, mb in (("F16", 300), ("Q8_0", 170))),
        arm("Q4_K_M", 130, claim(-0.025, 0.041)),
    ]
    for one, lost in zip(arms[1:], (0, 0, 4), strict=True):
        one["reference"]["pairs"]["claim"]["flips"] = {"lost": lost, "won": 0}
    assert "Q8_0 comes nearest" in recommend(arms, 0.02).words
