"""Rows are judged together, each outcome is kept, and a stopped run is gone on with."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecritic import BackendUnavailableError, CancelToken, Critic, CriticError, InputError
from edgecritic.batch import Results, Tally, judge_rows, read_rows
from edgecritic.batch.run import WINDOW
from edgecritic.critic import Critic as LoadedCritic
from scripted_critic import scripted_critic

MADE_BY = {"critic": "scripted-1"}


@pytest.fixture
def critic() -> Iterator[Critic]:
    with scripted_critic() as loaded:
        yield loaded


def table(folder: Path, n: int, *others: object) -> Path:
    path = folder / "rows.jsonl"
    asked = [{"id": k, "question": "Q?", "response": f"right {k}"} for k in range(n)]
    path.write_text("".join(json.dumps(record) + "\n" for record in (*asked, *others)))
    return path


def judged(critic: Critic, rows: Path, out: Path, **options: Any) -> Tally:
    with Results.open(out, MADE_BY) as results:
        return judge_rows(critic, read_rows(rows), results, **options)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_every_row_has_one_outcome(critic: Critic, tmp_path: Path) -> None:
    rows = table(
        tmp_path,
        3 * WINDOW,
        {"id": "pair", "question": "Q?", "first": "wrong", "second": "right"},
        {"id": "bad", "question": "Q?"},
        {"id": "long", "question": "Q? " * 20_000, "response": "right"},
        {"id": "last", "question": "Q?", "response": "wrong"},
    )
    out = tmp_path / "out.jsonl"
    tally = judged(critic, rows, out)
    assert (tally.judged, tally.failed, tally.kept) == (3 * WINDOW + 2, 2, 0)
    found = {line["id"]: line for line in lines(out)}
    assert len(lines(out)) == len(found) == 3 * WINDOW + 4
    assert found[5]["result"]["level"] == 9
    assert found["last"]["result"]["level"] == 2
    assert (found["pair"]["kind"], found["pair"]["result"]["winner"]) == ("compare", "second")
    assert found["bad"]["error"]["type"] == "InputError"
    assert found["long"]["error"]["type"] == "ContextOverflowError"
    assert found["long"]["result"] is None
    assert found["last"]["row"] == 3 * WINDOW + 4


def test_rows_are_judged_at_the_same_time(critic: Critic, tmp_path: Path) -> None:
    most = 0

    def look(_tally: Tally) -> None:
        nonlocal most
        most = max(most, critic.queue.waiting)

    judged(critic, table(tmp_path, 3 * WINDOW), tmp_path / "out.jsonl", on_done=look)
    assert 1 < most <= WINDOW


def test_what_was_judged_is_not_judged_again(critic: Critic, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    judged(critic, table(tmp_path, 4), out)
    before = out.read_bytes()
    rows = table(tmp_path, 6, {"id": "same", "question": "Q?", "response": "right 0"})
    tally = judged(critic, rows, out)
    assert (tally.kept, tally.judged) == (4, 3)  # the same content twice is two rows
    assert out.read_bytes().startswith(before)
    assert [line["id"] for line in lines(out)][-1] == "same"
    assert judged(critic, rows, out).judged == 0


def test_a_stopped_run_keeps_what_it_had(critic: Critic, tmp_path: Path) -> None:
    rows, out, cancel = table(tmp_path, 3 * WINDOW), tmp_path / "out.jsonl", CancelToken()

    def stop(tally: Tally) -> None:
        if tally.judged == 5:
            cancel.cancel()

    first = judged(critic, rows, out, cancel=cancel, on_done=stop)
    assert 5 <= first.judged < 3 * WINDOW
    with out.open("a") as file:
        file.write('{"row": 9, "torn')
    second = judged(critic, rows, out)
    assert (second.kept, second.judged) == (first.judged, 3 * WINDOW - first.judged)
    assert sorted(line["id"] for line in lines(out)) == list(range(3 * WINDOW))


def test_results_of_others_are_left_alone(critic: Critic, tmp_path: Path) -> None:
    rows, out = table(tmp_path, 1), tmp_path / "out.jsonl"
    judged(critic, rows, out)
    with (
        pytest.raises(InputError, match="critic was 'scripted-1'"),
        Results.open(out, {"critic": "x"}),
    ):
        pass
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="made otherwise"), Results.open(foreign, MADE_BY):
        pass
    out.write_text('{"a": 1}\n')
    with pytest.raises(InputError, match=r"out\.jsonl:1 is no line"), Results.open(out, MADE_BY):
        pass
    assert foreign.read_text() == '{"a": 1}\n'
    with (
        pytest.raises(InputError, match="does not end with"),
        Results.open(tmp_path / "out.csv", MADE_BY),
    ):
        pass


def test_a_file_that_cannot_be_written_is_told(
    critic: Critic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table(tmp_path, 1)
    with pytest.raises(CriticError, match=r"out\.jsonl cannot be written"):
        judged(critic, rows, tmp_path / "rows.jsonl" / "out.jsonl")

    def full(*_values: object, **_options: object) -> str:
        raise OSError(errno.ENOSPC, "no space left on device")

    with Results.open(tmp_path / "out.jsonl", MADE_BY) as results:
        monkeypatch.setattr(results, "_file", SimpleNamespace(write=full))
        with pytest.raises(CriticError, match="no space left") as raised:
            judge_rows(critic, read_rows(rows), results)
    assert "free space" in raised.value.hint


def test_one_process_at_a_time_writes_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with (
        Results.open(out, MADE_BY),
        pytest.raises(CriticError, match="another process"),
        Results.open(out, MADE_BY),
    ):
        pass


class _Failing:
    """A critic whose engine fails at what says "wrong"; else the scripted one."""

    def __init__(self, critic: LoadedCritic) -> None:
        self._critic = critic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._critic, name)

    def submit(self, request: Any, **options: Any) -> Any:
        future = self._critic.submit(request, **options)
        if "wrong" in request.response:
            future.result()
            failed: Any = type(future)()
            failed.set_exception(BackendUnavailableError("out of memory", "free some"))
            return failed
        return future


def test_what_the_engine_failed_at_is_tried_again(critic: Critic, tmp_path: Path) -> None:
    rows = table(tmp_path, 2, {"id": "oom", "question": "Q?", "response": "wrong"})
    out = tmp_path / "out.jsonl"
    tally = judged(_Failing(critic), rows, out)
    assert (tally.judged, tally.failed) == (2, 1)
    (error,) = (line["error"] for line in lines(out) if line["error"])
    assert (error["type"], error["final"]) == ("BackendUnavailableError", False)
    tally = judged(critic, rows, out)
    assert (tally.kept, tally.judged, tally.failed) == (2, 1, 0)
    assert {line["row"]: line["result"] is not None for line in lines(out)}[3]  # the last one


def test_an_engine_that_only_fails_is_not_asked_for_ever(critic: Critic, tmp_path: Path) -> None:
    wrong = [{"question": "Q?", "response": f"wrong {k}"} for k in range(100)]
    out = tmp_path / "out.jsonl"
    with pytest.raises(BackendUnavailableError, match="out of memory"):
        judged(_Failing(critic), table(tmp_path, 0, *wrong), out)
    assert len(lines(out)) < 100


def test_a_closed_critic_ends_the_run(tmp_path: Path) -> None:
    closed = scripted_critic()
    closed.close()
    with pytest.raises(BackendUnavailableError):
        judged(closed, table(tmp_path, 2), tmp_path / "out.jsonl")


KILLED = """
import sys, time
from pathlib import Path
from edgecritic.batch import Results, judge_rows, read_rows
from scripted_critic import scripted_critic
critic = scripted_critic(meanwhile=lambda prompt: time.sleep(0.01))
with critic, Results.open(Path(sys.argv[2]), {"critic": "scripted-1"}) as results:
    judge_rows(critic, read_rows(Path(sys.argv[1])), results)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_run_loses_and_doubles_nothing(critic: Critic, tmp_path: Path) -> None:
    rows, out = table(tmp_path, 100), tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(rows), str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    deadline = time.monotonic() + 60
    while not (out.exists() and out.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = out.read_bytes().count(b"\n")
    tally = judged(critic, rows, out)
    assert tally.kept == found > 0
    assert sorted(line["id"] for line in lines(out)) == list(range(100))
