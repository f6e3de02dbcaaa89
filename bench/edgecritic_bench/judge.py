"""Judges evaluation sets through the runtime's public API and appends records.

A run that was interrupted goes on where it stopped: what the file of records holds is not judged
again. Records of different critics cannot be mixed in one file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecritic import Bundle, Critic, ImageError, InputError, Preference, Rubric, Verdict
from edgecritic_bench.items import EvaluationItem, GoldPair, read_items
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import (
    CONDITIONS,
    N_LEVELS,
    SETTINGS,
    WINNERS,
    Condition,
    LogProbs,
    PairwiseRecord,
    Place,
    PointwiseRecord,
    Record,
    Setting,
    read_records,
    to_line,
)
from edgecritic_bench.tables import log_softmax

GREY = (128, 128, 128)
_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to judge.

    Attributes:
        settings: pointwise, pairwise or both.
        conditions: pictures to show.
        limit: items of each evaluation set; None for all.
        shared: judge all responses to a picture in one call of `Critic.rank`, which decodes what
            their prompts share once. About twice as fast; with quantized weights log-probs differ
            by some hundredths of a nat, because they depend on what else is in a batch.
    """

    settings: tuple[Setting, ...] = SETTINGS
    conditions: tuple[Condition, ...] = CONDITIONS
    limit: int | None = None
    shared: bool = False


def meta_path(records: Path) -> Path:
    """Where the run that made a file of records is described."""
    return records.with_name(records.name + ".meta.json")


def judge_sets(
    critic: Critic, folders: Sequence[Path], plan: Plan, out: Path, run: Provenance
) -> Iterator[Record]:
    """Judge evaluation sets; each record is on disk before it is yielded.

    Args:
        critic: judges.
        folders: evaluation sets.
        plan: what to judge.
        out: file of records, made or gone on with.
        run: this run, kept beside the records.

    Raises:
        InputError: a set cannot be read, or `out` holds judgements of another critic.
    """
    describe_run(critic, {"shared": plan.shared}, out, run)
    drop_torn_line(out)
    done = {record.key for record in read_records([out])} if out.exists() else set()
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8", newline="\n") as file:
        for folder in folders:
            for item in read_items(folder, plan.limit):
                for record in _judge_item(critic, item, plan, done):
                    file.write(to_line(record) + "\n")
                    file.flush()
                    yield record


def describe_run(critic: Critic, options: Mapping[str, object], out: Path, run: Provenance) -> None:
    """Note beside a file of judgements who makes them.

    Args:
        critic: judges.
        options: that change judgements.
        out: the file.
        run: this run.

    Raises:
        InputError: the file holds judgements that were made otherwise.
    """
    made_by = {
        "critic": critic.profile.name,
        "engine": f"{critic.info.engine} on {critic.info.device}",
        **options,
    }
    path = meta_path(out)
    if path.exists() and out.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if {name: before.get(name) for name in made_by} != made_by:
            raise InputError(
                f"{out} holds judgements by {before.get('critic')} ({before.get('engine')})",
                "name another file, or delete this one with its .meta.json",
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**made_by, **run.to_dict()}, indent=2) + "\n", encoding="utf-8")


def drop_torn_line(out: Path) -> None:
    """Cut off what an interrupted run left behind the last whole line."""
    if out.exists():
        data = out.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with out.open("rb+") as file:
                file.truncate(whole)


def _judge_item(
    critic: Critic, item: EvaluationItem, plan: Plan, done: set[tuple[object, ...]]
) -> Iterator[Record]:
    for side in (0, 1):
        for condition in plan.conditions:
            place = Place(item.name, item.kind, item.split, side, condition)
            picture = _Picture(critic, item, place, plan.shared)
            responses = [i for i in range(len(item.responses)) if (place, i) not in done]
            pairs = [
                pair
                for pair in item.pairs
                if pair.side == side and (place, pair.first, pair.second) not in done
            ]
            if "pointwise" in plan.settings and responses:
                yield from picture.scores(responses)
            if "pairwise" in plan.settings and pairs:
                yield from picture.preferences(pairs)


@dataclass(frozen=True, slots=True)
class _Order:
    """One order of presentation: log-probs of first, second, tie, or None, and their mass."""

    log_probs: LogProbs | None
    mass: float

    def relabelled(self) -> _Order:
        """The same verdict when first is called second."""
        if self.log_probs is None:
            return self
        first, second, tie = self.log_probs
        return _Order((second, first, tie), self.mass)


class _Picture:
    """Judgements of one picture.

    Args:
        critic: judges.
        item: what is asked.
        place: which picture.
        shared: see `Plan`.
    """

    def __init__(self, critic: Critic, item: EvaluationItem, place: Place, shared: bool) -> None:
        self.critic, self.item, self.place, self.shared = critic, item, place, shared
        self.calibration = critic.profile.calibration
        self.texts = [response.text for response in item.responses]
        self.picture = _opened(item.images[place.side])
        if place.condition == "blank":
            self.picture = Image.new("RGB", self.picture.size, GREY)

    def scores(self, responses: Sequence[int]) -> Iterator[PointwiseRecord]:
        """Records of some responses."""
        rubric = Rubric(1, N_LEVELS)
        question, picture = self.item.question, self.picture
        texts = [self.texts[index] for index in responses]
        if self.shared and len(texts) > 1:
            ranking = self.critic.rank(picture, question, texts, method="pointwise", rubric=rubric)
            verdicts = ranking.verdicts
        else:
            verdicts = tuple(
                self.critic.score(picture, question, text, rubric=rubric, rationale=False)
                for text in texts
            )
        for index, verdict in zip(responses, verdicts, strict=True):
            response = self.item.responses[index]
            yield PointwiseRecord(
                place=self.place,
                response=index,
                family=response.families[self.place.side],
                gold=response.scores[self.place.side],
                log_probs=self._levels(verdict),
                mass=verdict.mass,
            )

    def preferences(self, pairs: Sequence[GoldPair]) -> Iterator[PairwiseRecord]:
        """Records of some pairs, each in both orders."""
        found = self._ranked(pairs) if self.shared and len(pairs) > 1 else {}
        for pair in pairs:
            key = (pair.first, pair.second)
            given, swapped = found[key] if key in found else self._compared(pair)
            yield PairwiseRecord(
                place=self.place,
                first=pair.first,
                second=pair.second,
                winner=pair.winner,
                image_decided=pair.image_decided,
                orders=(given.log_probs, swapped.log_probs),
                mass=(given.mass, swapped.mass),
            )

    def _compared(self, pair: GoldPair) -> tuple[_Order, _Order]:
        first, second = self.texts[pair.first], self.texts[pair.second]
        return self._orders(
            self.critic.compare(self.picture, self.item.question, first, second, rationale=False)
        )

    def _ranked(self, pairs: Sequence[GoldPair]) -> dict[tuple[int, int], tuple[_Order, _Order]]:
        """The pairs in both orders, from one call."""
        wanted = [(pair.first, pair.second) for pair in pairs]
        compared = self.critic.compare_all(
            self.picture, self.item.question, self.texts, pairs=wanted
        )
        return {(i, j): self._orders(preference) for i, j, preference in compared}

    def _levels(self, verdict: Verdict) -> LogProbs | None:
        temperature = self.calibration.pointwise_temperature
        values = [verdict.probabilities.get(level) for level in range(1, N_LEVELS + 1)]
        return untempered(values, temperature)

    def _orders(self, preference: Preference) -> tuple[_Order, _Order]:
        given, swapped = orders_of(preference, self.calibration.pairwise_temperature)
        return _Order(*given), _Order(*swapped)


def orders_of(
    preference: Preference, temperature: float
) -> tuple[tuple[LogProbs | None, float], tuple[LogProbs | None, float]]:
    """Log-probs at temperature 1 and mass of both orders, in the labels of the given one.

    Args:
        preference: of the runtime.
        temperature: of the bundle that it was made with.

    Returns:
        Of the given and of the swapped order; None and 0 where one could not be read.
    """
    orders: dict[str, tuple[LogProbs | None, float]] = dict.fromkeys(
        ("first", "second"), (None, 0.0)
    )
    for order in preference.orders:
        values = [order.probabilities[winner] for winner in WINNERS]
        orders[order.shown_first] = untempered(values, temperature), order.mass
    return orders["first"], orders["second"]


def uncorrected(bundle: Bundle) -> Bundle:
    """The bundle without its corrections of scores: what is fitted or compared is the model."""
    calibration = replace(bundle.manifest.calibration, scores=None)
    return replace(bundle, manifest=replace(bundle.manifest, calibration=calibration))


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise ImageError(
            f"{path} is no picture: {error}", "write the evaluation set again"
        ) from error


def untempered(probabilities: Sequence[float | None], temperature: float) -> LogProbs | None:
    """Log-probs at temperature 1 from probabilities at a bundle's; None if one is missing."""
    known = [value for value in probabilities if value is not None]
    if len(known) < len(probabilities):
        return None
    logs = np.log(np.maximum(np.array(known, dtype=np.float64), _SMALLEST))
    return tuple(log_softmax(logs * temperature).tolist())


def read_meta(records: Path) -> dict[str, Any] | None:
    """What `judge_sets` noted beside a file of records; None where another engine wrote it."""
    path = meta_path(records)
    if not path.exists():
        return None
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data
