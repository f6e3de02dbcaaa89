"""Tables to judge and tables to learn from name responses alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgecritic import CompareRequest, InputError, ScoreRequest
from edgecritic.batch import read_rows
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.sources.cases import TableOptions, read_cases
from edgecritic_train.critic_data.sources.intake import Intake

NAMED: tuple[tuple[Mapping[str, object], list[str]], ...] = (
    ({"response": "A cat."}, ["A cat."]),
    ({"first": "A cat.", "second": "A dog."}, ["A cat.", "A dog."]),
    ({"chosen": "A cat.", "rejected": "A dog."}, ["A cat.", "A dog."]),
    ({"response_1": "A cat.", "response_2": "A dog."}, ["A cat.", "A dog."]),
    ({"response_1": "A cat.", "response_2": "A dog.", "response_3": ""}, ["A cat.", "A dog."]),
    ({"responses": ["A cat.", "A dog."]}, ["A cat.", "A dog."]),
    ({"responses": ["A cat."]}, ["A cat."]),
)


def table(path: Path, record: Mapping[str, object]) -> Path:
    record = {"question": "What is it?", **record}
    if path.suffix == ".jsonl":
        path.write_text(json.dumps(record))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, record)
        writer.writeheader()
        writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in record.items()})
    return path


@pytest.mark.parametrize(("record", "responses"), NAMED)
@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_judging_and_training_take_the_same_tables(
    tmp_path: Path, name: str, record: Mapping[str, object], responses: list[str]
) -> None:
    path = table(tmp_path / name, record)
    (row,) = read_rows(path)
    assert isinstance(row.asked, ScoreRequest if len(responses) == 1 else CompareRequest)
    assert list(row.asked.responses) == responses
    (case,) = read_cases(path, TableOptions({}), PictureStore(tmp_path), Intake(strict=True))
    shown = list(case.responses)
    if "chosen" in record:  # its place is drawn
        assert case.winner == ("first", "second")[shown.index("A cat.")]
        shown.sort()
    assert shown == responses


def test_more_than_two_are_ranked_and_not_compared(tmp_path: Path) -> None:
    path = table(tmp_path / "t.jsonl", {f"response_{k}": str(k) for k in (10, 2, 1)})
    (case,) = read_cases(path, TableOptions({}), PictureStore(tmp_path), Intake(strict=True))
    assert case.responses == ("1", "2", "10")
    (row,) = read_rows(path)
    assert isinstance(row.asked, InputError)
    assert "3 responses in 'response_1', 'response_2', 'response_10'" in row.asked.message
