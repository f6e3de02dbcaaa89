"""Bundles as arms: roles, names, and which full-precision arm each is held to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgecritic import Bundle, InputError
from edgecritic.bundle import describe_file, write_bundle
from edgecritic_bench.quantization.arms import Arm, plan_arms, read_arms, write_arms
from tiny_engines import tiny_manifest


def bundle(
    folder: Path, quant: str, tower: str = "F16", format_: str = "gguf", rounding: object = None
) -> Path:
    """A bundle whose files hold no model; nobody loads them here."""
    made = folder / "made"
    made.mkdir(parents=True)
    roles = (
        {"language_model": quant, "mmproj": tower}
        if format_ == "gguf"
        else {"decoder": quant, "embed_tokens": "F16", "vision_encoder": tower, "tokenizer": ""}
    )
    files = []
    sources = {}
    for role, precision in {**roles, "image_newline": ""}.items():
        path = made / role
        path.write_text(f"{role} {precision}")
        sources[role] = path
        files.append(describe_file(role, path, quant=precision))
    manifest = replace(tiny_manifest(files), rounding=rounding)
    write_bundle(folder, manifest, sources)
    return folder


def test_roles_names_and_bases(tmp_path):
    weighed = {"importance": ["pictures"], "rows": 9}
    for name, quant, rounding in (
        ("a", "F16", None),
        ("b", "Q8_0", None),
        ("c", "Q4_K_M", None),
        ("d", "Q4_K_M", weighed),
    ):
        bundle(tmp_path / "ladder" / name, quant, rounding=rounding)
    bundle(tmp_path / "tower", "F16", tower="Q8_0")
    bundle(tmp_path / "fp32", "F32", "F32", "onnx")
    bundle(tmp_path / "q4", "Q4", "F16", "onnx")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "config.json").write_text("{}")
    words = [str(tmp_path / name) for name in ("ladder", "tower", "fp32")]
    arms = plan_arms([*words, f"four bits={tmp_path / 'q4'}"], checkpoint, tmp_path / "work")
    assert [arm.name for arm in arms[:2]] == ["reference", "re-run"]
    assert [arm.role for arm in arms[:2]] == ["reference", "rerun"]
    found = {arm.name: arm for arm in arms[2:]}
    roles = {
        "gguf F16": ("runtime", ""),
        "gguf F16 tower Q8_0": ("quantized", "gguf F16"),
        "gguf Q8_0": ("quantized", "gguf F16"),
        "gguf Q4_K_M": ("quantized", "gguf F16"),
        "gguf Q4_K_M imatrix": ("quantized", "gguf F16"),
        "onnx fp32": ("runtime", ""),
        "four bits": ("quantized", "onnx fp32"),
    }
    assert {name: (arm.role, arm.base) for name, arm in found.items()} == roles
    assert found["gguf Q4_K_M imatrix"].rounding == "pictures"
    # The tower is the same file in all but one: its features are shared.
    towers = {arm.tower_sha256 for name, arm in found.items() if name.startswith("gguf")}
    assert len(towers) == 2
    # The checkpoint is judged with the prompts and geometry of the bundles.
    laid = Bundle.read(arms[0].folder).manifest
    assert laid.formats == ("hf",)
    assert laid.dialect == tiny_manifest().dialect
    write_arms(tmp_path / "arms.json", arms)
    assert read_arms(tmp_path / "arms.json") == arms


def test_commands_on_one_folder_plan_at_once(tmp_path):
    words = [str(bundle(tmp_path / "F16", "F16"))]
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")

    def plan(_: int) -> tuple[Arm, ...]:
        return plan_arms(words, checkpoint, tmp_path / "work")

    with ThreadPoolExecutor(6) as pool:
        plans = list(pool.map(plan, range(24)))
    assert len(set(plans)) == 1


def test_without_a_checkpoint_the_finest_bundle_is_the_reference(tmp_path):
    words = [str(bundle(tmp_path / quant, quant)) for quant in ("Q8_0", "F16", "F32")]
    arms = plan_arms(words, None, tmp_path)
    assert [(arm.name, arm.role) for arm in arms] == [
        ("gguf F32", "reference"),
        ("re-run", "rerun"),
        ("gguf F16", "runtime"),
        ("gguf Q8_0", "quantized"),
    ]
    assert arms[3].base == "gguf F32"


def test_what_cannot_be_planned(tmp_path):
    with pytest.raises(InputError, match="no bundle"):
        plan_arms([str(tmp_path)], None, tmp_path)
    twice = [str(bundle(tmp_path / name / "Q8_0", "Q8_0")) for name in ("a", "b")]
    with pytest.raises(InputError, match="called 'gguf-q8_0'") as caught:
        plan_arms([*twice, str(bundle(tmp_path / "f", "F16"))], None, tmp_path)
    assert "NAME=" in caught.value.hint
    with pytest.raises(InputError, match="safetensors"):
        plan_arms(twice[:1], tmp_path, tmp_path / "work")
    with pytest.raises(InputError, match="holds 3 bundles"):
        plan_arms([f"both={tmp_path}"], None, tmp_path)


def test_the_name_makes_a_file():
    arm = Arm("gguf Q4_K_M / my way", "quantized", "f", "llamacpp", "", "", "", 1, "", "", "")
    assert arm.slug == "gguf-Q4_K_M-my-way"
