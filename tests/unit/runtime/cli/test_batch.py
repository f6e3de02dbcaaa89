"""``batch`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.critic import Critic


@pytest.fixture
def rows(tmp_path: Path, picture: str) -> Path:
    path = tmp_path / "rows.jsonl"
    records: list[dict[str, object]] = [
        {"id": "a", "image": Path(picture).name, "question": "Q?", "response": "right"},
        {"id": "b", "question": "Q?", "first": "wrong", "second": "right"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_rows_are_judged_and_gone_on_with(run: Callable[..., Ran], rows: Path) -> None:
    out = rows.with_name("out.jsonl")
    ran = run("batch", str(rows), "--out", str(out))
    assert (ran.status, ran.out) == (0, "")
    assert "2 rows\n" in ran.err
    assert "2 rows judged" in ran.err
    assert {json.loads(line)["id"] for line in out.read_text().splitlines()} == {"a", "b"}
    ran = run("batch", str(rows), "--out", str(out), "--json")
    assert ran.json == [
        {"rows": 2, "judged": 0, "unparsed": 0, "failed": 0, "kept": 2, "out": str(out)}
    ]
    assert "going on: 2 rows are done" in ran.err
    ran = run("batch", str(rows), "--out", str(out), "--rationale")
    assert ran.status == 2
    assert "rationale was False" in ran.err


def test_a_bad_row_is_a_result_and_a_status(run: Callable[..., Ran], rows: Path) -> None:
    with rows.open("a") as file:
        file.write('{"question": "Q?"}\n')
    out = rows.with_name("out.jsonl")
    ran = run("batch", str(rows), "--out", str(out))
    assert ran.status == 1
    assert "of which 1 cannot be judged" in ran.err
    assert "2 rows judged, 1 failed" in ran.err
    assert len(out.read_text().splitlines()) == 3


def test_the_table_is_read_before_the_critic_is_loaded(
    run: Callable[..., Ran], rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_args: object, **_options: object) -> Critic:
        raise AssertionError("loaded")

    monkeypatch.setattr(Critic, "load", load)
    out = str(rows.with_name("out.jsonl"))
    assert run("batch", str(rows), "--check").status == 0
    assert run("batch", str(rows)).status == 2
    assert run("batch", str(rows), "--out", str(rows)).status == 2
    assert run("batch", "nowhere.jsonl", "--out", out).status == 2
    rows.write_text('{"question": "Q?"}\n' * 7)
    ran = run("batch", str(rows), "--check")
    assert ran.status == 1
    assert "and 2 more" in ran.err
    ran = run("batch", str(rows), "--out", out)
    assert ran.status == 2
    assert "no row of" in ran.err
    rows.write_text("\n")
    assert run("batch", str(rows), "--out", out).status == 2
    assert not Path(out).exists()
