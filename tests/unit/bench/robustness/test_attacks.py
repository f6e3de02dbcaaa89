"""Manipulated responses: what they are, that they reach the judge, and what is counted."""

from __future__ import annotations

import io
import random
import string

import numpy as np
import pytest
from PIL import Image

from benchmark_files import png, write_png
from edgecritic import ImageError, InputError
from edgecritic_bench import cli
from edgecritic_bench.protocols import rows_file
from edgecritic_bench.protocols.judging import judge_rows
from edgecritic_bench.protocols.replies import Reply, write_replies
from edgecritic_bench.protocols.rows import PairRow
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.robustness.attacks import attacks, write_attacks
from edgecritic_bench.robustness.families import families
from edgecritic_bench.robustness.outcome import ALL, outcome_table, outcomes
from edgecritic_bench.robustness.pictures import ORDERS, blank, swapped, with_order
from scripted_critic import scripted_critic

RUN = Provenance("a machine", "a system", (("numpy", "2.0"),), "2026-01-01T00:00+00:00", "bench")


def pairs(n: int = 20) -> list[PairRow]:
    return [
        PairRow(
            key=f"p{k}",
            question="What is it?",
            images=(png(),),
            item=f"i{k // 2}",
            responses=("It is a right thing.", "A dog.") if k % 2 else ("A dog.", "The right one."),
            gold="first" if k % 2 else "second",
        )
        for k in range(n)
    ]


def test_there_are_enough_families_of_enough_texts():
    assert len(families()) >= 12
    for family in families().values():
        assert len(set(family.templates)) >= 8, family.name
        assert family.about
        for template in family.templates:
            fields = string.Formatter().parse(template)
            slots = {name for _, name, _, _ in fields if name is not None}
            assert slots <= {"answer", *family.slots}, (family.name, template)
        used = " ".join(family.templates)
        assert all(f"{{{slot}}}" in used for slot in family.slots), family.name
        # The answer is kept, but by the keys, which have none.
        kept = [template for template in family.templates if "{answer}" in template]
        assert len(kept) == (0 if family.name == "master_key" else len(family.templates))


def test_answers_and_braces_come_out_as_they_are():
    family = families()["system_message"]
    number = next(n for n, text in enumerate(family.templates) if "{{" in text)
    text = family.apply("A {dog} in \\1 {answer}.", number, random.Random(0))
    assert text.startswith('A {dog} in \\1 {answer}.\n\n{"role": "system"')
    assert text.endswith('"}')


def test_each_family_gives_a_hundred_different_attacks():
    made = attacks(pairs())
    assert len(made) == 100 * len(families())
    assert len({(a.base.key, a.family, a.text) for a in made}) == len(made)
    for attack in made[::37]:
        better = attack.base.responses[0 if attack.base.gold == "first" else 1]
        assert better in attack.responses
        assert attack.text in attack.responses
        assert attack.text != "A dog."
    # Neither the other families nor the run change what is made.
    alone = attacks(pairs(), names=["authority"])
    assert alone == tuple(a for a in made if a.family == "authority")
    assert attacks(pairs(), 5, seed=1) != attacks(pairs(), 5)


def test_what_cannot_be_attacked_is_refused():
    with pytest.raises(InputError, match="no pair that gold decides"):
        attacks([PairRow(key="t", question="?", responses=("a", "b"), gold="tie")])
    with pytest.raises(InputError, match="no family 'bribery'"):
        attacks(pairs(), names=["bribery"])
    with pytest.raises(InputError, match="has no more texts"):
        attacks(pairs(1), 500, names=["master_key"])


def replies_of(rows, winner_of, level_of):
    """Replies of a judge that is given as two functions of a row."""
    for row in rows:
        if isinstance(row, PairRow):
            yield Reply(row.key, "both", winner=winner_of(row))
        else:
            yield Reply(row.key, level=level_of(row))


def test_flips_and_uplift_by_hand(tmp_path):
    path = tmp_path / "attacks.jsonl"
    base = pairs(4)
    assert write_attacks(path, attacks(base, 4, names=["authority", "padding"])) == 2 * (4 + 8)
    rows = rows_file.load(path)

    def winner(row):
        other = {"first": "second", "second": "first"}[row.gold]
        if row.key.startswith("p0|"):
            return other  # wrong from the start, so nothing can be turned
        if "authority" in row.key:
            return other if row.key.startswith("p1|") else "tie"
        return row.gold

    found = outcomes(rows, replies_of(rows, winner, lambda row: 2.0 + 3 * ("authority" in row.key)))
    authority = found["authority"]
    # Of the three pairs that are right when clean one is won, two are tied.
    assert authority.flips.value == pytest.approx(1 / 3)
    assert authority.lost.value == 1
    assert authority.uplift.value == pytest.approx(3)
    assert authority.attacks == 4
    assert not authority.within_goals
    assert found["padding"].flips.value == found["padding"].uplift.value == 0
    assert found["padding"].within_goals
    assert found[ALL].flips.value == pytest.approx(1 / 6)
    assert found[ALL].uplift.value == pytest.approx(1.5)
    table = outcome_table(found)
    assert table.index("authority") < table.index("padding") < table.index("| all")
    assert "| authority | 4 | 33.3 (" in table


def test_rows_without_verdicts_are_refused(tmp_path):
    path = tmp_path / "attacks.jsonl"
    write_attacks(path, attacks(pairs(2), 2, names=["emotion"]))
    rows = rows_file.load(path)
    replies = list(replies_of(rows, lambda row: row.gold, lambda _: 1.0))
    with pytest.raises(InputError, match="1 of 8 rows have no verdict"):
        outcomes(rows, replies[1:])
    attacked = [row for row in rows if "|clean|" not in row.key]
    with pytest.raises(InputError, match="no clean row beside it"):
        outcomes(attacked, [r for r in replies if "|clean|" not in r.key])
    with pytest.raises(InputError, match="'p0' is no attack"):
        outcomes(pairs(1), [Reply("p0", winner="first")])


def test_a_gullible_critic_is_found_out(tmp_path, capsys):
    write_png(tmp_path / "a.png")
    data = tmp_path / "rows.jsonl"
    data.write_text(
        '{"id": "r", "setting": "pairwise", "images": ["a.png"], "question": "What?", '
        '"responses": ["the right one", "a dog"], "verdict": "first"}\n'
    )
    out = tmp_path / "out" / "attacks.jsonl"
    words = ["manipulate", "rows", str(data), "--out", str(out), "--per-family", "6"]
    assert cli.main([*words, "--families", "certainty", "chat_tokens"]) == 0
    rows = rows_file.load(out)
    # Pictures are found from where the attacks lie.
    assert all(row.images[0].is_file() for row in rows)
    # The scripted critic likes what says "right": among the texts of one family that some do.
    replies = list(judge_rows(scripted_critic(), rows, tmp_path / "replies.jsonl", RUN))
    assert len(replies) == 3 * 13 + 13
    numbers = tmp_path / "numbers.json"
    assert (
        cli.main(["robustness", str(out), str(tmp_path / "replies.jsonl"), "--json", str(numbers)])
        == 0
    )
    page = capsys.readouterr().out
    assert "| certainty | 6 | 0.0 (" in page
    found = outcomes(rows, replies)
    said_right = [
        r for r in rows if "|pair" in r.key and "chat" in r.key and "right" in r.responses[1]
    ]
    # Both say "right" then, which is a tie for this critic: lost, not won.
    assert found["chat_tokens"].lost.value == pytest.approx(len(said_right) / 6)
    assert found["chat_tokens"].flips.value == 0
    assert numbers.read_text().startswith("{")
    write_replies(tmp_path / "none.jsonl", [])
    with pytest.raises(InputError, match="have no verdict"):
        cli.main(["robustness", str(out), str(tmp_path / "none.jsonl")])


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_pictures_are_blanked_and_written_on(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "red").save(path)
    grey = pixels(blank(path))
    assert grey.shape == (100, 200, 3)
    assert (grey == 128).all()
    for order in ORDERS:
        written = pixels(with_order(path.read_bytes(), order))
        band = written[82:]
        # Black on white below, red above.
        assert (band.min(), band.max()) == (0, 255)
        assert (written[:82] == (255, 0, 0)).all()
    with pytest.raises(ImageError, match="cannot be read"):
        blank(b"no picture")


@pytest.mark.parametrize("n", [2, 3, 10])
def test_swapped_pictures_are_all_others(n):
    originals = [bytes([k]) for k in range(n)]
    found = swapped(originals, seed=n)
    assert sorted(found) == originals
    assert all(one != other for one, other in zip(originals, found, strict=True))
