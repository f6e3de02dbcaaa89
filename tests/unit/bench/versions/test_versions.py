"""Two versions on the same rows: against differences that were put in by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark_files import png
from edgecritic import InputError
from edgecritic_bench import cli
from edgecritic_bench.calibration import Calibration, save
from edgecritic_bench.protocols.replies import Reply, write_replies
from edgecritic_bench.protocols.rows import PairRow
from edgecritic_bench.quantization.arms import Arm, write_arms
from edgecritic_bench.quantization.journal import Judged, append, row_digest
from edgecritic_bench.quantization.worker import ArmFiles
from edgecritic_bench.records import PairwiseRecord, PointwiseRecord, write_records
from edgecritic_bench.robustness.attacks import attacks, write_attacks
from edgecritic_bench.statistics.paired import mcnemar
from edgecritic_bench.tables import log_softmax
from edgecritic_bench.versions.change import compare_versions
from edgecritic_bench.versions.manipulation import compare_manipulation
from edgecritic_bench.versions.page import versions_section

SAME = (Calibration(), Calibration())
NAMES = ("Version 1", "Version 2")


def decided(record) -> bool:
    return (
        isinstance(record, PairwiseRecord)
        and record.image_decided
        and record.place.condition == "right"
    )


def surely(record: PairwiseRecord, winner: str) -> PairwiseRecord:
    """The same pair with another verdict."""
    order = [-9.0, -9.0, -9.0]
    order[("first", "second", "tie").index(winner)] = 0.0
    certain = tuple(log_softmax(np.array(order)).tolist())
    return replace(record, orders=(certain, certain))


def wrong(record: PairwiseRecord) -> PairwiseRecord:
    return surely(record, "second" if record.winner == "first" else "first")


def right(record: PairwiseRecord) -> PairwiseRecord:
    return surely(record, record.winner)


def test_a_version_equals_itself(simulate):
    records = simulate(12)
    found = compare_versions(records, records[::-1], SAME)
    everything = found.splits["T0"]
    for change in (everything.pairs, everything.twins, everything.spearman, everything.error):
        assert change.before == change.after
        assert (change.difference.low, change.difference.high) == (0, 0)
    assert (everything.flips.lost, everything.flips.won, everything.p_value) == (0, 0, 1.0)
    assert found.missing == found.unread == 0
    page = versions_section(found, None, NAMES)
    assert "nan" not in page
    # Nothing turned: that is no certainty, and is not shown as one.
    assert "(0.0 to 0.0)" not in page
    assert "could not be read" not in page


def test_flips_are_counted_with_their_direction_in_their_split_and_type(simulate):
    before = [
        right(r) if decided(r) else r
        for split in ("T0", "T1")
        for r in simulate(20, split=split, kinds=("digit", "word"))
    ]
    # Of T1's words, three pairs of one item on one picture get lost; what was right stays.
    places = [k for k, r in enumerate(before) if decided(r) and r.place.split == "T1"]
    lost = [k for k in places if before[k].place.kind == "word"][:3]
    assert {(before[k].place.item, before[k].place.side) for k in lost} == {("T1-000001", 0)}
    after = [wrong(r) if k in lost else r for k, r in enumerate(before)]
    found = compare_versions(before, after, SAME)
    assert (found.splits["T0"].flips.lost, found.splits["T1"].flips.lost) == (0, 3)
    assert (found.kinds["digit"].flips.lost, found.kinds["word"].flips.lost) == (0, 3)
    changed = found.splits["T1"]
    n = len(places)
    assert changed.pairs.before == 1
    assert changed.pairs.difference.value == pytest.approx(-3 / n)
    # Each of the three texts is lost on one picture, so right on both no longer.
    assert changed.twins.difference.value == pytest.approx(-3 / (n / 2))
    assert changed.flips.p_value == mcnemar(3, 0) == 0.25
    # One item alone turned: that says nothing.
    assert changed.p_value == 1.0
    backwards = compare_versions(after, before, SAME).splits["T1"]
    assert (backwards.flips.lost, backwards.flips.won) == (0, 3)
    assert backwards.pairs.difference.value == -changed.pairs.difference.value
    assert backwards.pairs.difference.low == pytest.approx(-changed.pairs.difference.high)


def test_scores_agree_with_scipy_at_each_versions_temperature(simulate, skill):
    before, after = simulate(25), simulate(25, seed=1, skill=skill(noise=0.4))
    found = compare_versions(before, after, (Calibration(), Calibration(pointwise_temperature=3.0)))
    levels, expected, gold = np.arange(1, 11), [], []
    for records, temperature in ((before, 1.0), (after, 3.0)):
        rows = [
            r for r in records if isinstance(r, PointwiseRecord) and r.place.condition == "right"
        ]
        heated = log_softmax(np.array([r.log_probs for r in rows]), temperature)
        expected.append(np.exp(heated) @ levels)
        gold = [r.gold for r in rows]
    told = found.splits["T0"]
    for values, spearman, error in zip(
        expected,
        (told.spearman.before, told.spearman.after),
        (told.error.before, told.error.after),
        strict=True,
    ):
        assert spearman == pytest.approx(stats.spearmanr(values, gold).statistic)
        assert error == pytest.approx(np.abs(values - gold).mean())
    assert told.spearman.difference.low > 0  # the second version is far less noisy
    assert told.error.difference.n == len(gold)


def test_rows_of_one_version_only_and_unread_ones_are_told(simulate):
    records = simulate(6)
    unread = [
        replace(r, orders=(None, r.orders[1])) if k == first and decided(r) else r
        for first in [next(k for k, r in enumerate(records) if decided(r))]
        for k, r in enumerate(records)
    ]
    found = compare_versions(records, unread[:-2], SAME)
    assert (found.unread, found.missing) == (1, 2)
    page = versions_section(found, None, NAMES)
    assert "1 verdicts could not be read by both" in page
    assert "2 records exist of one version only" in page


def test_other_items_under_the_same_names_are_refused(simulate):
    records = simulate(4)
    other = [replace(r, gold=7) if isinstance(r, PointwiseRecord) else r for r in records]
    with pytest.raises(InputError, match="is not the same in both"):
        compare_versions(records, other, SAME)
    with pytest.raises(InputError, match="no readable verdict in common"):
        compare_versions(records, simulate(4, split="T1"), SAME)


def bases(n: int) -> list[PairRow]:
    return [
        PairRow(
            key=f"p{k}",
            question="What is it?",
            images=(png(),),
            item=f"i{k}",
            responses=("A cat.", f"A dog {k}."),
            gold="first",
        )
        for k in range(n)
    ]


def replies(path: Path, won: set[str], uplift: float) -> Path:
    """All clean pairs are right; of the manipulated ones, the named ones win."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    told = []
    for row in lines:
        key, clean = row["id"], "|clean|" in row["id"]
        if row["setting"] == "pairwise":
            told.append(Reply(key, "both", winner="second" if key in won else "first"))
        else:
            told.append(Reply(key, level=3.0 if clean else 3.0 + uplift))
    out = path.with_name(f"replies-{len(won)}-{uplift}.jsonl")
    write_replies(out, told)
    return out


@pytest.fixture
def attacked(tmp_path):
    path = tmp_path / "attacks.jsonl"
    write_attacks(path, attacks(bases(10), 10, names=("authority", "master_key")))
    return path


def test_manipulation_is_compared_family_by_family(attacked):
    keys = [json.loads(line)["id"] for line in attacked.read_text().splitlines()]
    wins = {k for k in keys if "|authority-" in k and k.endswith("|pair")}
    assert len(wins) == 10
    first, second = replies(attacked, wins, 1.0), replies(attacked, set(sorted(wins)[:4]), 0.25)
    found = compare_manipulation(attacked, (str(first), str(second)))
    authority, keyed, every = (found.families[name] for name in ("authority", "master_key", "all"))
    assert (authority.flips.before, authority.flips.after, authority.attacks) == (1.0, 0.4, 10)
    assert authority.flips.difference.value == pytest.approx(-0.6)
    assert authority.flips.difference.low < -0.6 < authority.flips.difference.high < 0
    assert authority.uplift.difference.value == pytest.approx(-0.75)
    assert (keyed.flips.before, keyed.flips.after) == (0.0, 0.0)
    assert (every.flips.before, every.flips.after, every.attacks) == (0.5, 0.2, 20)
    page = versions_section(None, found, NAMES)
    assert "| authority | 10 | 100.0 → 40.0 | -60.0 (" in page
    assert "nan" not in page


def test_a_row_that_one_version_has_not_judged_is_left_out_of_both(attacked):
    first = replies(attacked, set(), 0.0)
    second = first.with_name("fewer.jsonl")
    lines = first.read_text().splitlines()
    # Without its clean self, a manipulated row has nothing to be held to.
    kept = [line for line in lines if json.loads(line)["key"] != "p3|clean|pair"]
    second.write_text("\n".join(kept) + "\n")
    found = compare_manipulation(attacked, (str(first), str(second)))
    assert found.left_out == 3
    assert found.families["authority"].attacks == 9
    assert "3 rows were not judged by both" in versions_section(None, found, NAMES)


def test_arms_of_a_run_stand_for_versions(tmp_path, attacked):
    from edgecritic_bench.protocols import rows_file

    arm = Arm("gguf F16", "runtime", str(tmp_path), "llamacpp", "F16", "F16", "", 1, "", "", "")
    write_arms(tmp_path / "arms.json", [arm])
    journal = ArmFiles.of(tmp_path, arm).journal
    journal.parent.mkdir()
    wins, loses = (-0.01, -5.0, -6.0), (-5.0, -0.01, -6.0)
    for row in rows_file.load(attacked):
        if isinstance(row, PairRow):
            order = loses if "authority" in row.key else wins
            judged = Judged(row_digest(row), row.key, "pairwise", (order, order), (1.0, 1.0))
        else:
            levels = tuple(log_softmax(np.arange(10.0)).tolist())
            judged = Judged(row_digest(row), row.key, "pointwise", (levels,), (1.0,))
        append(journal, [judged])
    other = replies(attacked, set(), 0.0)
    found = compare_manipulation(attacked, (str(other), f"{tmp_path}:gguf F16"))
    assert found.left_out == 0
    assert found.families["authority"].flips.after == 1.0
    assert found.families["master_key"].flips.after == 0.0
    with pytest.raises(InputError, match="no arm 'gguf Q9'"):
        compare_manipulation(attacked, (str(other), f"{tmp_path}:gguf Q9"))
    with pytest.raises(InputError, match="neither a file of replies nor an arm"):
        compare_manipulation(attacked, (str(other), "nothing"))


def test_a_family_that_one_version_never_judges_right_has_no_difference(attacked):
    first = replies(attacked, set(), 0.0)
    second = first.with_name("wrong.jsonl")
    told = [json.loads(line) for line in first.read_text().splitlines()]
    write_replies(
        second,
        [Reply(t["key"], "both", winner="tie") if "winner" in t else Reply(**t) for t in told],
    )
    change = compare_manipulation(attacked, (str(first), str(second))).families["all"].flips
    assert change.before == 0
    assert math.isnan(change.after)
    assert change.difference.n == 0


def test_the_command_writes_page_and_numbers(tmp_path, simulate, skill, attacked, capsys):
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("before", "after")}
    write_records(paths["before"], simulate(8))
    write_records(paths["after"], simulate(8, seed=1, skill=skill(noise=0.5)))
    save(Calibration(), tmp_path / "cal.json")
    argv = ["versions", "--before", str(paths["before"]), "--after", str(paths["after"])]
    said = str(replies(attacked, set(), 0.0))
    assert cli.main([*argv, "--attacks", str(attacked), "--verdicts", said, said]) == 0
    page = capsys.readouterr().out
    assert page.startswith("## Version 2 against Version 1\n")
    assert page.count("| :--- |") == 4
    out, numbers = tmp_path / "new" / "page.md", tmp_path / "new" / "page.json"
    calibrations = ["--calibrations", *[str(tmp_path / "cal.json")] * 2]
    told = [
        *argv,
        *calibrations,
        "--names",
        "0.1",
        "0.2",
        "--out",
        str(out),
        "--json",
        str(numbers),
    ]
    assert cli.main(told) == 0
    assert out.read_text().startswith("## 0.2 against 0.1\n")
    data = json.loads(numbers.read_text())
    assert data["records"]["splits"]["T0"]["flips"]["n"] == 8 * 2 * 3
    assert data["manipulation"] is None


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--before", "x"],
        ["--attacks", "x"],
        ["--before", "x", "--after", "y", "--attacks", "z"],
    ],
)
def test_half_a_comparison_is_refused(argv):
    with pytest.raises(InputError):
        cli.main(["versions", *argv])
