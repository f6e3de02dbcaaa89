"""Records survive the way to a file and back, and damaged ones are named."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic import InputError
from edgecritic_bench.records import (
    LOG_FLOOR,
    PairwiseRecord,
    Place,
    PointwiseRecord,
    parse_line,
    read_records,
    to_line,
    write_records,
)

names = st.text(min_size=1, max_size=12).filter(lambda text: "\n" not in text)
masses = st.floats(0, 1)
places = st.builds(
    Place,
    item=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
    kind=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
    split=st.sampled_from(["T0", "T1"]),
    side=st.sampled_from([0, 1]),
    condition=st.sampled_from(["right", "blank"]),
)


def log_probs(n: int) -> st.SearchStrategy[tuple[float, ...] | None]:
    weights = st.lists(st.floats(-60, 60), min_size=n, max_size=n)

    def normalised(scores: list[float]) -> tuple[float, ...]:
        top = max(scores)
        total = top + math.log(math.fsum(math.exp(score - top) for score in scores))
        return tuple(min(score - total, 0.0) for score in scores)

    return st.none() | weights.map(normalised)


pairwise = st.builds(
    PairwiseRecord,
    place=places,
    first=st.integers(0, 9),
    second=st.integers(0, 9),
    winner=st.sampled_from(["first", "second", "tie"]),
    image_decided=st.booleans(),
    orders=st.tuples(log_probs(3), log_probs(3)),
    mass=st.tuples(masses, masses),
)
pointwise = st.builds(
    PointwiseRecord,
    place=places,
    response=st.integers(0, 9),
    family=st.text(st.characters(codec="utf-8"), max_size=8),
    gold=st.integers(1, 10),
    log_probs=log_probs(10),
    mass=masses,
)


@given(pairwise | pointwise)
def test_a_line_reads_back_as_the_same_record(record):
    line = to_line(record)
    assert "\n" not in line
    assert parse_line(line) == record


def test_the_lines_of_other_engines_are_read():
    line = (
        '{"id": "T0-000001", "kind": "digit", "split": "T0", "side": 1, "setting": "pairwise", '
        '"first": 2, "second": 0, "winner": "tie", "image_decided": false, "condition": "blank", '
        '"orders": [[-0.6931471805599453, -0.6931471805599453, -Infinity], [0, -800, -900]], '
        '"mass": [1.0000000001, 0.2]}'
    )
    record = parse_line(line)
    assert isinstance(record, PairwiseRecord)
    assert record.orders[0][2] == LOG_FLOOR
    assert record.mass == (1.0, 0.2)
    assert not record.readable


GOOD = {
    "id": "T0-1",
    "kind": "digit",
    "split": "T0",
    "side": 0,
    "condition": "right",
    "setting": "pointwise",
    "response": 0,
    "family": "terse",
    "gold": 9,
    "log_probs": [math.log(0.1)] * 10,
    "mass": 0.9,
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"side": 2}, "side is 2"),
        ({"condition": "upside down"}, "condition is 'upside down'"),
        ({"setting": "listwise"}, "setting is 'listwise'"),
        ({"gold": 0}, "gold is 0"),
        ({"gold": 9.5}, "gold is 9.5"),
        ({"log_probs": [0.0] * 9}, "9 log-probabilities, not 10"),
        ({"log_probs": [-0.1] * 10}, "sum to"),
        ({"log_probs": [float("nan")] * 10}, "not logarithms"),
        ({"mass": -0.5}, "mass is -0.5"),
        ({"id": ""}, "not three names"),
        ({"response": -1}, "response is -1"),
        ({"family": None}, "family is None"),
    ],
)
def test_a_wrong_value_is_named_with_its_line(change, told, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(GOOD | change)}\n")
    with pytest.raises(InputError, match=r"records\.jsonl:2") as caught:
        read_records([path])
    assert told in caught.value.message


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_value_is_named(missing):
    with pytest.raises(InputError, match=missing):
        parse_line(json.dumps({key: value for key, value in GOOD.items() if key != missing}))


def test_damaged_lines_and_missing_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="record"):
        parse_line('{"id": ')
    with pytest.raises(InputError, match="record"):
        parse_line("[1, 2]")
    with pytest.raises(InputError, match="cannot be read"):
        read_records([tmp_path / "none.jsonl"])


def test_one_judgement_may_not_count_twice(tmp_path, simulate):
    records = simulate(2)
    path = tmp_path / "records.jsonl"
    write_records(path, records)
    assert list(read_records([path])) == records
    with pytest.raises(InputError, match="judged twice"):
        read_records([path, path])
