"""What is refused before it is loaded or fetched, and what is suggested in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.errors import DoesNotFitError
from edgecritic.fit import refusal
from edgecritic.fit.machine import Machine
from edgecritic.fit.quants import largest_quant
from edgecritic.fit.refusal import refuse_to_store, refuse_what_cannot_fit
from edgecritic.manifest import BundleFile
from tiny_checkpoints import write_llava_onevision
from tiny_engines import write_gguf_bundle, write_hf_bundle, write_onnx_bundles

GB = 1_000_000_000
OPTIONS = EngineOptions(n_ctx=1024)
CPU = replace(OPTIONS, device="cpu")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """One tiny checkpoint for all engines."""
    folder = tmp_path_factory.mktemp("bundles")
    checkpoint = folder / "checkpoint"
    write_llava_onevision(checkpoint)
    return {
        "llamacpp": write_gguf_bundle(checkpoint, folder / "gguf"),
        "onnx": write_onnx_bundles(checkpoint, folder / "onnx")["fp32"],
        "hf": write_hf_bundle(checkpoint, folder / "hf"),
    }


def machine(ram: int, vram: int | None = None) -> Machine:
    return Machine(ram, ram, vram)


def holding(bundle: Bundle, *files: BundleFile) -> Bundle:
    """A bundle that says that it has other files."""
    return replace(bundle, manifest=replace(bundle.manifest, files=files))


def onnx_bundle(bundle: Bundle, quant: str, size: int, table: int = GB) -> Bundle:
    """One whose decoder and token embeddings lie in files of their own."""
    (decoder,) = bundle.manifest.having("decoder")
    (embed,) = bundle.manifest.having("embed_tokens")
    data = replace(decoder, role="external_data", quant="")
    return holding(
        bundle,
        replace(decoder, quant=quant),
        replace(embed, quant="F16"),
        replace(data, path=f"{decoder.path}_data", size=size),
        replace(data, path=f"{embed.path}_data", size=table),
    )


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu"])
def test_what_cannot_be_loaded_is_refused(bundles: dict[str, Bundle], device: Any) -> None:
    options = replace(OPTIONS, device=device)
    for engine, bundle in bundles.items():
        refuse_what_cannot_fit(bundle, engine, options, machine(1 << 40, 1 << 40))
        with pytest.raises(DoesNotFitError, match="at least") as caught:
            refuse_what_cannot_fit(bundle, engine, options, machine(9, 9))
        assert "force" in caught.value.hint
        refuse_what_cannot_fit(bundle, engine, options, Machine(None, None, None))


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_llama_cpp_divides_a_critic_between_both_memories(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, device: Any
) -> None:
    bundle, options = bundles["llamacpp"], replace(OPTIONS, device=device)
    needed = refuse_what_cannot_fit(bundle, "llamacpp", options, machine(1 << 40))
    divided = machine(needed // 2 + 1, needed // 2 + 1)
    monkeypatch.setattr(refusal, "_offloads", lambda engine: True)
    refuse_what_cannot_fit(bundle, "llamacpp", options, divided)
    with pytest.raises(DoesNotFitError, match="and the GPU's"):
        refuse_what_cannot_fit(bundle, "llamacpp", options, machine(needed // 3, needed // 3))
    with pytest.raises(DoesNotFitError, match="of main memory, and"):
        refuse_what_cannot_fit(bundle, "llamacpp", CPU, divided)
    monkeypatch.setattr(refusal, "_offloads", lambda engine: False)  # as it is installed mostly
    with pytest.raises(DoesNotFitError, match="of main memory, and"):
        refuse_what_cannot_fit(bundle, "llamacpp", options, divided)


def test_a_table_that_is_mapped_is_not_counted(bundles: dict[str, Bundle]) -> None:
    mapped = onnx_bundle(bundles["onnx"], "Q4", 1000, table=5 * GB)
    refuse_what_cannot_fit(mapped, "onnx", CPU, machine(GB))
    refuse_to_store(mapped.manifest, 0, mapped.folder, machine(GB))
    read = onnx_bundle(bundles["onnx"], "Q4", 5 * GB, table=1000)
    with pytest.raises(DoesNotFitError):
        refuse_what_cannot_fit(read, "onnx", CPU, machine(GB))


def test_the_largest_quant_that_fits_is_named(bundles: dict[str, Bundle]) -> None:
    model = replace(bundles["llamacpp"].manifest.files[0], size=7 * GB, quant="Q8_0")
    manifest = holding(bundles["llamacpp"], model).manifest
    assert largest_quant(manifest, "gguf", 20 * GB) == "F16"
    assert largest_quant(manifest, "gguf", 7 * GB) == "Q8_0"
    assert largest_quant(manifest, "gguf", 4_200_000_000) == "Q4_K_M"
    assert largest_quant(manifest, "gguf", GB) is None
    unknown = holding(bundles["llamacpp"], replace(model, quant="")).manifest
    assert largest_quant(unknown, "gguf", 20 * GB) is None


@pytest.mark.parametrize(
    ("room", "told"),
    [(20, "fits is q8:"), (8, "fits is q8:"), (7, "fits is q4:"), (4, "no quant type")],
)
def test_onnx_bundles_are_named_as_they_are_exported(
    bundles: dict[str, Bundle], room: int, told: str
) -> None:
    bundle = onnx_bundle(bundles["onnx"], "F32", 28 * GB)
    with pytest.raises(DoesNotFitError) as caught:
        refuse_what_cannot_fit(bundle, "onnx", CPU, machine(room * GB))
    assert told in caught.value.hint
    with pytest.raises(DoesNotFitError) as caught:
        refuse_to_store(bundle.manifest, 0, bundle.folder, machine(room * GB))
    assert told in caught.value.hint


def test_a_bundle_that_does_not_tell_its_type_is_not_called_too_large(
    bundles: dict[str, Bundle],
) -> None:
    bundle = onnx_bundle(bundles["onnx"], "", 28 * GB)
    with pytest.raises(DoesNotFitError) as caught:
        refuse_what_cannot_fit(bundle, "onnx", CPU, machine(8 * GB))
    assert "a smaller quant type" in caught.value.hint


@pytest.mark.parametrize(("room", "told"), [(9, "'int8'"), (5, "'int4'"), (2, "no precision")])
def test_weights_that_transformers_rounds_are_suggested(
    bundles: dict[str, Bundle], room: int, told: str
) -> None:
    files = bundles["hf"].manifest.files
    (weights,) = (file for file in files if file.path.endswith(".safetensors"))
    config = next(file for file in files if file.path.endswith("config.json"))
    bundle = holding(bundles["hf"], replace(weights, size=16 * GB), config)
    with pytest.raises(DoesNotFitError) as caught:
        refuse_what_cannot_fit(bundle, "hf", CPU, machine(room * GB))
    assert told in caught.value.hint


@pytest.mark.parametrize(("dtype", "fits"), [("float32", True), ("bfloat16", False)])
def test_what_is_rounded_while_it_loads_takes_less(
    bundles: dict[str, Bundle], tmp_path: Path, dtype: str, fits: bool
) -> None:
    checkpoint = tmp_path / "checkpoint"
    write_llava_onevision(checkpoint)
    config = checkpoint / "config.json"
    config.write_text(config.read_text().replace('"float32"', f'"{dtype}"'))
    bundle = write_hf_bundle(checkpoint, tmp_path / "hf")
    whole = refuse_what_cannot_fit(bundle, "hf", CPU, machine(GB))
    small = machine(whole // 3)
    with pytest.raises(DoesNotFitError):
        refuse_what_cannot_fit(bundle, "hf", CPU, small)
    rounded = replace(CPU, weights="int8")
    if fits:
        assert refuse_what_cannot_fit(bundle, "hf", rounded, small) == whole // 4
    else:
        with pytest.raises(DoesNotFitError, match="at least"):
            refuse_what_cannot_fit(bundle, "hf", rounded, small)
