"""A training run of the embedded critic as the bundle that ships with the package."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import read_header
from edgecritic.hashing import file_sha256
from edgecritic.manifest import BundleFile, Calibration, DialectRef, Manifest
from edgecritic.models import SMOLLM2_135M
from edgecritic.prompts import Dialect, load_dialect
from edgecritic.task import Rubric
from edgecritic_export.embedded.run import TrainedCritic
from edgecritic_export.gguf.lora import write_lora
from edgecritic_export.gguf.mmproj import write_mmproj

NAME: Final = "edgecritic-embedded"
MAX_BYTES: Final = 50_000_000
"""What the package has room for: adapter, vision tower and newline together."""
N_CTX: Final = 4096
GOOD_FOR: Final = (
    "drawn graphics, emoji and clip art",
    "handwritten and printed digits and numbers",
    "the trend of a line and the slices of a pie",
    "counting up to six",
    "colours, shapes and positions",
)
BAD_FOR: Final = (
    "photographs",
    "values read off a chart",
    "yes-or-no questions, unless they ask whether a thing is there",
    "how a printed word is spelt, long texts and fine print",
    "knowledge beyond what the picture shows",
    "answers that take several steps of reasoning",
    "other languages than English",
)
DATA_LICENCES: Final = (
    "Trained on pictures composed from drawings, scans and fonts under Apache-2.0, MIT, "
    "CC-BY-4.0, BSD-3-Clause, OFL and Bitstream Vera licences and from the public domain, each "
    "credited in docs/data-sources.md; nothing under a share-alike or GPL licence. "
    "The language model is SmolLM2-135M-Instruct by Hugging Face, Apache-2.0."
)


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """What the bundle says besides what was trained.

    Attributes:
        version: of the critic.
        calibration: JSON with its temperatures and tie margin, and its noise where that was
            measured; none are applied without it.
    """

    version: str
    calibration: Path | None = None


def export_embedded(run: Path, language_model: Path, out: Path, options: EmbeddedOptions) -> Bundle:
    """Write the bundle of an embedded critic.

    The pinned SmolLM2 is named as a file that `edgecritic models pull` fetches; any other
    language model is copied into the bundle, and counts.

    Args:
        run: folder with ``critic.safetensors`` and ``training.json``.
        language_model: the GGUF file that it was trained over.
        out: the bundle's folder; made if need be.
        options: the rest.

    Raises:
        ArtifactError: the run is not finished or does not fit language model or prompts, or the
            files are larger than `MAX_BYTES`.
        MissingExtraError: gguf or safetensors is not installed.
    """
    critic = TrainedCritic.read(run)
    header = read_header(language_model)
    critic.check(header)
    dialect = _dialect(critic)
    base = _language_model(critic, language_model)
    with tempfile.TemporaryDirectory() as made:
        sources = {name: Path(made) / name for name in ("adapter.gguf", "mmproj.gguf")}
        sources["image_newline.npy"] = Path(made) / "image_newline.npy"
        write_lora(critic.adapter(), critic.lora_config(header), sources["adapter.gguf"])
        write_mmproj(critic.vision(), critic.tower_config(), sources["mmproj.gguf"])
        np.save(sources["image_newline.npy"], critic.tensors["newline"].astype(np.float32))
        files = (
            base,
            describe_file("adapter", sources["adapter.gguf"], quant="F16"),
            describe_file("mmproj", sources["mmproj.gguf"], quant="F16"),
            describe_file("image_newline", sources["image_newline.npy"]),
        )
        _check_size(files)
        if not base.external:
            sources[base.path] = language_model
        return write_bundle(out, _manifest(critic, files, dialect, options), sources)


def _manifest(
    critic: TrainedCritic,
    files: tuple[BundleFile, ...],
    dialect: Dialect,
    options: EmbeddedOptions,
) -> Manifest:
    training = {name: value for name, value in critic.summary.items() if name != "image"}
    pinned = files[0].external
    return Manifest(
        name=NAME,
        version=options.version,
        family="llava_onevision",
        files=files,
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct" if pinned else files[0].path,
        dialect=DialectRef(dialect.name, dialect.digest),
        rubric=Rubric(),
        n_ctx=N_CTX,
        image=critic.image,
        calibration=_calibration(options.calibration),
        licence="Apache-2.0",
        training={**training, "data_licences": DATA_LICENCES},
        verification=None,
        good_for=GOOD_FOR,
        bad_for=BAD_FOR,
        created=str(critic.summary.get("date")),
    )


def _dialect(critic: TrainedCritic) -> Dialect:
    dialect = load_dialect(critic.dialect.partition("@")[0])
    if dialect.identity != critic.dialect:
        raise ArtifactError(
            f"{critic.folder} was trained with the prompts {critic.dialect}, "
            f"installed is {dialect.identity}",
            "train again, or export with the edgecritic that the run was made with",
        )
    return dialect


def _language_model(critic: TrainedCritic, path: Path) -> BundleFile:
    sha256 = file_sha256(path)
    if sha256 != critic.language_model_sha256:
        raise ArtifactError(
            f"{path} has sha256 {sha256[:12]}..., {critic.folder} was trained over "
            f"{critic.language_model_sha256[:12]}...",
            "name the language model that the run was made with",
        )
    if sha256 == SMOLLM2_135M.sha256:
        return SMOLLM2_135M
    return describe_file("language_model", path)


def _calibration(path: Path | None) -> Calibration:
    if path is None:
        return Calibration()
    try:
        fitted = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fitted, Mapping):
            raise TypeError("it is no JSON object")
        return Calibration(
            float(fitted["pointwise_temperature"]),
            float(fitted["pairwise_temperature"]),
            float(fitted["tie_margin"]),
            float(fitted.get("noise", 0.0)),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} holds no calibration: {error!r}", "make it with: edgecritic bench calibrate"
        ) from error


def _check_size(files: tuple[BundleFile, ...]) -> None:
    sizes = {file.path: file.size for file in files if not file.external}
    if (total := sum(sizes.values())) > MAX_BYTES:
        listed = ", ".join(f"{path} {size:,}" for path, size in sizes.items())
        raise ArtifactError(
            f"the bundle has {total:,} bytes ({listed}), more than {MAX_BYTES:,}",
            "train a smaller tower or adapter",
        )
