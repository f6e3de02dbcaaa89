"""Estimates of whole bundles, with measurements that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.backends.onnx.memory import STEP
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.cli import main
from edgecritic.errors import DoesNotFitError, InputError
from edgecritic.fit import calibration, refusal
from edgecritic.fit.calibration import EngineCosts
from edgecritic.fit.estimate import estimate
from edgecritic.fit.machine import Machine, free_disk
from edgecritic.fit.others import Others
from edgecritic.fit.pace import SIZES, LayerShape, Pace, PicturePace
from edgecritic.fit.parts import Probe
from edgecritic.fit.process import peak, resident
from edgecritic.fit.workload import Workload
from edgecritic.vision import ImageGeometry
from tiny_checkpoints import write_llava_onevision
from tiny_engines import write_gguf_bundle, write_onnx_bundles

PROBE = Probe(base=1000, word=2.0, resident=1.5, loading=3.0)
PACE = Pace((1e-3,) * len(SIZES), (1e-3,) * len(SIZES), 0.0)
GRID = ImageGeometry(28, 14, tuple((28 * r, 28 * c) for r in range(1, 4) for c in range(1, 4)))


@pytest.fixture(autouse=True)
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measures nothing; tells which kinds of weights were asked for."""
    asked: list[str] = []

    def measure(costs: EngineCosts, kind: str) -> Probe:
        asked.append(kind)
        return PROBE

    def time(costs: EngineCosts, layer: LayerShape) -> Pace:
        asked.append(repr(layer))
        return PACE

    def time_pictures(costs: EngineCosts) -> PicturePace:
        asked.append("pixels")
        return PicturePace(1e-8, 1e-9)

    monkeypatch.setattr(Others, "share", lambda others: 0.0)
    monkeypatch.setattr(EngineCosts, "_measure", measure)
    monkeypatch.setattr(EngineCosts, "_time", time)
    monkeypatch.setattr(EngineCosts, "_time_pictures", time_pictures)
    monkeypatch.setenv("EDGECRITIC_HOME", str(tmp_path / "home"))
    return asked


def test_what_cannot_be_kept_is_told_and_known_all_the_same(
    probes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    costs = EngineCosts("onnx", 1, said.append, folder=tmp_path / "file")
    assert costs.of("int8") == costs.of("int8") == PROBE
    assert probes == ["int8"]
    assert "cannot be kept" in said[-1]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """One tiny checkpoint for both engines."""
    folder = tmp_path_factory.mktemp("bundles")
    checkpoint = folder / "checkpoint"
    write_llava_onevision(checkpoint)
    return {
        "llamacpp": write_gguf_bundle(checkpoint, folder / "gguf"),
        "onnx": write_onnx_bundles(checkpoint, folder / "onnx")["fp32"],
    }


@pytest.mark.parametrize("engine", ["llamacpp", "onnx"])
def test_an_estimate_is_the_sum_of_its_parts(bundles: dict[str, Bundle], engine: str) -> None:
    found = estimate(bundles[engine], Workload((100, 60), 5))
    assert found.engine == engine
    assert found.ram_peak >= sum(found.ram.values())
    assert sum(found.ram.values()) > sum(f.size for f in bundles[engine].manifest.files) / 2
    assert found.judgements == 20
    assert found.seconds is not None
    assert found.seconds > 0
    one = estimate(bundles[engine], Workload((100, 60), 1))
    assert one.seconds is not None
    assert one.seconds < found.seconds
    assert set(found.to_dict()) >= {"disk_bytes", "ram_bytes", "vram_bytes", "seconds"}


@pytest.mark.parametrize("engine", ["llamacpp", "onnx"])
def test_larger_pictures_and_contexts_take_more(bundles: dict[str, Bundle], engine: str) -> None:
    small = estimate(bundles[engine], Workload((20, 20)))
    large = estimate(bundles[engine], Workload((1920, 1080)))
    assert large.ram_peak > small.ram_peak
    if engine == "llamacpp":  # which writes the whole context
        short = estimate(bundles[engine], Workload((20, 20)), options=EngineOptions(n_ctx=512))
        assert short.ram["keys and values"] * 2 == small.ram["keys and values"]
    else:
        long = estimate(bundles[engine], Workload((20, 20), response_tokens=600))
        assert long.ram["keys and values"] == small.ram["keys and values"] * 2


def test_what_is_kept_of_earlier_pictures_is_counted(bundles: dict[str, Bundle]) -> None:
    one, two = (estimate(bundles["onnx"], Workload((20, 20), pictures=n)) for n in (1, 2))
    assert one.ram["keys and values put aside"] == 0
    assert two.ram["keys and values put aside"] > 0
    assert one.ram_peak < two.ram_peak < one.ram_later == two.ram_later
    n_ctx = bundles["onnx"].manifest.n_ctx
    many = estimate(bundles["onnx"], Workload((20, 20), pictures=10_000))
    cell = two.ram["keys and values"] // STEP
    assert n_ctx // 2 < many.ram["keys and values put aside"] // cell < n_ctx


def test_what_was_measured_is_kept(
    bundles: dict[str, Bundle], probes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = estimate(bundles["llamacpp"], Workload((20, 20)))
    assert probes
    before = list(probes)
    assert estimate(bundles["llamacpp"], Workload((20, 20))) == first
    assert probes == before
    monkeypatch.setattr(calibration, "version", lambda package: "another")
    estimate(bundles["llamacpp"], Workload((20, 20)))
    assert len(probes) == 2 * len(before)


def test_what_was_timed_on_a_busy_machine_is_not_kept(
    bundles: dict[str, Bundle], probes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Others, "share", lambda others: 0.5)
    estimate(bundles["onnx"], Workload((20, 20)), tell=told.append)
    assert any("50%" in line for line in told)
    probes.clear()
    monkeypatch.setattr(Others, "share", lambda others: 0.1)
    for _ in range(2):  # memory is kept, whatever others do
        estimate(bundles["onnx"], Workload((20, 20)))
    assert sorted(probes) == sorted(set(probes))
    assert all(one.startswith("LayerShape") for one in probes)


def test_a_critic_for_transformers_has_no_estimate(bundles: dict[str, Bundle]) -> None:
    files = tuple(replace(f, role="checkpoint") for f in bundles["llamacpp"].manifest.files[:1])
    manifest = replace(bundles["llamacpp"].manifest, files=files)
    with pytest.raises(InputError, match="no estimate for the engine hf"):
        estimate(replace(bundles["llamacpp"], manifest=manifest))


@pytest.mark.parametrize(
    ("workload", "n_ctx", "told"),
    [
        (Workload((100, 60)), 1025, "at most 1024 tokens"),
        (Workload((100, 60)), 64, "the context has 64"),
        (Workload((100, 60), 2, 500), 1024, "the context has 1024"),
    ],
)
def test_what_would_be_refused_has_no_estimate(
    bundles: dict[str, Bundle], workload: Workload, n_ctx: int, told: str
) -> None:
    for engine, bundle in bundles.items():
        assert bundle.manifest.n_ctx == 1024
        with pytest.raises(InputError, match=told):
            estimate(bundle, workload, backend=engine, options=EngineOptions(n_ctx=n_ctx))


def test_graphics_memory_is_known_for_llama_cpp_only(bundles: dict[str, Bundle]) -> None:
    assert estimate(bundles["llamacpp"], Workload((100, 60)), on_gpu=True).vram_peak > 0
    with pytest.raises(InputError, match="of a GPU's memory is not known"):
        estimate(bundles["onnx"], Workload((100, 60)), on_gpu=True)


def test_caps_make_a_workload_smaller() -> None:
    whole = Workload((300, 200)).picture(GRID)
    capped = Workload((300, 200), max_tiles=2).picture(GRID)
    assert (whole.tiles, capped.tiles) == (7, 3)
    assert capped.tokens < whole.tokens
    assert Workload(image_size=None).picture(GRID).tokens == 0


def test_tokens_that_are_shared_count_once() -> None:
    one, five = Workload(responses=1), Workload(responses=5)
    assert (one.judgements, five.judgements) == (1, 20)
    assert five.tokens(1000) < 2 * one.tokens(1000)
    assert five.longest(1000) > one.longest(1000)


def test_loading_refuses_unless_it_is_forced(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecritic import Critic

    small = Machine(ram=10, ram_total=10, vram=None)
    monkeypatch.setattr(refusal.Machine, "here", lambda **_: small)
    with pytest.raises(DoesNotFitError):
        Critic.load(bundles["llamacpp"], device="cpu")
    Critic.load(bundles["llamacpp"], device="cpu", force=True).close()


def test_the_command_line_tells_an_estimate(
    bundles: dict[str, Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*argv: str) -> Ran:
        status = main(["models", "estimate", str(bundles["llamacpp"].folder), *argv])
        return Ran(status, *capsys.readouterr())

    ran = run("--image-size", "200x100", "--responses", "3")
    assert ran.status == 0
    assert "MiB  keys and values" in ran.out
    assert "6 judgements" in ran.out
    assert "kept for further questions" in ran.out
    (line,) = run("--json", "--gpu").json
    assert line["vram_bytes"] > 0
    assert line["seconds"] is None
    for argv in (("--image-size", "big"), ("--max-image-tokens", "9"), ("--backend", "hf")):
        refused = run(*argv)
        assert (refused.status, refused.out) == (2, "")


def test_the_machine_says_what_it_has(tmp_path: Path) -> None:
    machine = Machine.here(ask_gpu=False)
    assert machine.vram is None
    assert machine.ram is None or machine.ram > 0
    assert free_disk(tmp_path / "not" / "made" / "yet") > 0
    assert 0 < resident() <= peak()
