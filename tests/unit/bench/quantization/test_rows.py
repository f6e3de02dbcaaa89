"""What is drawn from data: the same for everybody, few rows of an item, attacks and clean rows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from edgecritic import InputError
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.journal import Judged, append, read_journal, row_digest
from edgecritic_bench.quantization.rows import Sample, prepare_rows, read_rows
from edgecritic_bench.robustness.families import families
from edgecritic_bench.robustness.pictures import CONTROLS, ORDERED
from simulated_ladder import write_rows


def test_a_sample_is_the_same_for_everybody_and_has_few_rows_of_an_item(tmp_path):
    data = str(write_rows(tmp_path / "data", 20))
    wanted = Sample((data,), pairs=21, scores=17, per_item=2, attacks=0, seed=3)
    rows = read_rows(wanted, tmp_path)
    assert rows == read_rows(wanted, tmp_path)
    assert rows != read_rows(replace(wanted, seed=4), tmp_path)
    assert not rows.attacked
    kinds = Counter(type(row) for row in rows.sample)
    assert kinds == {PairRow: 21, ScoreRow: 17}
    assert max(Counter((row.item, type(row)) for row in rows.sample).values()) == 2
    assert set(rows.sources.values()) == {"rows"}


def test_every_family_attacks_the_same_pairs(tmp_path):
    data = str(write_rows(tmp_path / "data", 8))
    wanted = Sample((data,), attacks=4)
    with pytest.raises(InputError, match=r"attacks\.jsonl"):
        read_rows(wanted, tmp_path)  # only the process that starts others makes them
    rows = prepare_rows(wanted, tmp_path)
    assert read_rows(wanted, tmp_path) == rows
    names = Counter(row.key.split("|")[1].rpartition("-")[0] for row in rows.attacked)
    assert names.pop("") == 2 * 4  # clean
    assert names == dict.fromkeys((*families(), *CONTROLS, ORDERED), 2 * 4)
    bases = {row.key.split("|")[0] for row in rows.attacked}
    assert len(bases) == 4
    assert all(row.key.split("|")[1] == "clean" or row.images for row in rows.attacked)


def test_data_that_gives_nothing(tmp_path):
    path = tmp_path / "order.jsonl"
    row = {"id": "a", "setting": "listwise", "question": "?", "responses": ["a", "b"]}
    path.write_text(json.dumps({**row, "verdict": [1, 0]}) + "\n")
    with pytest.raises(InputError, match="no pair and no score"):
        read_rows(Sample((str(path),), attacks=0), tmp_path)
    data = str(write_rows(tmp_path / "data", 2))
    with pytest.raises(InputError, match="same name"):
        read_rows(Sample((data, data), attacks=0), tmp_path)
    with pytest.raises(InputError, match="which benchmark"):
        read_rows(Sample(("hub:",), attacks=0), tmp_path)
    assert Sample.from_dict(Sample((data,)).to_dict()) == Sample((data,))


def test_a_folder_may_have_a_benchmarks_name(tmp_path, monkeypatch):
    write_rows(tmp_path / "rows", 3)
    (tmp_path / "other.jsonl").write_text("{}\n")  # would be read if "rows" meant the protocol
    monkeypatch.chdir(tmp_path)
    assert read_rows(Sample(("rows",), attacks=0), tmp_path).sample


def test_a_digest_is_of_everything_that_a_judgement_depends_on(tmp_path):
    data = str(write_rows(tmp_path / "data", 2))
    rows = read_rows(Sample((data,), attacks=0), tmp_path).sample
    row = next(row for row in rows if isinstance(row, ScoreRow))
    same = (replace(row, key="other"), replace(row, gold=3.0), replace(row, category="x"))
    assert {row_digest(one) for one in same} == {row_digest(row)}
    others = (
        replace(row, response="Another."),
        replace(row, question="Another?"),
        replace(row, images=()),
        replace(row, reference="It is so."),
        replace(row, rubric=replace(row.rubric, high=5)),
    )
    assert len({row_digest(one) for one in (row, *others)}) == 6


def test_a_journal_survives_a_kill(tmp_path):
    path = tmp_path / "arm.jsonl"
    assert read_journal(path) == {}
    rows = [Judged(f"d{n}", f"r{n}", "pointwise", ((-0.1, -2.35),), (0.9,)) for n in range(3)]
    append(path, rows)
    with path.open("a") as file:
        file.write(rows[0].to_line()[:40])
    assert list(read_journal(path).values()) == rows
    assert path.read_text().count("\n") == 3  # whoever reads does not repair
    path.write_text('{"digest": 3}\n')
    with pytest.raises(InputError, match=r"arm\.jsonl:1"):
        read_journal(path)
