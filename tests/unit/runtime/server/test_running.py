"""The process: ready soon, stopped in order, gone with its parent, leaving nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecritic.cli import main
from edgecritic.server.parent import watch

SERVE = [sys.executable, "-m", "edgecritic", "serve", "--port", "0"]


def begun(*options: str, parent: int | None = None) -> subprocess.Popen[str]:
    pid = os.getpid() if parent is None else parent
    return subprocess.Popen(
        [*SERVE, "--parent-pid", str(pid), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def sidecar(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = begun(*options)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def asked(ready: dict[str, Any], path: str, token: str | None = None) -> Any:
    url = f"http://127.0.0.1:{ready['port']}{path}"
    headers = {"Authorization": f"Bearer {ready['token'] if token is None else token}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return json.loads(answer.read())


def test_a_sidecar_says_where_it_is_and_ends_when_told() -> None:
    with sidecar() as (process, ready):
        assert set(ready) == {"port", "token", "pid", "version"}
        assert ready["pid"] == process.pid
        assert len(ready["token"]) >= 32
        assert asked(ready, "/health")["status"] == "ok"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(ready, "/health", token="wrong")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert out == ""  # the line was all
        assert process.returncode == 0


SLOW = """
import socket, sys
sys.path[:0] = {path!r}
from edgecritic.server import ServerOptions
from edgecritic.server.running import bound, run
from serving import TroubledSource, served
if __name__ == "__main__":
    listening = bound("127.0.0.1", 0)
    port = listening.getsockname()[1]
    run([served(TroubledSource())], ServerOptions(), listening, lambda: print(port, flush=True))
"""


def test_what_runs_is_finished_before_the_server_ends(tmp_path: Path) -> None:
    script = tmp_path / "slow_server.py"
    script.write_text(SLOW.format(path=sys.path))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/judge/score"
        asked = {"question": "SLOW?", "response": "right", "stream": True}
        head = {"Content-Type": "application/json"}
        body = json.dumps(asked).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, head), timeout=60) as answer:
            begun = next(line for line in answer if line.startswith(b"event: verdict"))
            process.send_signal(signal.SIGTERM)
            rest = answer.read()
        assert begun
        assert b"event: result" in rest
        assert process.wait(timeout=30) == 0


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:] + ["--parent-pid", str(__import__("os").getpid())],
                         stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), flush=True)
time.sleep(600)
"""


def test_a_sidecar_ends_with_its_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *SERVE], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    ready = json.loads(parent.stdout.readline())
    family = [psutil.Process(ready["pid"])]
    family += family[0].children(recursive=True)
    parent.kill()  # no chance to say goodbye
    parent.communicate()
    gone, alive = psutil.wait_procs(family, timeout=20)
    for process in alive:
        process.kill()
    assert len(gone) == len(family)


def test_the_end_of_a_process_is_seen_before_anybody_has_waited_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    seen: list[float] = []
    with suppress(Exception):
        watch(child.pid, lambda: seen.append(time.monotonic()))
        limit = time.monotonic() + 20
        while not seen and time.monotonic() < limit:
            time.sleep(0.05)
        assert seen
    child.wait()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--token-file", "token"), 2),
        (("--token-file", "none"), 2),
        (("--bundle", "none"), 1),
        (("--port", "99999"), 2),
        (("--host", "203.0.113.1", "--port", "0"), 1),
        (("--queue", "-1"), 2),
    ],
)
def test_what_cannot_be_served_is_told(
    options: tuple[str, ...],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "token").write_text("two words")
    monkeypatch.chdir(tmp_path)
    assert main(("serve", *options)) == status
    assert "Traceback" not in capsys.readouterr().err


def test_a_parent_that_is_not_there_and_a_taken_port_are_told() -> None:
    with sidecar() as (_, ready):
        for options, status in (
            (("--port", str(ready["port"])), 1),
            (("--parent-pid", "999999999"), 2),
        ):
            ran = subprocess.run(
                [*SERVE, *options], check=False, capture_output=True, text=True, timeout=60
            )
            assert ran.returncode == status
            assert options[0] in ran.stderr
            assert "Traceback" not in ran.stderr
