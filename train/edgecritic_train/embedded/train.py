"""Trains the embedded critic, stage by stage, each resumable.

Command line: ``edgecritic train embedded --assets PACK --language-model GGUF --out RUN
[--stages pretrain,align,sft] [--seconds sft=600]``. A stage whose checkpoint has spent its budget
is skipped. The result is ``RUN/critic.safetensors`` with a summary beside it.
``--start embedded --stages sft --seed N`` goes on with the critic that ships, on other items.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgecritic.cli.bundles import read_bundle
from edgecritic.cli.options import at_least
from edgecritic.errors import CriticError
from edgecritic.hashing import file_sha256
from edgecritic.prompts import load_dialect
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.catalogue import kinds_of
from edgecritic_train.embedded.bundled import load_bundle
from edgecritic_train.embedded.config import (
    EmbeddedConfig,
    LoraShape,
    TowerShape,
    embedded_geometry,
)
from edgecritic_train.embedded.feed import ItemStream, batches, normalised
from edgecritic_train.embedded.model import build, parts, start_projector, with_lora
from edgecritic_train.embedded.pretrain import PictureCollate, pretrain
from edgecritic_train.embedded.sft import Sources, TrainedPart, train_rows

if TYPE_CHECKING:
    from peft import PeftModel

    from edgecritic.bundle import Bundle

STAGES = ("pretrain", "align", "sft")
WEIGHTS, SUMMARY = "critic.safetensors", "training.json"


def train(config: EmbeddedConfig, sources: Sources, stages: Sequence[str]) -> PeftModel:
    """Run the stages in order and write the critic's own weights; returns the trained model.

    A stage that is not run takes its weights from the checkpoint it left in the folder; without
    pretraining, the stages go on from the folder's ``critic.safetensors`` if there is one.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    torch.set_float32_matmul_precision("high")
    # All layers share one code object: each must find a graph, its own or another layer's.
    torch._dynamo.config.recompile_limit = 64
    geometry = embedded_geometry()
    model = build(sources.language_model, config.tower, geometry)
    model.to(device)  # type: ignore[arg-type]  # transformers wraps the method without its types
    pieces = parts(model)
    if device.type == "cuda":  # frozen weights in bf16; what is trained stays in float32
        pieces.decoder.to(torch.bfloat16)
        pieces.head.to(torch.bfloat16)
    if "pretrain" in stages:
        pretrain(
            pieces.tower,
            config,
            geometry,
            packs=sources.packs,
            folder=sources.folder,
            n_workers=sources.n_workers,
            compiled=sources.compiled,
        )
    wrapped = with_lora(model, config.lora)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    begun = sources.folder / WEIGHTS
    if "pretrain" not in stages and begun.exists():
        load_trained(wrapped, begun)
    elif "align" in stages:
        stream = ItemStream(sources.packs, "train", config.seed + 7)
        sample = next(batches(stream, 16, PictureCollate(geometry), 0))
        start_projector(pieces, normalised(sample.tiles.to(device)))
    if "align" in stages:
        train_rows(wrapped, config, geometry, sources, judged=False)
    save_trained(wrapped, sources.folder, config, sources.language_model)
    if "sft" in stages:
        train_rows(wrapped, config, geometry, sources, judged=True)
        save_trained(wrapped, sources.folder, config, sources.language_model)
    return wrapped


def begin(start: Bundle, sources: Sources, config: EmbeddedConfig) -> None:
    """Put the weights of a critic into a run that has none yet, to go on from."""
    if not (sources.folder / WEIGHTS).exists():
        sources.folder.mkdir(parents=True, exist_ok=True)
        save_trained(load_bundle(start), sources.folder, config, sources.language_model)


def save_trained(
    model: PeftModel, folder: Path, config: EmbeddedConfig, language_model: Path
) -> None:
    """Write ``critic.safetensors`` and ``training.json``.

    The weights are rounded to float16, which is what the bundle ships, so that every later
    evaluation, in torch or in an engine, judges with the same numbers.
    """
    from safetensors.torch import save_file

    state = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in TrainedPart(model).state_dict().items()
    }
    temporary = folder / f"{WEIGHTS}.tmp"
    save_file(state, temporary)
    temporary.replace(folder / WEIGHTS)
    summary = summarise(folder, config, language_model)
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")


def load_critic(checkpoint: Path, language_model: Path) -> PeftModel:
    """The critic of a finished run, in float32, in the shapes that its summary states.

    Args:
        checkpoint: ``critic.safetensors``, with ``training.json`` beside it.
        language_model: the GGUF file that it was trained over.

    Raises:
        CriticError: a file is missing, or the weights do not have those shapes.
    """
    summary = checkpoint.with_name(SUMMARY)
    try:
        shapes = json.loads(summary.read_text(encoding="utf-8"))["config"]
        tower, lora = TowerShape(**shapes["tower"]), LoraShape(**shapes["lora"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CriticError(
            f"{summary} does not state the critic's shapes: {error!r}",
            "keep it beside the checkpoint that it was written with",
        ) from error
    model = with_lora(build(language_model, tower, embedded_geometry()), lora)
    load_trained(model, checkpoint)
    return model


def load_trained(model: PeftModel, path: Path) -> None:
    """Put the weights of ``critic.safetensors`` into a freshly built critic.

    Raises:
        CriticError: a weight is missing, left over, or of another shape.
    """
    from safetensors.torch import load_file

    try:
        TrainedPart(model).load_state_dict(load_file(path))
    except RuntimeError as error:
        raise CriticError(
            f"{path} does not fit the critic: {error}", "check tower and rank"
        ) from error


def summarise(folder: Path, config: EmbeddedConfig, language_model: Path) -> dict[str, Any]:
    """What was trained on what, for the bundle."""
    import transformers

    log = folder / "metrics.jsonl"
    entries = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = {entry["stage"]: entry for entry in entries}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "config": asdict(config),
        "dialect": load_dialect().identity,
        "image": embedded_geometry().to_dict(),
        "language_model": language_model.name,
        "language_model_sha256": file_sha256(language_model),
        "stages": {
            name: {k: entry[k] for k in entry if k != "stage"} for name, entry in last.items()
        },
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else platform.processor(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgecritic train embedded", description=__doc__)
    parser.add_argument("--assets", type=Path, nargs="+", required=True)
    parser.add_argument("--language-model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", default=",".join(STAGES), help="default: all of them")
    parser.add_argument("--seconds", nargs="*", default=[], metavar="STAGE=SECONDS")
    parser.add_argument("--batch", nargs="*", default=[], metavar="STAGE=SIZE")
    parser.add_argument("--start", help="go on from a critic: embedded, or a bundle's folder")
    parser.add_argument("--seed", type=int, default=EmbeddedConfig().seed, help="of the items")
    parser.add_argument(
        "--distractions",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="of the responses, that say something beside their answer",
    )
    parser.add_argument(
        "--emphasis",
        nargs="*",
        default=[],
        metavar="KIND=FACTOR",
        help="question types that come FACTOR times as often, such as chart_value=5",
    )
    parser.add_argument("--workers", type=at_least(0), default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--no-compile", action="store_true")
    return parser


def configured(seconds: Sequence[str], batch: Sequence[str]) -> EmbeddedConfig:
    """The default configuration with some stages' budgets replaced.

    Raises:
        CriticError: there is no such stage, or a budget is not a positive number.
    """
    config = EmbeddedConfig()
    for setting, pairs in (("seconds", seconds), ("batch", batch)):
        for pair in pairs:
            stage = pair.partition("=")[0]
            if stage not in STAGES:
                raise CriticError(f"there is no stage {stage!r}", f"stages: {', '.join(STAGES)}")
            number = _positive(f"--{setting}", pair, float if setting == "seconds" else int)
            budget = replace(getattr(config, stage), **{setting: number})
            config = replace(config, **{stage: budget})
    return config


def emphasised(pairs: Sequence[str]) -> dict[str, float]:
    """How many times as often each named question type comes.

    Raises:
        CriticError: there is no such type, or the factor is not a positive number.
    """
    factors = {}
    for pair in pairs:
        kind = pair.partition("=")[0]
        kinds_of("train", [kind])
        factors[kind] = _positive("--emphasis", pair, float)
    return factors


def chosen(names: str) -> list[str]:
    """The stages that are named, with commas between them.

    Raises:
        CriticError: there is no such stage.
    """
    stages = names.split(",")
    for stage in stages:
        if stage not in STAGES:
            raise CriticError(f"there is no stage {stage!r}", f"stages: {', '.join(STAGES)}")
    return stages


def _positive(option: str, pair: str, read: Callable[[str], float]) -> float:
    """The number behind a name."""
    name, _, value = pair.partition("=")
    try:
        number = read(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        kind = "whole number" if read is int else "number"
        raise CriticError(
            f"{option} {pair}: {value!r} is not a positive {kind}",
            f"write one behind the name, such as {name}=5",
        )
    return number


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    stages = chosen(options.stages)
    config = replace(
        configured(options.seconds, options.batch),
        seed=options.seed,
        distractions=options.distractions,
        emphasis=emphasised(options.emphasis),
    )
    Assets.load(*options.assets)  # a pack that cannot be read is told here, not by a worker
    sources = Sources(
        tuple(options.assets),
        options.language_model,
        options.out,
        options.workers,
        not options.no_compile,
    )
    if options.start:
        start = read_bundle(options.start)
        config = replace(config, start=f"{start.manifest.name} {start.manifest.version}")
        begin(start, sources, config)
    train(config, sources, stages)
    return 0
