"""Local tables: the same cases from every format, and bad records named."""

from __future__ import annotations

import csv
import json
from base64 import b64encode

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from critic_tables import picture_bytes
from edgecritic.errors import InputError
from edgecritic.tables import read_records
from edgecritic.task import Rubric
from edgecritic_train.cli import main
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.critic_data.sources.cases import TableOptions, read_cases
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.sources.judged import JudgedOptions, judged_rows

RECORDS = [
    {
        "id": "a",
        "image": "pics/1.png",
        "prompt": "What is it,\nexactly?",
        "responses": ["A cat.", "A dog."],
        "scores": [9, 2.5],
        "winner": "A",
        "reason": "It is a cat.",
    },
    {"id": "b", "image": "pics/2.png", "prompt": "Colour?", "responses": ["Red"], "scores": [4]},
]
COLUMNS = TableOptions({"question": "prompt"}, "mine")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pics").mkdir()
    for k in (1, 2):
        picture_bytes(k, tmp_path / "pics")
    return tmp_path


def write_table(path, records):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        names = list(dict.fromkeys(key for record in records for key in record))
        with path.open("w", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, names, delimiter=delimiter)
            writer.writeheader()
            for record in records:
                lists = {k: json.dumps(v) for k, v in record.items() if isinstance(v, list)}
                writer.writerow({**record, **lists})
    return path


def cases_of(path, options=COLUMNS, strict=True):
    intake = Intake(strict=strict)
    return list(read_cases(path, options, PictureStore(path.parent / "store"), intake)), intake


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_all_formats_hold_the_same(folder, suffix):
    path = write_table(folder / f"t.{suffix}", RECORDS)
    cases, intake = cases_of(path)
    assert [case.question for case in cases] == ["What is it,\nexactly?", "Colour?"]
    assert cases[0].responses == ("A cat.", "A dog.")
    assert [float(score) for score in cases[0].scores] == [9, 2.5]
    assert (cases[0].winner, cases[0].reason, cases[0].source) == ("first", "It is a cat.", "mine")
    assert all(case.images[0].path.is_file() for case in cases)
    rows = list(judged_rows(cases, JudgedOptions(Rubric(1, 10)), intake))
    assert [(row.id, row.verdict) for row in rows] == [
        ("a/s1", 9),
        ("a/s2", 5),
        ("a/p1-2", "first"),
        ("b/s1", 4),
    ]
    assert (rows[1].rubric.low, rows[1].rubric.high) == (2, 20)
    assert {row.group for row in rows} == {"pics/1.png", "pics/2.png"}


@pytest.mark.parametrize(
    ("name", "encoding", "delimiter"),
    [("t.csv", "utf-8-sig", ";"), ("t.csv", "utf-16", "\t"), ("t.tsv", "utf-16", "\t")],
)
def test_a_table_as_a_spreadsheet_writes_it(folder, name, encoding, delimiter):
    path = folder / name
    with path.open("w", encoding=encoding, newline="") as file:
        rows = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
        rows.writerow(["Bild, groß", "question", "response", "score"])
        rows.writerow(["pics/1.png", f"Größe{delimiter} in m?", "zwei\nMeter, fünf", "8,5"])
        rows.writerow(["", "", "", ""])
    cases, intake = cases_of(path, TableOptions({"image": "Bild, groß"}))
    (row,) = judged_rows(cases, JudgedOptions(Rubric(1, 10)), intake)
    assert (row.question, row.responses) == (f"Größe{delimiter} in m?", ("zwei\nMeter, fünf",))
    assert (row.verdict, row.rubric.high) == (17, 20)
    assert row.images[0].path.is_file()


@pytest.mark.parametrize("header", ["question,response,scale (1; 2; 3; 4)", "question, answer, x"])
def test_marks_in_a_header_s_text_cut_nothing(folder, header):
    (folder / "t.csv").write_text(f"{header}\nWhat?,A cat.,b\n")
    ((_, record),) = read_records(folder / "t.csv")
    assert list(record.values()) == ["What?", "A cat.", "b"]


def test_json_lines_may_begin_with_a_mark(folder):
    path = write_table(folder / "t.jsonl", RECORDS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(cases_of(path)[0]) == 2


def test_pictures_come_in_many_forms(folder):
    data = picture_bytes(5, folder)
    url = "data:image/png;base64," + b64encode(data).decode()
    records = [
        {"question": "q", "response": "r", "image": {"bytes": data, "path": "x.png"}, "score": "1"},
        {"question": "q", "response": "r", "image": {"bytes": None, "path": "pics/1.png"}},
    ]
    path = write_table(folder / "t.parquet", records)
    (kept, named), _ = cases_of(path, TableOptions({}))
    assert kept.images[0].path.read_bytes() == data
    assert named.images[0].path == folder / "pics/1.png"
    path = write_table(folder / "t.jsonl", [{"question": "q", "response": "r", "images": [url]}])
    ((again,), _) = cases_of(path, TableOptions({}))
    assert again.images == kept.images
    assert again.group == kept.group == kept.images[0].path.stem  # wherever they are kept


def test_chosen_and_rejected_stand_in_both_orders(folder):
    records = [{"question": "q", "chosen": f"good {k}", "rejected": "bad"} for k in range(200)]
    cases, _ = cases_of(write_table(folder / "t.jsonl", records), TableOptions({}))
    first = sum(case.winner == "first" for case in cases)
    assert 70 < first < 130
    for case in cases:
        assert case.responses[("first", "second").index(case.winner)].startswith("good")


def test_scores_make_pairs_beyond_a_margin_and_ties(folder):
    record = {"question": "q", "responses": ["a", "b", "c", "d"], "scores": [1, 1, 1.5, 3]}
    cases, intake = cases_of(write_table(folder / "t.jsonl", [record]), TableOptions({}))
    rows = list(judged_rows(cases, JudgedOptions(Rubric(0, 5), pair_margin=0.6), intake))
    pairs = {frozenset(row.responses): row for row in rows if row.setting == "pairwise"}
    assert {frozenset(pair) for pair in ("ab", "ad", "bd", "cd")} == set(pairs)
    assert pairs[frozenset("ab")].verdict == "tie"
    for pair in ("ad", "bd", "cd"):
        row = pairs[frozenset(pair)]
        assert row.responses[("first", "second").index(row.verdict)] == "d"


@pytest.mark.parametrize("margin", ["nan", "inf", "-1"])
def test_a_margin_that_is_none_is_refused(folder, margin):
    path = write_table(folder / "t.jsonl", [])
    asked = ["data", "import", "table", str(path), "--out", str(folder / "out")]
    with pytest.raises(InputError, match="the margin of pairs from scores"):
        main([*asked, f"--pairs-from-scores={margin}"])


BAD = {
    "question is empty": {"question": " "},
    "there are no responses": {"responses": None},
    "a response is 3": {"responses": ["a", 3]},
    "the winner is 'x'": {"winner": "x"},
    "a winner of 1 responses": {"responses": ["a"], "winner": "A"},
    "scores is": {"scores": [1, 2, 3]},
    "web address": {"image": "https://example.org/1.png"},
    "the image is 5": {"image": 5},
    "came before": {"id": "good"},
    "the split is 'dev'": {"split": "dev"},
    "no base64": {"image": "data:image/png;base64,%%"},
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_record_is_named_or_dropped_and_counted(folder, message):
    good = {"id": "good", "question": "q", "responses": ["a", "b"], "winner": "tie"}
    path = write_table(folder / "t.jsonl", [good, {**good, "id": "bad", **BAD[message]}])
    with pytest.raises(InputError, match=message) as caught:
        cases_of(path, TableOptions({}))
    assert caught.value.message.startswith(f"{path}:2: ")
    assert caught.value.hint
    cases, intake = cases_of(path, TableOptions({}), strict=False)
    assert ([case.id for case in cases], intake.n_dropped) == (["good"], 1)


def test_a_score_out_of_its_range_is_named(folder):
    path = write_table(folder / "t.jsonl", [{"question": "q", "response": "r", "score": 11}])
    asked = ["data", "import", "table", str(path), "--out", str(folder / "out")]
    with pytest.raises(InputError, match="score '11' is outside the range 1-10"):
        main(asked)
    assert not (folder / "out/rows.jsonl").exists()
    assert main([*asked, "--drop-bad"]) == 1
    assert main([*asked, "--range", "0-20"]) == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", b"", "none of .jsonl"),
        ("t.jsonl", b'{"a": 1}\n{"a"', r"t\.jsonl:2: the line is no JSON"),
        ("t.csv", b"a,b\n1\n", r"t\.csv:2: the record has another number"),
        ("t.csv", b'a,b\n"1,2\n', r"t\.csv: behind line 1"),
        ("t.csv", b"a\n\xff\n", "cannot be read"),
        ("t.parquet", b"PAR1nonsense", "behind row 0"),
    ],
)
def test_a_broken_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_records(tmp_path / name))


def test_a_broken_line_is_left_out_like_any_bad_record(folder):
    path = folder / "t.csv"
    path.write_text("question,response,score\nq,r,3\nq,r\nq,r,4\n")
    cases, intake = cases_of(path, TableOptions({}), strict=False)
    assert ([case.scores for case in cases], intake.n_dropped) == ([("3",), ("4",)], 1)
    with pytest.raises(InputError, match=r"t\.csv:3: the record has another number"):
        cases_of(path, TableOptions({}))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_table_that_lacks_a_column_says_what_it_has(folder, suffix):
    records = [{**record, "ask": "q"} for record in RECORDS]
    cases_of(write_table(folder / f"t.{suffix}", records), TableOptions({"question": "ask"}))
    path = write_table(folder / f"t.{suffix}", RECORDS)
    with pytest.raises(InputError, match="no column 'ask'") as caught:
        cases_of(path, TableOptions({"question": "prompt", "image": "ask"}))
    assert "prompt" in caught.value.hint


@pytest.mark.parametrize("limit", ["0", "-1", "x"])
def test_a_limit_of_nothing_is_refused(folder, limit, capsys):
    path = write_table(folder / "t.jsonl", [])
    asked = ["data", "import", "table", str(path), "--out", str(folder), "--limit", limit]
    assert main(asked) == 2
    assert "no whole number from 1 up" in capsys.readouterr().err


def test_the_command_holds_out_whole_groups(folder, capsys):
    records = [
        {"question": "q", "response": f"r{k}", "score": 1 + k % 10, "group": f"g{k // 4}"}
        for k in range(400)
    ]
    path = write_table(folder / "t.jsonl", records)
    out = folder / "out"
    asked = ["data", "import", "table", str(path), "--out", str(out), "--test", "0.2"]
    assert main([*asked, "--column", "question=question"]) == 0
    rows = list(read_rows(out / "rows.jsonl"))
    groups = {split: {r.group for r in rows if r.split == split} for split in ("train", "test")}
    assert len(rows) == 400
    assert 10 < len(groups["test"]) < 30
    assert not groups["train"] & groups["test"]
    assert "400  t" in capsys.readouterr().err
