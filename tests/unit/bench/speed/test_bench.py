"""Engines really run, on a tiny random model, and the page says what came out."""

from __future__ import annotations

import json
import os
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgecritic import Progress
from edgecritic.bundle import describe_file, write_bundle
from edgecritic.manifest import Calibration, DialectRef, Manifest
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic.verdict import Timings, Usage
from edgecritic.vision import ImageGeometry
from edgecritic_bench import cli
from edgecritic_bench.speed import jobs
from edgecritic_bench.speed.engines import Setup
from edgecritic_bench.speed.engines.plain import Plain
from edgecritic_bench.speed.engines.runtime import Runtime
from edgecritic_bench.speed.figures import Samples
from edgecritic_bench.speed.plan import tile_sizes
from edgecritic_bench.speed.rows import Rows
from edgecritic_bench.speed.run import vram


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


def bench(bundle: Path, out: Path, *words: str) -> int:
    return cli.main(
        [
            *("speed", "--bundle", str(bundle), "--threads", "1", "--rounds", "1"),
            *("--repeats", "1", "--unrelated", "2", "--few", "1", "--sizes", "40x30"),
            *("--out", str(out), "--plots", str(out.parent), *words),
        ]
    )


def test_engines_take_turns_and_a_second_run_measures_nothing_twice(bundle, tmp_path, capsys):
    page = tmp_path / "benchmarks.md"
    words = ("--engines", "edgecritic", "handler", "server-1", "generate")
    words += ("--only", "task", "limits")
    assert bench(bundle, page, *words) == 0
    rows = Rows(tmp_path / "benchmarks.jsonl")
    found = {task: Samples(rows, task, (40, 30)) for task in ("verdict", "pairs", "unrelated")}
    for samples in found.values():
        assert set(samples.engines) == {"edgecritic", "handler", "server-1"}
    assert found["pairs"].is_part("handler")
    assert not found["pairs"].is_part("server-1")
    tokens = {engine: found["verdict"].tokens(engine) for engine in found["verdict"].engines}
    # A lone 28-pixel tile of 4 x 4 patches, as base view and as a grid with a newline a row;
    # two of its rows show the margins of a picture of 4:3 only.
    image = tokens["edgecritic"]["image"]
    assert tokens["server-1"]["prompt"] == tokens["handler"]["prompt"]
    # The same texts, to the token; the others see the base view only.
    assert tokens["edgecritic"]["prompt"] - tokens["handler"]["prompt"] == image - 16
    text = page.read_text()
    assert "tiny-1" in text
    assert "$" not in text
    assert "nan" not in text
    assert "- transformers, float32: task/verdict/40x30/0: the generate process ended" in text
    assert "name a folder: --checkpoint" in text

    before = rows.path.read_text()
    capsys.readouterr()
    assert bench(bundle, page, *words) == 0
    added = rows.path.read_text().removeprefix(before).splitlines()
    assert [json.loads(line)["cell"] for line in added] == ["run"]


@pytest.mark.parametrize("words", [("--few", "0"), ("--sizes", "40"), ("--engines", "abacus")])
def test_what_cannot_be_is_a_usage_error(bundle, tmp_path, words):
    with pytest.raises(SystemExit):
        bench(bundle, tmp_path / "page.md", *words)


def test_jobs_of_the_runtime_alone(bundle):
    setup = Setup(str(bundle), threads=1)
    engine = Runtime(setup, "llamacpp", deterministic=True)
    same = jobs.determinism(engine, rounds=4, seed=1)
    assert (same["same"], same["of"]) == (4, 4)
    told = jobs.rationales(engine, count=3, tokens=2)
    assert told["equal"] == 3
    (rate,) = jobs.rates(engine, lengths=[20], tokens=2)["rates"]
    assert rate["prompt"] > 20
    assert (rate["decode"], rate["whole"]) == (None, None)  # its verdict cannot be read
    grown = jobs.growth(engine, "responses", (28, 28), 3, 5)
    assert grown["pairs"] > 0
    assert jobs.growth(engine, "tiles", (28, 28), 1, 6)["image_tokens"] == 16 + 4 * 5
    assert jobs.growth(engine, "text", (28, 28), 9, 7)["image_tokens"] == 0
    jobs.close(engine)
    assert engine.critic.closed


class Talker:
    """A critic whose reasons have three tokens, none of which takes long."""

    def __init__(self):
        self.asked = 0

    def forget(self):
        assert not self.asked

    def submit(self, request, on_event):
        self.asked += 1
        for done in (1, 2, 3):
            on_event(Progress("token", done, request.max_rationale_tokens))
        on_event(Progress("prefill", 1, 1))
        usage = Usage(decoded_tokens=30 if self.asked == 1 else 1, rationale_tokens=3)
        future = Future()
        future.set_result(SimpleNamespace(usage=usage, timings=Timings(0.0, 10.0, 6.0)))
        return future


def test_a_token_is_timed_from_the_one_before_it():
    critic = Talker()
    (rate,) = jobs.rates(SimpleNamespace(critic=critic), lengths=[20], tokens=5)["rates"]
    assert critic.asked == 3  # two steps each
    assert rate["written"] == 6
    assert (rate["prompt"], rate["prefill"], rate["whole"]) == (30, 3.0, 0.5)
    assert rate["decode"] > 1


def test_the_plain_loop_decodes_what_it_says(bundle):
    engine = Plain(Setup(str(bundle), threads=1, n_ctx=256))
    (rate,) = jobs.plain(engine, lengths=[100], tokens=3)["rates"]
    assert rate["written"] == 3
    assert rate["prefill"] > 0
    again = engine.rates(200, 3)  # 303 tokens in all would not fit
    assert again["prompt"] == 200


def test_pictures_of_a_number_of_tiles(bundle):
    assert tile_sizes(Setup(str(bundle)), range(1, 17)) == {1: (28, 28)}
    assert tile_sizes(Setup(str(bundle)), (2, 3)) == {}


@pytest.mark.parametrize(("visible", "used"), [("", 10.0), ("1", 20.0), ("1,0", 20.0)])
def test_the_memory_is_that_of_the_gpu_that_is_used(monkeypatch, tmp_path, visible, used):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *--id=1*) echo 20;; *) printf "10\\n20\\n";; esac\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert vram() == used
