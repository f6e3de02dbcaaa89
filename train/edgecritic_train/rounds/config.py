"""The settings of preference rounds, as their YAML file states them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from edgecritic.backends.options import Device
from edgecritic.errors import InputError, shown
from edgecritic_train.tuning.config import (
    AdapterSettings,
    BaseSettings,
    CheckpointSettings,
    DataSettings,
    DpoSettings,
    EvaluationSettings,
    ImageSettings,
    OptimizerSettings,
    TuningConfig,
    layered_config,
)
from edgecritic_train.tuning.settings import read_settings

Reward: TypeAlias = Literal["wins", "probabilities"]

LEARNING_RATE: Final = 5e-6
"""Of adapters; the recipe's 5e-7 is for whole models, and adapters want about ten times as much."""


@dataclass(frozen=True, slots=True)
class QuestionSettings:
    """What the policy is asked.

    Attributes:
        tables: JSONL, CSV or Parquet with columns ``question``, ``image`` or ``images``, and, where
            there are any, ``id``, ``reference``, ``group``, ``split``, ``source``; rows files too.
        validation: share of the groups whose pairs choose a round's best adapter, in [0, 1).
        test: share that is never learned: on it the rounds are compared, in [0, 1).
        limit: take so many questions; None for all.
        max_tokens: of a pair with its prompt and pictures.
        workers: processes that prepare batches.
    """

    tables: tuple[Path, ...]
    validation: float = 0.0
    test: float = 0.1
    limit: int | None = None
    max_tokens: int = 8192
    workers: int = 2

    def __post_init__(self) -> None:
        _check(bool(self.tables), "tables", self.tables, "name a table of questions")
        fits = min(self.validation, self.test) >= 0 and self.validation + self.test < 1
        _check(fits, "test", self.test, "give shares from 0 up that leave something to learn")
        _check(self.limit is None or self.limit > 0, "limit", self.limit, "give 1 or more")
        _check(self.max_tokens > 0, "max_tokens", self.max_tokens, "give 1 or more")
        _check(self.workers >= 0, "workers", self.workers, "give 0 or more")


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How the policy answers.

    Attributes:
        responses: to each question, K in the recipe.
        temperature: above 0.
        top_p: mass of the most probable tokens that are drawn from, in (0, 1].
        max_tokens: of an answer; one that has not ended by then is left out.
        batch: questions that are answered together.
    """

    responses: int = 5
    temperature: float = 0.7
    top_p: float = 0.9
    max_tokens: int = 512
    batch: int = 1

    def __post_init__(self) -> None:
        _check(self.responses >= 2, "responses", self.responses, "give 2 or more")
        _check(self.temperature > 0, "temperature", self.temperature, "give a number above 0")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "give a number above 0, at most 1")
        _check(self.max_tokens > 0, "max_tokens", self.max_tokens, "give 1 or more")
        _check(self.batch > 0, "batch", self.batch, "give 1 or more")


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """A critic.

    Attributes:
        bundle: its folder, or the name it was pulled by; the embedded critic where neither this
            nor an endpoint is named.
        backend: engine of the bundle.
        device: of the engine.
        endpoint: address of an OpenAI-compatible API, in place of a bundle.
        model: its name there.
        truth: no critic: an answer that equals the question's reference, of a list in any order,
            beats one that does not.
        wording: number of the prompt's wording.
        parallel: questions that are put to it at once.
        allow_http: plain http to an endpoint on another machine.
        timeout: seconds that an endpoint may take for an answer.
    """

    bundle: Path | None = None
    backend: str = "auto"
    device: Device = "auto"
    endpoint: str | None = None
    model: str | None = None
    truth: bool = False
    wording: int = 0
    parallel: int = 4
    allow_http: bool = False
    timeout: float = 120.0

    def __post_init__(self) -> None:
        named = [self.bundle is not None, self.endpoint is not None, self.truth]
        _check(sum(named) <= 1, "truth", self.truth, "name a bundle, an endpoint or truth alone")
        both = (self.endpoint is None) == (self.model is None)
        _check(both, "model", self.model, "name endpoint and model together")
        _check(self.wording >= 0, "wording", self.wording, "give 0 or more")
        _check(self.parallel > 0, "parallel", self.parallel, "give 1 or more")
        _check(0 < self.timeout < math.inf, "timeout", self.timeout, "give a number above 0")


@dataclass(frozen=True, slots=True)
class SelectionSettings:
    """Which best and worst answers make a pair.

    Attributes:
        reward: ``wins`` counts each of the K(K-1) verdicts as 1, 0 or -1; ``probabilities`` counts
            how sure they are.
        margin: least difference of the rewards of best and worst.
        cycles: drop a pair whose worst answer beats its best one by way of others.
        length_ratio: drop a pair one of whose answers has more times the other's tokens.
        longer_share: at most this share of the pairs has the longer answer chosen, in (0.5, 1]; of
            those beyond, the pairs with the smallest margins are dropped.
    """

    reward: Reward = "wins"
    margin: float = 2.0
    cycles: bool = True
    length_ratio: float = 4.0
    longer_share: float = 0.65

    def __post_init__(self) -> None:
        _check(self.margin >= 0, "margin", self.margin, "give 0 or more")
        _check(self.length_ratio >= 1, "length_ratio", self.length_ratio, "give 1 or more")
        _check(0.5 < self.longer_share <= 1, "longer_share", self.longer_share, "0.5 to 1")


@dataclass(frozen=True, slots=True)
class RoundsConfig:
    """Preference rounds.

    Attributes:
        base: the policy, before any round.
        questions: what it is asked.
        output: folder; rounds that stand there are gone on with.
        rounds: M in the recipe.
        seed: of everything random.
        sampling: how it answers.
        judge: the critic whose preferences are learned.
        outside: a judge that is not learned from, for the comparison of the rounds; None for none.
        selection: filters.
        adapter: as for `edgecritic train dpo`, like all that follow.
    """

    base: BaseSettings
    questions: QuestionSettings
    output: Path
    rounds: int = 3
    seed: int = 0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    outside: JudgeSettings | None = None
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=LEARNING_RATE)
    )
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)
    dpo: DpoSettings = field(default_factory=DpoSettings)

    def __post_init__(self) -> None:
        _check(self.rounds > 0, "rounds", self.rounds, "give 1 or more")
        _check(0 <= self.seed < 2**32, "seed", self.seed, "give 0 to 4294967295")
        if self.outside == self.judge:
            raise InputError(
                "outside is the judge that is learned from",
                "name another critic, or `truth: true` where questions have references",
            )


def read_rounds(path: Path, assignments: Sequence[str] = ()) -> RoundsConfig:
    """The settings of a file, with its preset below and assignments above.

    Raises:
        InputError: the file, or a setting, is not as it must be; the message names the key.
    """
    data = layered_config(path, assignments)
    # What presets say of a critic's rows holds for the pairs.
    rows = data.pop("data", None) or {}
    if "max_tokens" in rows:
        questions = data.get("questions")
        if isinstance(questions, dict):
            questions.setdefault("max_tokens", rows["max_tokens"])
    optimizer = data.get("optimizer")
    if isinstance(optimizer, dict):
        optimizer.setdefault("learning_rate", LEARNING_RATE)
    return read_settings(RoundsConfig, data, str(path))


def policy_config(config: RoundsConfig, start: Path | None) -> TuningConfig:
    """The policy as the tuning code loads it.

    Args:
        config: of the rounds.
        start: its adapter; None for that of the settings, or none.
    """
    # No rows are read: where a policy only answers, they have no part.
    return _tuning(config, config.output, config.questions.tables, start, "edgecritic-v1")


def dpo_config(
    config: RoundsConfig, rows: Path, output: Path, start: Path | None, dialect: str
) -> TuningConfig:
    """A round's training: what `edgecritic train dpo` would be given."""
    return _tuning(config, output, (rows,), start, dialect)


def _tuning(
    config: RoundsConfig,
    output: Path,
    rows: tuple[Path, ...],
    start: Path | None,
    dialect: str,
) -> TuningConfig:
    data = DataSettings(
        train=rows,
        dialect=dialect,
        max_tokens=config.questions.max_tokens,
        too_long="drop",
        workers=config.questions.workers,
    )
    return TuningConfig(
        base=config.base,
        data=data,
        output=output,
        seed=config.seed,
        adapter=config.adapter if start is None else replace(config.adapter, start=start),
        images=config.images,
        optimizer=config.optimizer,
        evaluation=config.evaluation,
        checkpoints=config.checkpoints,
        dpo=config.dpo,
    )


def _check(right: bool, name: str, value: object, hint: str) -> None:
    if not right:
        raise InputError(f"{name} is {shown(value)}", hint)
