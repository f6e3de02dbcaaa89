"""The settings of a fine-tuning run, as its YAML file states them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from edgecritic.errors import InputError, shown
from edgecritic.prompts import DEFAULT_DIALECT, dialect_names
from edgecritic_train.tuning.settings import assigned, layered, read_settings, read_yaml

Quantization: TypeAlias = Literal["none", "nf4"]
Tower: TypeAlias = Literal["off", "lora", "full"]
Learned: TypeAlias = Literal["verdicts", "answers"]
TooLong: TypeAlias = Literal["refuse", "drop"]
Optimizer: TypeAlias = Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"]
Schedule: TypeAlias = Literal["cosine", "linear", "constant_with_warmup"]
DpoForm: TypeAlias = Literal["shared_prefix", "two_rows"]

PROJECTIONS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Qwen2 or Llama block."""


def _check(right: bool, name: str, value: object, hint: str) -> None:
    if not right:
        raise InputError(f"{name} is {shown(value)}", hint)


def _check_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _check(value is None or 0 < value < math.inf, name, value, "give a number above 0")


def _check_share(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        _check(0 <= value < 1, name, value, "give a number from 0 to below 1")


@dataclass(frozen=True, slots=True)
class BaseSettings:
    """The model that is tuned.

    Attributes:
        model: folder in transformers' layout, or owner/name on the hub.
        revision: branch, tag or commit on the hub.
        quantization: ``nf4`` keeps the language model's linear layers in four bits (QLoRA).
        dtype: of everything else that is frozen, and of the computation.
        attention: transformers' name of the attention's implementation.
    """

    model: str
    revision: str | None = None
    quantization: Quantization = "nf4"
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """What is trained.

    Attributes:
        rank: of the updates.
        alpha: their scale is alpha / rank, with `rslora` alpha / sqrt(rank).
        dropout: in front of A, in [0, 1).
        dora: train the rows' lengths apart from their directions (arXiv:2402.09353).
        rslora: rank-stabilised scale (arXiv:2312.03732).
        targets: linear layers of the language model's blocks.
        projector: train the projector, whole.
        vision_tower: leave it alone, adapt it, or train it whole.
        start: folder of an adapter to go on from, in place of a new one.
    """

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    dora: bool = False
    rslora: bool = False
    targets: tuple[str, ...] = PROJECTIONS
    projector: bool = False
    vision_tower: Tower = "off"
    start: Path | None = None

    def __post_init__(self) -> None:
        _check_positive(self, "rank", "alpha")
        _check_share(self, "dropout")
        for target in self.targets:
            _check(target in PROJECTIONS, "targets", target, f"use {', '.join(PROJECTIONS)}")
        _check(bool(self.targets), "targets", self.targets, "name at least one layer")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What is learned from.

    Attributes:
        train: rows files; their rows of the split ``train`` are used.
        validation: rows files whose rows of the split ``validation`` are held out; those of
            `train` when left out.
        learn: ``verdicts`` makes a critic; ``answers`` a policy, which learns to give the
            responses at the top of their scale. `edgecritic train dpo` ignores it.
        answers: rows files whose responses at the top of their scale a critic learns to give as
            well, behind the opening of its own prompt, so that it learns to see and not to judge
            alone; their rows of the split ``train`` are used. `edgecritic train dpo` ignores it.
        dialect: of the prompts.
        max_tokens: longest sequence, image tokens included.
        too_long: refuse a file with longer rows, or drop those rows.
        share: rows of the same pictures stand behind one prefix, in one sequence of at most
            `max_tokens`, so the pictures are computed once; a batch then counts sequences. `sft`
            alone heeds it.
        workers: processes that prepare batches.
    """

    train: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    learn: Learned = "verdicts"
    answers: tuple[Path, ...] = ()
    dialect: str = DEFAULT_DIALECT
    max_tokens: int = 8192
    too_long: TooLong = "refuse"
    share: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        _check(bool(self.train), "train", self.train, "name a rows file")
        _check_positive(self, "max_tokens")
        _check(self.workers >= 0, "workers", self.workers, "give 0 or more")
        known = dialect_names()
        _check(self.dialect in known, "dialect", self.dialect, f"use one of {', '.join(known)}")


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How large pictures may become.

    Attributes:
        max_tokens: of one picture: larger canvases (LLaVA-OneVision) or resolutions
            (Qwen2.5-VL) are not used; None for the base's own limit.
    """

    max_tokens: int | None = None

    def __post_init__(self) -> None:
        _check_positive(self, "max_tokens")


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Weight of a token in the loss, by its part of the answer.

    Attributes:
        verdict: the tokens that tell the verdict from all others.
        form: the words around it, the same in every answer.
        reason: the rationale and the end of the turn.
        answer: all tokens of an answer to the question itself (`DataSettings.answers`).
    """

    verdict: float = 1.0
    form: float = 1.0
    reason: float = 1.0
    answer: float = 1.0

    def __post_init__(self) -> None:
        for name in ("verdict", "form", "reason", "answer"):
            value = getattr(self, name)
            _check(0 <= value < math.inf, name, value, "give 0 or a number above it")
        _check(self.verdict + self.reason > 0, "verdict", self.verdict, "one weight must count")


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How it is trained.

    Attributes:
        name: 8-bit and paged ones are bitsandbytes' and need a GPU.
        learning_rate: at its highest.
        projector_learning_rate: of a projector that is trained; None for the same.
        vision_learning_rate: of what is trained of the vision tower; None for the same.
        schedule: from there to the end.
        warmup: share of the steps, in [0, 1).
        weight_decay: of matrices.
        max_grad_norm: gradients are clipped to it.
        batch: rows on one device at once.
        accumulation: batches of one step on one device.
        epochs: passes over the rows.
        max_steps: stop there; None for the end of the last pass.
        gradient_checkpointing: compute activations twice in place of keeping them.
        deterministic: choose kernels that give the same numbers again.
        compile: let torch compile the blocks of decoder and tower, which fuses small kernels.
    """

    name: Optimizer = "adamw"
    learning_rate: float = 1e-4
    projector_learning_rate: float | None = None
    vision_learning_rate: float | None = None
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    batch: int = 1
    accumulation: int = 32
    epochs: float = 1.0
    max_steps: int | None = None
    gradient_checkpointing: bool = True
    deterministic: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "learning_rate", "max_grad_norm", "batch", "accumulation", "epochs")
        _check_positive(self, "max_steps", "projector_learning_rate", "vision_learning_rate")
        _check_share(self, "warmup")
        _check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "give 0 or more")


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """Judging of held-out rows while it trains.

    Attributes:
        every: steps between evaluations; one more comes at the end.
        rows: held-out rows that are judged, drawn by their ids; None for all.
        patience: stop after so many evaluations without a better agreement; None for never.
    """

    every: int = 100
    rows: int | None = 400
    patience: int | None = None

    def __post_init__(self) -> None:
        _check_positive(self, "every", "rows", "patience")


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """What a run that was killed goes on from.

    Attributes:
        every: steps between checkpoints; one more comes at the end.
        keep: how many of the newest stay.
        log_every: steps between two lines of the log.
    """

    every: int = 100
    keep: int = 2
    log_every: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, "every", "keep", "log_every")


@dataclass(frozen=True, slots=True)
class DpoSettings:
    """Preference learning; `edgecritic train sft` ignores it.

    Attributes:
        beta: how strongly the policy is held to the reference.
        form: ``shared_prefix`` computes prompt and picture once for both responses.
    """

    beta: float = 0.1
    form: DpoForm = "shared_prefix"

    def __post_init__(self) -> None:
        _check_positive(self, "beta")


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """A run.

    Attributes:
        base: the model.
        data: the rows.
        output: folder of the run; a run that stands there is gone on with.
        seed: of everything random.
    """

    base: BaseSettings
    data: DataSettings
    output: Path
    seed: int = 0
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    dpo: DpoSettings = field(default_factory=DpoSettings)

    def __post_init__(self) -> None:
        _check(0 <= self.seed < 2**32, "seed", self.seed, "give 0 to 4294967295")


def preset_names() -> list[str]:
    """Names of the presets that ship with edgecritic."""
    folder = files("edgecritic_train.tuning") / "presets"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir())


def read_config(path: Path, assignments: Sequence[str] = ()) -> TuningConfig:
    """A run's settings: the preset that the file names, below the file, below the assignments.

    Relative paths begin at the current folder.

    Args:
        path: a YAML file.
        assignments: ``section.key=value``.

    Raises:
        InputError: the file, or a setting, is not as it must be; the message names the key.
    """
    return read_settings(TuningConfig, layered_config(path, assignments), str(path))


def layered_config(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping that a file, its preset and assignments make; nothing in it is checked yet.

    Raises:
        InputError: the file is no mapping, or there is no such preset.
    """
    own = layered(read_yaml(path), assigned(assignments))
    preset = own.pop("preset", None)
    return own if preset is None else layered(_preset(preset, path), own)


def _preset(name: object, path: Path) -> dict[str, Any]:
    if name not in preset_names():
        raise InputError(
            f"{path}: preset is {shown(name)}", f"use one of {', '.join(preset_names())}"
        )
    folder = files("edgecritic_train.tuning") / "presets"
    return read_yaml(Path(str(folder / f"{name}.yaml")))
