"""``edgecritic train estimate``: memory and time of a run, before any weights are fetched.

Weights, adapters, gradients and optimizer are counted exactly, on a model of the base's shape
without storage. Activations follow from shapes::

    layer inputs that checkpointing keeps   2 L d n
    the largest layer, computed again       (9.5 f + 10 d) n, in bytes of the computing type
    a layer, where all are kept             the same; compiled (4 f + 8 d) n
    the tower's pictures                    12 w patches, where it is frozen

for n tokens, L layers of width d and hidden width f, and a tower of width w. A batch takes as long
as its arithmetic, or as the processor needs to launch its kernels. The factors are fitted to what
was measured on an H100 and an H200 with a base in four bits, and of compiled layers by the embedded
critic's recipe (docs/training.md).
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import InputError, shown
from edgecritic_train.tuning.base import Base, hollow_model, open_base
from edgecritic_train.tuning.config import TuningConfig, read_config
from edgecritic_train.tuning.probe import Probe, probe

_NF4_BYTES: Final = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of a weight: four bits, a scale of 8 bits for 64 of them, one of 32 bits for 256 of those."""
_OPTIMIZER_BYTES: Final = {
    "adamw": 8.0,
    "paged_adamw_32bit": 0.0,
    "adamw_8bit": 2.0,
    "paged_adamw_8bit": 0.0,
}
"""Of a trained weight, on the GPU; a paged state gives way to whatever else wants the room."""
_DTYPE_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}
_HIDDEN_COPIES, _WIDTH_COPIES, _TOWER_COPIES = 9.5, 10, 12
_COMPILED_HIDDEN_COPIES, _COMPILED_WIDTH_COPIES = 4, 8
_PASSES: Final = {True: 3, False: 2}
"""Forward, again with checkpointing, and backward without gradients of frozen weights."""
_ANSWER_TOKENS: Final = 256
"""Of a long rationale; logits are computed for learned tokens only, and for some at a time."""
_GRADIENT_BYTES: Final = 4
_REFERENCE_BYTES: Final = 4
"""Of a weight of the reference that preference learning keeps beside the trained adapter."""
_HEAD_BYTES: Final = 8
"""Of a logit: float32, and its gradient."""
_CONTEXT: Final = 0.15 * 2**30
"""What kernels set aside for themselves."""
DEVICE_TFLOPS: Final = {
    "RTX 3060": 25, "RTX 4060 Ti": 44, "RTX 4070 Ti SUPER": 88, "RTX 4080": 97, "RTX 3090": 71,
    "RTX 4090": 165, "L4": 121, "L40S": 362, "A100": 312, "H100": 989, "H200": 989,
}  # fmt: skip
"""Dense bfloat16 with float32 sums, from the makers' data sheets."""
_EFFICIENCY: Final = 0.38
"""Share of it that training reached: 7,900 tokens/s of a 7.6B on an H200, 31,000 at once."""
_LAUNCHING: Final = {"nf4": 0.012, "none": 0.0045}
"""Seconds that a processor took to launch the kernels of a layer in one pass."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take on one device.

    Attributes:
        tokens: of the longest row.
        weights: bytes of the base.
        trained: bytes of trained weights, their gradients where a step has several batches, the
            optimizer's state, and of a preference learning's reference.
        activations: bytes at the peak of a batch, or of its gradients.
        parameters: that are trained.
        steps: of the run; None where the rows are not known.
        seconds: of the run; None where rows or device are not known.
    """

    tokens: int
    weights: int
    trained: int
    activations: int
    parameters: int
    steps: int | None
    seconds: float | None

    @property
    def peak(self) -> int:
        """Bytes at the peak."""
        return self.weights + self.trained + self.activations


def estimate(
    config: TuningConfig,
    base: Base,
    lengths: Sequence[int] = (),
    tflops: float | None = None,
    *,
    dpo: bool = False,
) -> Estimate:
    """Predict a run of `edgecritic train sft` or `dpo`.

    Args:
        config: of the run.
        base: its settings; weights are not needed.
        lengths: tokens that are computed for each row or pair; without them the longest row that
            is allowed counts.
        tflops: of the device, dense, in the computing type.
        dpo: preferences are learned.
    """
    model = hollow_model(base, config)
    width = _DTYPE_BYTES[config.base.dtype]
    parameters = _trained(model, base, config)
    each = 4 + _OPTIMIZER_BYTES[config.optimizer.name] + (_REFERENCE_BYTES if dpo else 0)
    tokens = max(lengths, default=_longest_allowed(config, dpo=dpo)) * config.optimizer.batch
    steps, seconds = None, None
    if lengths:
        optimizer = config.optimizer
        rows = math.ceil(len(lengths) / optimizer.batch) / optimizer.accumulation
        steps = optimizer.max_steps or math.ceil(rows) * math.ceil(optimizer.epochs)
        if tflops is not None:
            share = optimizer.epochs if optimizer.max_steps is None else steps / max(rows, 1)
            seconds = share * _seconds(model, config, lengths, tflops, reference=dpo)
    gradients = parameters * _GRADIENT_BYTES
    activations = _activation_bytes(model, config, tokens)
    if config.optimizer.accumulation > 1:  # those of earlier batches are there all the time
        each += _GRADIENT_BYTES
    else:  # they come while activations go
        activations = max(activations, gradients)
    return Estimate(
        tokens=tokens,
        weights=_weight_bytes(model, config, width),
        trained=round(parameters * each),
        activations=activations,
        parameters=parameters,
        steps=steps,
        seconds=seconds,
    )


def _longest_allowed(config: TuningConfig, *, dpo: bool) -> int:
    """A pair is measured with one prompt, and computed with two where it takes two rows."""
    twice = dpo and config.dpo.form == "two_rows"
    return config.data.max_tokens * (2 if twice else 1)


def _weight_bytes(model: Any, config: TuningConfig, width: int) -> int:
    layers = re.compile(r"model\.language_model\.layers\.\d+\.\w+\.\w+_proj\.weight")
    total = 0.0
    for name, parameter in model.named_parameters():
        rounded = config.base.quantization == "nf4" and layers.fullmatch(name)
        total += parameter.numel() * (_NF4_BYTES if rounded else width)
    return round(total)


def _trained(model: Any, base: Base, config: TuningConfig) -> int:
    from edgecritic_train.tuning.adapters import shapes_of, targets, trained_whole

    adapter = config.adapter
    if adapter.start is not None:  # which keeps its own rank
        return sum(map(math.prod, shapes_of(adapter.start).values()))
    pattern = re.compile(targets(base.family, adapter))
    total: int = 0
    for name, module in model.named_modules():
        if pattern.fullmatch(name):
            n_out, n_in = module.weight.shape
            total += int(adapter.rank * (n_in + n_out) + (n_out if adapter.dora else 0))
    for path in trained_whole(base.family, adapter):
        total += sum(int(p.numel()) for p in model.get_submodule(path).parameters())
    return total


def _activation_bytes(model: Any, config: TuningConfig, tokens: int) -> int:
    text, vision = model.config.text_config, model.config.vision_config
    width = _DTYPE_BYTES[config.base.dtype]
    kept = text.hidden_size * width
    checkpointed = config.optimizer.gradient_checkpointing
    hidden, wide = _HIDDEN_COPIES, _WIDTH_COPIES
    if config.optimizer.compile and not checkpointed:
        hidden, wide = _COMPILED_HIDDEN_COPIES, _COMPILED_WIDTH_COPIES
    layer = (hidden * text.intermediate_size + wide * text.hidden_size) * width
    per_token = (
        text.num_hidden_layers * kept + layer if checkpointed else text.num_hidden_layers * layer
    )
    pictures = min(tokens, config.images.max_tokens or tokens)
    tower = pictures * vision.hidden_size * _TOWER_COPIES * width
    logits = min(_ANSWER_TOKENS, tokens) * text.vocab_size * _HEAD_BYTES  # gone before the layers
    computed = max(tokens * per_token, tokens * text.num_hidden_layers * kept + logits)
    return round(float(computed + tower + _CONTEXT))


def _seconds(
    model: Any, config: TuningConfig, lengths: Sequence[int], tflops: float, *, reference: bool
) -> float:
    """Of one pass over all rows; a reference is computed forwards."""
    text = model.config.text_config
    dense = sum(p.numel() for p in model.model.language_model.layers.parameters())
    passes = _PASSES[config.optimizer.gradient_checkpointing] + reference
    attended = 2 * text.num_hidden_layers * text.hidden_size  # causal: half of all pairs
    flops = (2 * passes * (dense * n + attended * n * n) for n in lengths)
    launching = _LAUNCHING[config.base.quantization] * text.num_hidden_layers * passes
    least = launching / config.optimizer.batch
    return float(sum(max(one / (tflops * 1e12 * _EFFICIENCY), least) for one in flops))


def device_tflops(name: str) -> float | None:
    """Of the card whose name is part of `name`; the longest such name counts."""
    known = [key for key in DEVICE_TFLOPS if key.casefold() in name.casefold()]
    return DEVICE_TFLOPS[max(known, key=len)] if known else None


def described(found: Estimate, config: TuningConfig) -> str:
    """For people."""
    gib = 2**30
    lines = [
        f"{found.weights / gib:8.2f} GiB  base, {config.base.quantization}, {config.base.dtype}",
        f"{found.trained / gib:8.2f} GiB  {found.parameters / 1e6:.1f}M trained weights in "
        f"float32, gradients, {config.optimizer.name}",
        f"{found.activations / gib:8.2f} GiB  activations of {found.tokens} tokens",
        f"{found.peak / gib:8.2f} GiB  at the peak",
    ]
    if found.steps is not None:
        time = "" if found.seconds is None else f", about {_duration(found.seconds)}"
        lines.append(f"{found.steps:8d}      steps{time}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 3600:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} hours"


def lengths_of(config: TuningConfig, base: Base, *, dpo: bool) -> list[int]:
    """Tokens that are computed for each row or pair; empty where the rows are not at hand."""
    from edgecritic_train.tuning import sft
    from edgecritic_train.tuning.pairs import prepare_pairs

    if absent := [path for path in config.data.train if not path.is_file()]:
        sft.told(f"{absent[0]} is not there: rows as long as data.max_tokens are counted")
        return []
    if not dpo:
        return list(sft.stage_of(config).prepare(config, base, sft.told).lengths)
    found = prepare_pairs(config, base, sft.told)
    shared = config.dpo.form == "shared_prefix"
    return [found.maker.computed(row, shared=shared) for row in found.train]


def described_probe(found: Probe, cap: float | None, batches: int | None) -> str:
    """For people; with the batches of the run, what they would take, were all as long."""
    room = "the machine" if cap is None else f"{cap:g} GiB"
    if not found.fits:
        return f"   does not fit {room} ({found.device})"
    gib = 2**30
    held = f", {found.reserved / gib:.2f} GiB held by torch" if found.reserved else ""
    whole = (
        ""
        if batches is None
        else f"; {_duration(batches * found.seconds)} for all, were they as long"
    )
    return (
        f"{found.peak / gib:8.2f} GiB  measured at the peak{held} ({found.device})\n"
        f"{found.tokens / found.seconds:8.0f}      tokens/s, {found.seconds:.2f} s a batch of "
        f"{found.tokens} tokens{whole}"
    )


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog="edgecritic train estimate",
        description="Predicts memory and time of a run; fetches no weights unless it may probe.",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments"
    )
    parser.add_argument("--dpo", action="store_true", help="of train dpo; of train sft if left out")
    parser.add_argument(
        "--device", default="", help=f"for the time, one of {', '.join(DEVICE_TFLOPS)}"
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="also run a few steps with the longest rows, in a process of its own",
    )
    parser.add_argument(
        "--cap", type=float, metavar="GIB", help="of the GPU's memory that the probe may use"
    )
    parser.add_argument("--json", action="store_true", help="bytes and seconds, as JSON")
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.device and device_tflops(options.device) is None:
        raise InputError(
            f"--device is {shown(options.device)}", f"name one of {', '.join(DEVICE_TFLOPS)}"
        )
    if options.cap is not None and not 0 < options.cap < math.inf:
        raise InputError(f"--cap is {options.cap:g} GiB", "give a number above 0")
    if options.cap is not None and not options.probe:
        raise InputError("--cap limits a probe, and none is asked for", "add --probe")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, 1 where a probe does not fit."""
    from edgecritic_train.tuning.adapters import check_start

    options = build_parser().parse_args(argv)
    _check(options)
    config = read_config(options.config, options.assignments)
    base = open_base(config, weights=False)
    check_start(config, base)
    lengths = lengths_of(config, base, dpo=options.dpo)
    found = estimate(config, base, lengths, device_tflops(options.device), dpo=options.dpo)
    probed = None
    if options.probe:
        probed = probe(options.config, options.assignments, dpo=options.dpo, cap=options.cap)
    if options.json:
        record = {**asdict(found), "peak": found.peak}
        text = json.dumps(record if probed is None else {**record, "probe": asdict(probed)})
    else:
        text = described(found, config)
        batches = None if found.steps is None else found.steps * config.optimizer.accumulation
        text += "" if probed is None else f"\n{described_probe(probed, options.cap, batches)}"
    sys.stdout.write(f"{text}\n")
    return 1 if probed is not None and not probed.fits else 0


if __name__ == "__main__":
    sys.exit(main())
