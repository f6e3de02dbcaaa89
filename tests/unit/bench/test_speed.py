"""Both engines really run, on a tiny random model; the arithmetic behind the page is checked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic import BackendUnavailableError
from edgecritic.bundle import describe_file, write_bundle
from edgecritic.manifest import Calibration, DialectRef, Manifest
from edgecritic.prompts import load_dialect, render
from edgecritic.task import Rubric, Task
from edgecritic.vision import ImageGeometry
from edgecritic_bench import cli
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.speed import (
    Memory,
    Samples,
    SpeedOptions,
    SpeedResult,
    measure,
    ratio,
    scaled,
)
from edgecritic_bench.speed_page import speed_page
from edgecritic_bench.speed_tasks import ORDERED_PAIRS, default_picture, fill, new_picture


@pytest.fixture(scope="module")
def bundle(tiny_models, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speed")
    newline = folder / "newline.npy"
    np.save(newline, np.zeros(tiny_models.token_embeddings.shape[1], dtype=np.float32))
    sources = {
        "language_model": tiny_models.language_model,
        "adapter": tiny_models.adapter,
        "mmproj": tiny_models.mmproj,
        "image_newline": newline,
    }
    dialect = load_dialect()
    manifest = Manifest(
        name="tiny",
        version="1",
        family="llava_onevision",
        files=tuple(describe_file(role, path) for role, path in sources.items()),
        base_model="random",
        dialect=DialectRef(dialect.name, dialect.digest),
        rubric=Rubric(),
        n_ctx=2048,
        image=ImageGeometry(tile_size=28, patch_size=7, pinpoints=((28, 28),)),
        calibration=Calibration(),
        licence="Apache-2.0",
        training={},
        verification=None,
        good_for=(),
        bad_for=(),
        created="2026-01-01",
    )
    write_bundle(folder / "bundle", manifest, {path.name: path for path in sources.values()})
    return folder / "bundle"


def test_both_engines_take_turns_and_the_page_says_what_came_out(bundle, tmp_path):
    page, numbers = tmp_path / "benchmarks.md", tmp_path / "samples.json"
    status = cli.main(
        [
            *("speed", "--bundle", str(bundle), "--threads", "1", "--rounds", "1"),
            *("--repeats", "1", "--out", str(page), "--json", str(numbers)),
        ]
    )
    assert status == 0
    text = page.read_text()
    assert "tiny-1" in text
    assert "$" not in text
    assert "nan" not in text
    samples = json.loads(numbers.read_text())["samples"]
    assert len(samples) == 8
    assert all(sample["wall"][0] > 0 for sample in samples)
    tokens = {(s["engine"], s["task"]): s["tokens"] for s in samples}
    # A lone 28-pixel tile of 4 x 4 patches, as base view and as grid with a newline a row.
    assert tokens["edgecritic", "verdict"]["image"] == 16 + 4 * 5
    ours, theirs = (tokens[engine, "verdict"]["prompt"] for engine in ("edgecritic", "handler"))
    # The same texts, to the token; the handler sees the base view only.
    assert ours - theirs == 4 * 5


def test_an_engine_that_cannot_start_is_named(tmp_path):
    with pytest.raises(BackendUnavailableError, match="edgecritic process ended with code"):
        list(measure(SpeedOptions(str(tmp_path), rounds=1)))


def test_the_handler_reads_what_the_runtime_renders():
    dialect = load_dialect()
    for texts, setting in ((("A 7.",), "pointwise"), (("A 7.", "A 3."), "pairwise")):
        prompt = render(Task("Which {digit}?", texts, 1), dialect)
        names = ("response",) if setting == "pointwise" else ("first", "second")
        values = dict(zip(names, texts, strict=True)) | {"question": "Which one?"}
        values |= {"low": "1", "high": "10"}
        filled = fill(dialect.wordings[setting][0], values)
        assert "{" not in filled
        assert filled in prompt.text.replace("Which {digit}?", "Which one?")


def test_no_two_pictures_are_alike():
    base = default_picture()
    pictures = [new_picture(base, number) for number in (0, 1, 255, 256, 70000)]
    assert len(set(pictures)) == 5
    with Image.open(io.BytesIO(pictures[0])) as opened:
        assert opened.size == base.size


def result(ours: tuple[float, ...], theirs: tuple[float, ...]) -> SpeedResult:
    samples = {
        (engine, task): Samples(times, times, "", {})
        for engine, times in (("edgecritic", ours), ("handler", theirs))
        for task in ("verdict", "rank")
    }
    memory = {engine: Memory(1.0, 2.0, 1.0) for engine in ("edgecritic", "handler")}
    return SpeedResult(samples, memory, {"edgecritic": 1.0, "handler": 1.0})


def test_a_ratio_is_that_of_neighbours():
    found = ratio(result((1.0, 2.0, 4.0), (3.0, 6.0, 20.0)), "verdict")
    assert found.median == 3.0
    assert found.low == 3.0
    assert found.high == 4.0
    assert found.n == 3


def test_where_the_system_does_not_tell_memory_the_page_says_so():
    nan = float("nan")
    found = result((1.0,), (2.0,))
    silent = SpeedResult(
        found.samples,
        {engine: Memory(nan, nan, nan) for engine in ("edgecritic", "handler")},
        found.load_seconds,
    )
    run = Provenance("m", "s", (), "d", "c")
    page = speed_page(silent, SpeedOptions(image="cats/tabby.png"), "x-1", run)
    assert "unknown here" in page
    assert "nan" not in page
    assert "judges the picture `tabby.png` on" in page


def test_calls_that_were_not_made_are_multiplied():
    assert scaled("rank", "handler", 3.0) == pytest.approx(len(ORDERED_PAIRS))
    assert scaled("rank", "edgecritic", 3.0) == 3.0
    assert scaled("verdict", "handler", 3.0) == 3.0
    assert ratio(result((1.0,), (3.0,)), "rank").median == pytest.approx(20.0)
