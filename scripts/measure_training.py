"""What training of a 7B takes on cards of 12, 16 and 24 GB: peak memory and tokens per second.

    python scripts/measure_training.py WORK [--seconds 560] [--tiny] [--only sft,dpo] [--table]

Bases have the shapes of llava-hf/llava-onevision-qwen2-7b-ov-hf and Qwen/Qwen2.5-VL-7B-Instruct and
random weights: what they cost does not depend on their values, and what they learn means nothing.
Each cell is one stage with pictures of one size: QLoRA of rank 64 over every linear layer, adapters
in float32, AdamW paged in 8 bits, checkpointing, batches of one row or pair with about 300 tokens
of prompt and 256 of each answer, two batches a step. It runs as `edgecritic train estimate --probe`
does, in a process of its own under the smallest cap that holds it; the prediction of `train
estimate` stands beside.

Nothing is fetched. A cell that ``WORK/cells.jsonl`` has is not repeated, and none is begun when
``--seconds`` are over: call it until it says that all is measured. WORK takes 33 GB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from edgecritic import prompts
from edgecritic.prompts import load_dialect
from edgecritic_train.critic_data.rows import CriticRow, ImageFile, write_rows
from edgecritic_train.tuning.base import open_base
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.estimate import estimate, lengths_of
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.manifest import versions
from edgecritic_train.tuning.probe import Probe, probe

GIB = 2**30
CAPS = (11.0, 15.0, 23.0)
SIZES = {
    "384x384": (384, 384),
    "480x640": (640, 480),
    "768x1024": (1024, 768),
    "1080p": (1920, 1080),
}
"""Name to width and height."""
STAGES = ("sft", "dpo shared_prefix", "dpo two_rows")
PROMPT_TOKENS, ANSWER_TOKENS = 300, 256
DIALECTS = {"llava_onevision": "edgecritic-v1", "qwen2_5_vl": "edgecritic-qwen-v1"}
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    *("<|vision_start|>", "<|vision_end|>"),
)
STAND_IN: Mapping[str, tuple[float, ...]] = {
    "sft": (8.1, 8.9, 9.8, 11.4),
    "dpo shared_prefix": (8.2, 9.1, 10.1, 11.8),
    "dpo two_rows": (9.1, 10.7, 12.6, 15.8),
}
"""GiB that a stand-in took (docs/training.md), for LLaVA-OneVision and the sizes in their order."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured at once."""

    family: str
    stage: str
    size: str
    batch: int = 1
    compiled: bool = False

    @property
    def name(self) -> str:
        marks = f" x{self.batch}" * (self.batch > 1) + " compiled" * self.compiled
        return f"{self.family} {self.stage} {self.size}{marks}"

    @property
    def dpo(self) -> bool:
        return self.stage.startswith("dpo")


@dataclass(frozen=True, slots=True)
class Result:
    """A cell's line in ``cells.jsonl``.

    Attributes:
        cell: its name.
        cap: GiB of the smallest cap that held it; None where only the whole card did.
        predicted: bytes by `train estimate`.
        refused: caps that did not hold it.
        probe: what was measured.
    """

    cell: str
    cap: float | None
    predicted: int
    refused: tuple[float, ...]
    probe: Probe


def cells() -> list[Cell]:
    """All of them; Qwen2.5-VL's shape once, larger batches, and compiled blocks at the end."""
    found = [Cell("llava_onevision", stage, size) for size in SIZES for stage in STAGES]
    larger = [Cell("llava_onevision", "sft", "1080p", batch) for batch in (2, 4)]
    compiled = [Cell("llava_onevision", "sft", size, compiled=True) for size in SIZES]
    return [*found, Cell("qwen2_5_vl", "sft", "1080p"), *larger, *compiled]


# --- bases ---------------------------------------------------------------------------------------


def write_base(folder: Path, family: str, *, tiny: bool) -> None:
    """A base of a family's shape with random weights in bfloat16, unless it is there."""
    if (folder / "whole").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    model_class, settings = _shape(family, tiny=tiny)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = model_class(settings)
    torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="4GB")
    del model
    if device == "cuda":
        torch.cuda.empty_cache()
    _tokenizer(folder, settings.text_config.vocab_size)
    if family == "qwen2_5_vl":
        processor = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
        limits = {"min_pixels": 3136, "max_pixels": 12845056}
        _json(folder / "preprocessor_config.json", {**processor, **limits})
    (folder / "whole").touch()


def _shape(family: str, *, tiny: bool) -> tuple[Any, Any]:
    """Transformers' class and its settings; the numbers are those of the published checkpoints."""
    text: dict[str, Any] = {
        "hidden_size": 128 if tiny else 3584,
        "intermediate_size": 256 if tiny else 18944,
        "num_hidden_layers": 2 if tiny else 28,
        "num_attention_heads": 4 if tiny else 28,
        "num_key_value_heads": 2 if tiny else 4,
        "vocab_size": 2048 if tiny else 152_064,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": False,
    }
    makers = {"llava_onevision": _llava_onevision, "qwen2_5_vl": _qwen2_5_vl}
    return makers[family](text, tiny=tiny)


def _llava_onevision(text: dict[str, Any], *, tiny: bool) -> tuple[Any, Any]:
    vision = SiglipVisionConfig(
        hidden_size=64 if tiny else 1152,
        intermediate_size=96 if tiny else 4304,
        num_hidden_layers=2 if tiny else 26,
        num_attention_heads=2 if tiny else 16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    settings = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**text),
        image_token_index=SPECIAL.index("<image>"),
        video_token_index=SPECIAL.index("<video>"),
        image_grid_pinpoints=[[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)],
        vision_aspect_ratio="anyres_max_9",
    )
    return LlavaOnevisionForConditionalGeneration, settings


def _qwen2_5_vl(text: dict[str, Any], *, tiny: bool) -> tuple[Any, Any]:
    eighth = text["hidden_size"] // text["num_attention_heads"] // 8
    rope = {"rope_type": "default", "rope_theta": 1e6}
    sections = [eighth, 3 * eighth // 2, 3 * eighth // 2]
    settings = Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": {**rope, "mrope_section": sections}},
        vision_config={
            "depth": 2 if tiny else 32,
            "hidden_size": 64 if tiny else 1280,
            "intermediate_size": 96 if tiny else 3420,
            "num_heads": 2 if tiny else 16,
            "out_hidden_size": text["hidden_size"],
            "fullatt_block_indexes": [1] if tiny else [7, 15, 23, 31],
        },
        image_token_id=SPECIAL.index("<image>"),
        video_token_id=SPECIAL.index("<video>"),
        vision_start_token_id=SPECIAL.index("<|vision_start|>"),
        vision_end_token_id=SPECIAL.index("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    return Qwen2_5_VLForConditionalGeneration, settings


def _tokenizer(folder: Path, rows: int) -> None:
    """Byte-level BPE that has learned the words of the prompts: Qwen2's vocabulary is not here."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=min(rows, 1500),
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [Path(str(path)).read_text(encoding="utf-8") for path in _prompt_files()]
    tokenizer.train_from_iterator([*texts, "a a a a"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    _json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})


def _prompt_files() -> Iterator[Path]:
    folder = Path(prompts.__file__).parent
    yield from sorted(path for path in folder.glob("edgecritic*/*") if path.suffix != ".py")


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# --- cells ---------------------------------------------------------------------------------------


def write_run(cell: Cell, work: Path, *, tiny: bool) -> Path:
    """Rows of a cell and the settings of its run; the path of the settings."""
    folder = work / "runs" / cell.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / "picture.png"
    width, height = SIZES[cell.size]
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    pixels = np.broadcast_to(ramp[None, :, None], (height, width, 3))
    Image.fromarray(np.ascontiguousarray(pixels)).save(picture)
    gpu = torch.cuda.is_available()
    settings = {
        "base": {"model": str(work / cell.family), "quantization": "nf4", "dtype": "bfloat16"},
        "adapter": {"rank": 4 if tiny else 64, "alpha": 128},
        "data": {
            "train": [str(folder / "rows.jsonl")],
            "dialect": DIALECTS[cell.family],
            "max_tokens": 32_768,
            "workers": 0,
        },
        "optimizer": {
            "name": "paged_adamw_8bit" if gpu else "adamw",
            "batch": cell.batch,
            "compile": cell.compiled,
        },
        "dpo": {"form": cell.stage.partition(" ")[2] or "shared_prefix"},
        "output": str(folder / "run"),
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    (folder / "rows.jsonl").touch()  # settings name a file that is there
    write_rows(folder / "rows.jsonl", [_row(cell, read_config(path), picture)])
    return path


def _row(cell: Cell, config: TuningConfig, picture: Path) -> CriticRow:
    """A row of about the wanted length: a judgement with its reason, or two long answers."""
    maker = ExampleMaker(open_base(config), load_dialect(config.data.dialect))
    long = " a" * ANSWER_TOKENS

    def made(filler: int) -> CriticRow:
        return CriticRow(
            id="row",
            setting="pairwise",
            question="a" + " a" * filler,
            responses=(f"a{long}", f"b{long}") if cell.dpo else ("a", "b"),
            verdict="first",
            images=(ImageFile(picture),),
            reason="" if cell.dpo else long.strip(),
        )

    if cell.dpo:  # the question stands alone in front of the answers
        return made(PROMPT_TOKENS)
    texts = maker.measure(replace(made(0), images=())).tokens
    return made(max(0, PROMPT_TOKENS + ANSWER_TOKENS - texts))


def measure(cell: Cell, work: Path, *, tiny: bool) -> Result:
    """Try the caps from the smallest up, then the whole card."""
    write_base(work / cell.family, cell.family, tiny=tiny)
    path = write_run(cell, work, tiny=tiny)
    config = read_config(path)
    base = open_base(config, weights=False)
    lengths = lengths_of(config, base, dpo=cell.dpo)
    predicted = estimate(config, base, lengths, dpo=cell.dpo).peak
    refused: list[float] = []
    for cap in (*CAPS, None) if torch.cuda.is_available() else (None,):
        found = probe(path, [], dpo=cell.dpo, cap=cap)
        if found.fits or cap is None:
            return Result(cell.name, cap, predicted, tuple(refused), found)
        refused.append(cap)
    raise AssertionError("the last cap is none")


def read_results(log: Path) -> dict[str, dict[str, Any]]:
    """By their cells."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return {record["cell"]: record for record in map(json.loads, lines)}


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, for docs/training.md."""
    lines = [
        "| stage | picture | tokens | held by | peak, GiB | torch held | predicted | stand-in "
        "| tokens/s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells():
        if (record := results.get(cell.name)) is None:
            continue
        found = record["probe"]
        before = "-"
        if cell.family == "llava_onevision":
            before = f"{STAND_IN[cell.stage][list(SIZES).index(cell.size)]:.1f}"
        named = cell.stage if cell.family == "llava_onevision" else f"{cell.stage}, Qwen2.5-VL"
        if not found["fits"]:
            lines.append(f"| {named} | {cell.size} | | nothing | | | | {before} | |")
            continue
        held = "the card" if record["cap"] is None else f"{record['cap']:g} GiB"
        if cell.batch > 1:
            named, before = f"{named}, {cell.batch} rows", "-"
        if cell.compiled:
            named = f"{named}, compiled"
        lines.append(
            f"| {named} | {cell.size} | {found['tokens']:,} | {held} | {found['peak'] / GIB:.1f} "
            f"| {found['reserved'] / GIB:.1f} | {record['predicted'] / GIB:.1f} | {before} "
            f"| {found['tokens'] / found['seconds']:,.0f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seconds", type=float, default=560.0, help="begin no cell after them")
    parser.add_argument("--only", default="", help="cells whose name holds one of these words")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers, to try the script")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    args = parser.parse_args(argv)
    begun, slowest = time.monotonic(), 0.0
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "cells.jsonl"
    wanted = [word for word in args.only.split(",") if word]
    for cell in cells():
        if args.table or cell.name in read_results(log):
            continue
        if wanted and not any(word in cell.name for word in wanted):
            continue
        started = time.monotonic()
        if started + slowest > begun + args.seconds:
            break  # the next one may take as long as the slowest so far
        result = measure(cell, args.work, tiny=args.tiny)
        slowest = max(slowest, time.monotonic() - started)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        sys.stderr.write(f"{cell.name}: {time.monotonic() - started:.0f} s\n")
    done = read_results(log)
    left = [cell.name for cell in cells() if cell.name not in done]
    device = next((record["probe"]["device"] for record in done.values()), "nothing")
    listed = ", ".join(f"{name} {number}" for name, number in versions().items())
    sys.stdout.write(f"{table(done)}\n\nmeasured on {device}; {listed}\n")
    sys.stdout.write(
        f"{len(left)} cells are left: call it again\n" if left else "all is measured\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
