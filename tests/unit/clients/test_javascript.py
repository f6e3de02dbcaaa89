"""The JavaScript client under the machine's Node, against the real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CLIENT = ROOT / "clients" / "js"
TSC = CLIENT / "node_modules" / "typescript" / "bin" / "tsc"
SEVEN = ROOT / "runtime" / "edgecritic" / "demo_images" / "seven.png"


def node_version() -> int:
    """The machine's Node; 0 where there is none."""
    if shutil.which("node") is None:
        return 0
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return int(done.stdout.lstrip("v").partition(".")[0] or 0)


needs_node = pytest.mark.skipif(node_version() < 20, reason="Node.js 20 or newer is needed")


def node(*arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "runtime"), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {
        "EDGECRITIC": json.dumps([sys.executable, "-m", "edgecritic"]),
        "PYTHONPATH": paths,
    }
    return subprocess.run(
        ["node", *arguments],
        cwd=CLIENT,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_the_page_uses_the_published_client() -> None:
    page = ROOT / "runtime" / "edgecritic" / "server" / "page" / "client.js"
    assert page.read_bytes() == (CLIENT / "src" / "client.js").read_bytes()


@needs_node
def test_client_and_sidecar() -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    done = node("--test", "--test-reporter=tap")
    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout


@needs_node
@pytest.mark.skipif(not TSC.is_file(), reason="TypeScript is missing: run npm ci in clients/js")
def test_types_are_right() -> None:
    done = node(str(TSC), "-p", ".")
    assert done.returncode == 0, done.stdout


@needs_node
def test_the_example_judges_by_a_sidecar() -> None:
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    example = ROOT / "examples" / "node" / "sidecar.js"
    command = f"{sys.executable} -m edgecritic"
    answers = ("Which digit is this?", "It is a 7.", "It is a 1.")
    done = node(str(example), "--command", command, str(SEVEN), *answers)
    assert done.returncode == 0, done.stderr
    assert "winner: first" in done.stdout
    assert "in both orders" in done.stdout
    assert "The digit is 7" in done.stdout
    assert "... loading" in done.stderr
