"""Takes the critic that ships with the package apart again: its training run, from its own files.

    python scripts/restore_embedded_run.py RUN
    edgecritic train hf RUN --language-model MODEL.gguf --out CHECKPOINT

The bundle holds the trained weights as they were saved, in float16, so nothing is lost: exporting
RUN gives the same files again, which this script checks. What the critic never reads, the tower's
closing norm, is not in the bundle; a norm that changes nothing stands in its place.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edgecritic import ArtifactError, Bundle, CriticError
from edgecritic.gguf_header import GgufHeader, read_header
from edgecritic.vision import ImageGeometry
from edgecritic_export.embedded.bundle import EmbeddedOptions, export_embedded
from edgecritic_export.embedded.run import ADAPTED, SUMMARY, WEIGHTS, TrainedCritic
from edgecritic_export.gguf.mmproj import _target_name

Arrays = Mapping[str, NDArray[np.float16]]


def _tensors(path: Path) -> Arrays:
    """All tensors of a GGUF file whose matrices are in F16 and whose vectors came from F16."""
    return {
        tensor.name: np.array(tensor.data, dtype=np.float16) for tensor in GGUFReader(path).tensors
    }


def _permuted_back(rows: NDArray[np.float16], n_head: int) -> NDArray[np.float16]:
    """Rows of a query or key matrix from llama.cpp's order to transformers'."""
    pairs = rows.reshape(n_head, rows.shape[0] // n_head // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def restored(bundle: Bundle, header: GgufHeader) -> TrainedCritic:
    """The run that a bundle was exported from."""
    manifest, training = bundle.manifest, bundle.manifest.training
    if not isinstance(training, Mapping) or not isinstance(manifest.image, ImageGeometry):
        raise ArtifactError(f"{bundle.name} does not say how it was trained", "install it again")
    summary = {
        **{name: value for name, value in training.items() if name != "data_licences"},
        "image": manifest.image.to_dict(),
    }
    shapes = summary["config"]
    bare = TrainedCritic(
        folder=bundle.folder,
        tensors={},
        summary=summary,
        image=manifest.image,
        dialect=str(summary["dialect"]),
        language_model_sha256=str(summary["language_model_sha256"]),
        tower=shapes["tower"],
        lora=shapes["lora"],
    )
    tower, adapter = (_tensors(bundle.file(role)) for role in ("mmproj", "adapter"))
    newline = np.load(bundle.file("image_newline")).astype(np.float16)
    heads = {
        "self_attn/q_proj": header.count("llama.attention.head_count"),
        "self_attn/k_proj": header.count("llama.attention.head_count_kv"),
    }
    found = {}
    for name, shape in bare.expected_shapes(header).items():
        part, _, rest = name.partition(".")
        if name == "newline":
            found[name] = newline
        elif name.startswith("tower.post_layernorm"):
            found[name] = np.full(shape, float(name.endswith("weight")), dtype=np.float16)
        elif part == "lora":
            _, layer, block, module, half = rest.split("/")
            module = f"{block}/{module}"
            target = f"blk.{layer}.{ADAPTED[module]}.weight.lora_{half.lower()}"
            rows = adapter[target]
            moved = half == "B" and module in heads
            found[name] = _permuted_back(rows, heads[module]) if moved else rows
        else:
            prefix = {"tower": "vision_tower.", "projector": "multi_modal_projector."}[part]
            target = _target_name(prefix + rest, shapes["tower"]["layers"]) or ""
            found[name] = tower[target].reshape(shape)
    return TrainedCritic(**{**_fields(bare), "tensors": found})


def _fields(critic: TrainedCritic) -> dict[str, object]:
    return {name: getattr(critic, name) for name in critic.__dataclass_fields__}


def write_run(critic: TrainedCritic, folder: Path) -> None:
    """Weights and summary as `edgecritic train embedded` leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(critic.tensors), folder / WEIGHTS)
    (folder / SUMMARY).write_text(json.dumps(critic.summary, indent=2) + "\n", encoding="utf-8")


def differing(bundle: Bundle, run: Path, language_model: Path) -> list[str]:
    """Files of the bundle that exporting the run does not give again, bit by bit."""
    with tempfile.TemporaryDirectory() as made:
        options = EmbeddedOptions(bundle.manifest.version)
        again = export_embedded(run, language_model, Path(made) / "again", options).manifest
    digests = {file.path: file.sha256 for file in again.files}
    return [f.path for f in bundle.manifest.files if digests.get(f.path) != f.sha256]


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    try:
        bundle = Bundle.embedded()
        language_model = bundle.file("language_model")
        write_run(restored(bundle, read_header(language_model)), args.run)
        wrong = differing(bundle, args.run, language_model)
    except CriticError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if wrong:
        sys.stderr.write(f"exported again, these differ: {', '.join(wrong)}\n")
        return 1
    sys.stdout.write(f"{args.run}\n{language_model}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
