"""Rows of tables become requests, or say why they cannot."""

from __future__ import annotations

import csv
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecritic import CompareRequest, InputError, MissingExtraError, Rubric, ScoreRequest
from edgecritic.batch import BatchOptions, BatchRow, read_rows
from edgecritic.response_columns import RESPONSE_COLUMNS

QUESTION = "Which digit is it?"


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def rows_of(folder: Path, *records: object, **options: Any) -> list[BatchRow]:
    return list(read_rows(jsonl(folder / "rows.jsonl", *records), BatchOptions(**options)))


def fault(folder: Path, **record: object) -> str:
    (row,) = rows_of(folder, record)
    assert isinstance(row.asked, InputError)
    assert row.asked.hint
    return row.asked.message


def test_one_response_is_scored_and_two_are_compared(tmp_path: Path) -> None:
    scored, listed, compared, numbered = rows_of(
        tmp_path,
        {"id": 7, "question": QUESTION, "response": "a 7", "reference": "7", "rubric": "1-5"},
        {"question": QUESTION, "responses": ["a 7"], "verdict": 9, "reason": "passed over"},
        {"question": QUESTION, "first": "a 7", "second": "", "wording": 2},
        {"question": QUESTION, "response_1": "a 7", "response_2": "a 1"},
        orders="given",
        rationale=True,
    )
    assert scored.id == 7
    assert scored.asked == ScoreRequest(
        [], QUESTION, "a 7", reference="7", rubric=Rubric(1, 5), rationale=True
    )
    assert listed.asked == ScoreRequest([], QUESTION, "a 7", rationale=True)
    assert isinstance(compared.asked, CompareRequest)
    assert (compared.asked.second, compared.asked.wording, compared.asked.orders) == (
        "",
        2,
        "given",
    )
    assert isinstance(numbered.asked, CompareRequest)


def test_tables_of_all_formats_hold_the_same_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    records: list[dict[str, Any]] = [
        {"id": "a", "image": "a.png", "question": QUESTION, "response": "a 7", "first": None},
        {"id": "b", "image": None, "question": "Why, and how?", "response": "", "first": None},
    ]
    found = [read(tmp_path, write, records) for write in (_jsonl, _csv, _tsv)]
    pyarrow.parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "t.parquet")
    found.append(keys(read_rows(tmp_path / "t.parquet")))
    assert found[0] == found[1] == found[2] == found[3]
    assert len(set(found[0])) == 2


def keys(rows: Any) -> list[tuple[str | int | None, str]]:
    return [(row.id, row.key()) for row in rows]


def read(folder: Path, write: Any, records: Sequence[Mapping[str, Any]]) -> Any:
    return keys(read_rows(write(folder, records)))


def _jsonl(folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    return jsonl(folder / "t.jsonl", *records)


def _csv(folder: Path, records: Sequence[Mapping[str, Any]], suffix: str = ".csv") -> Path:
    path = folder / f"t{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, records[0], delimiter="\t" if suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(records)
    return path


def _tsv(folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    return _csv(folder, records, ".tsv")


def test_a_picture_counts_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(path)
    encoded = b64encode(path.read_bytes()).decode()
    record = {"question": QUESTION, "response": "a 7"}
    forms: list[object] = [
        "a.png",
        str(path),
        {"base64": encoded},
        f"data:image/png;base64,{encoded}",
        ["a.png"],
    ]
    rows = rows_of(tmp_path, *({**record, "image": form} for form in forms))
    assert len({row.key() for row in rows}) == 1
    before = rows[0].key()
    Image.new("RGB", (8, 8), "blue").save(path)
    assert rows[0].key() != before
    (without,) = rows_of(tmp_path, record)
    assert without.key() not in (before, rows[0].key())


def test_what_is_wrong_with_a_row_is_told_with_its_place(tmp_path: Path) -> None:
    ok = {"question": QUESTION, "response": "a 7"}
    assert "rows.jsonl:1: the row has no question" in fault(tmp_path, response="a 7")
    assert "the row has no response" in fault(tmp_path, question=QUESTION, first="a 7")
    assert "the question is empty" in fault(tmp_path, question=" ", response="a 7")
    both = "responses in 'response' and in 'first', 'second'"
    assert both in fault(tmp_path, **ok, first="a", second="b")
    assert "3 responses in 'responses'" in fault(tmp_path, question=QUESTION, responses=["a"] * 3)
    assert "not a list of texts" in fault(tmp_path, question=QUESTION, responses="a")
    assert "response is 7, not text" in fault(tmp_path, question=QUESTION, response=7)
    assert "there is no picture at" in fault(tmp_path, **ok, image="none.png")
    assert "there is no picture at" in fault(tmp_path, **ok, image="a\0b")
    assert "web address" in fault(tmp_path, **ok, image="https://example.org/a.png")
    assert "no base64" in fault(tmp_path, **ok, image={"base64": "é"})
    assert "both 'image' and 'images'" in fault(tmp_path, **ok, image="a", images=["b"])
    assert "rubric" in fault(tmp_path, **ok, rubric="from 5 to 1")
    assert "wording" in fault(tmp_path, **ok, wording=-1)
    assert "there is no picture at" in fault(tmp_path, **ok, image="a" * 5000)


def test_cells_hold_pictures_as_published_tables_do(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    cells = [{"bytes": content, "path": "elsewhere.png"}, {"bytes": None, "path": "a.png"}]
    records = [{"question": QUESTION, "response": "a 7", "image": cell} for cell in cells]
    parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "t.parquet")
    plain = {"question": pyarrow.array([QUESTION]), "response": ["a 7"], "image": [content]}
    parquet.write_table(pyarrow.table(plain), tmp_path / "u.parquet")
    rows = [*read_rows(tmp_path / "t.parquet"), *read_rows(tmp_path / "u.parquet")]
    assert [row.asked.image for row in rows if isinstance(row.asked, ScoreRequest)] == [
        [content],
        [tmp_path / "a.png"],
        [content],
    ]
    assert len({row.key() for row in rows}) == 1


def test_a_number_in_a_cell_of_text_is_a_number(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(f"question,response,wording\n{QUESTION},a 7, 2\n{QUESTION},a 7,two\n")
    second, wrong = (row.asked for row in read_rows(table))
    assert isinstance(second, ScoreRequest)
    assert second.wording == 2
    assert isinstance(wrong, InputError)
    assert "wording is 'two'" in wrong.message


def test_a_table_that_ends_in_the_middle_of_a_cell_is_told(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text(f'question,response\n{QUESTION},a 7\n{QUESTION},"a')
    with pytest.raises(InputError, match=r"rows\.csv: behind line 2"):
        list(read_rows(table))


def test_damaged_parquet_and_values_that_python_lacks_are_told(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = {"question": [QUESTION], "response": ["a 7"]}
    parquet.write_table(pyarrow.table(row), tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:-9])
    (tmp_path / "pages.parquet").write_bytes(content[:4] + bytes(60) + content[64:])
    late = pyarrow.array([2**60], pyarrow.timestamp("ms"))
    parquet.write_table(pyarrow.table({**row, "when": late}), tmp_path / "late.parquet")
    for name in ("cut", "pages", "late"):
        with pytest.raises(InputError, match=f"{name}.parquet") as raised:
            list(read_rows(tmp_path / f"{name}.parquet"))
        assert raised.value.hint


def test_a_line_that_is_no_row_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = json.dumps({"question": QUESTION, "response": "a 7"}).encode()
    path.write_bytes(b"\n".join([whole, b'{"question": ', b"[]", b"\xff\xfe", b"", whole]))
    rows = list(read_rows(path))
    assert [isinstance(row.asked, InputError) for row in rows] == [False, True, True, True, False]
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    table = tmp_path / "rows.csv"
    table.write_text(f"question,response\n{QUESTION},a 7\n{QUESTION},a,7\n{QUESTION},a 1\n")
    assert [isinstance(row.asked, InputError) for row in read_rows(table)] == [False, True, False]


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("none.jsonl", "none.xlsx"):
        with pytest.raises(InputError, match=name):
            list(read_rows(tmp_path / name))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(MissingExtraError) as raised:
        list(read_rows(tmp_path / "a.parquet"))
    assert "edgecritic[parquet]" in raised.value.hint


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
NAMES = ("question", *RESPONSE_COLUMNS, "response_3", "image", "rubric", "wording", "id")


@given(record=st.dictionaries(st.sampled_from(NAMES), values))
def test_any_row_is_a_request_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    (row,) = rows_of(tmp_path_factory.getbasetemp(), record)
    assert len(row.key()) == 32
    if isinstance(row.asked, InputError):
        assert row.asked.message
