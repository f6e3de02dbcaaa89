"""One critic in several engines: do they name the same winners, and how far are log-probs apart?

A lead of one response over the other that is smaller than the engines' own differences is a tie
in all but name, so winners are compared outside of a tie band: rows where the reference's lead,
with both orders reconciled, is at least that many nats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from edgecritic import Critic, InputError
from edgecritic_bench.items import read_items
from edgecritic_bench.judge import Plan, judge_sets
from edgecritic_bench.parity import Parity, compare
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.records import PairwiseRecord, Record, read_records
from edgecritic_bench.tables import FIRST, SECOND, pair_table, reconciled

_PACKAGES = {
    "llamacpp": ("llama-cpp-python",),
    "onnx": ("onnxruntime", "tokenizers"),
    "hf": ("torch", "transformers"),
}
TIE_BAND = 0.05
"""Nats: what `edgecritic_bench.parity` calls a notable difference."""


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What to judge.

    Attributes:
        evaluation_set: folder with ``items.jsonl``.
        out: folder for the records; a run that was interrupted goes on with them.
        rows: pairs to judge, each in both orders; whole items are judged, so there may be more.
        threads: of computation; the physical cores when None.
        tie_band: nats.
    """

    evaluation_set: Path
    out: Path
    rows: int = 400
    threads: int | None = None
    tie_band: float = TIE_BAND


@dataclass(frozen=True, slots=True)
class Agreement:
    """One engine against the reference.

    Attributes:
        rows: pairs that both could read.
        decided: those of them outside of the tie band.
        agreeing: those of `decided` with the same winner.
        parity: differences of log-probs, and the rest.
    """

    rows: int
    decided: int
    agreeing: int
    parity: Parity

    @property
    def share(self) -> float:
        """Of agreeing pairs among the decided ones; nan without any."""
        return self.agreeing / self.decided if self.decided else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**asdict(self), "share": self.share}


def compare_engines(
    bundles: Mapping[str, Path], plan: EnginePlan, tell: Callable[[str], object] = lambda line: None
) -> dict[str, Agreement]:
    """Judge the same pairs in several engines.

    Args:
        bundles: for each engine the folder of the critic in its format; the first engine is the
            reference.
        plan: what to judge.
        tell: is given a line about every engine.

    Returns:
        For each engine but the first how it agrees with that.

    Raises:
        InputError: fewer than two engines, or the evaluation set cannot be read.
        CriticError: a bundle cannot be loaded.
    """
    if len(bundles) < 2:
        raise InputError("one engine alone has nothing to agree with", "name at least two")
    records = {}
    for name, folder in bundles.items():
        records[name] = _judge(name, folder, plan)
        tell(f"{name}: {len(records[name])} pairs judged")
    reference, *others = records
    return {name: agreement(records[reference], records[name], plan.tie_band) for name in others}


def agreement(reference: list[Record], other: list[Record], tie_band: float) -> Agreement:
    """Compare two engines' records.

    Args:
        reference: of the same pairs as `other`, in any order.
        other: of the engine that is looked at.
        tie_band: nats.
    """
    expected, found = _leads(reference), _leads(other)
    both = [key for key in expected if key in found]
    ours = np.array([expected[key] for key in both])
    theirs = np.array([found[key] for key in both])
    decided = np.abs(ours) >= tie_band
    agreeing = decided & (np.sign(ours) == np.sign(theirs))
    return Agreement(len(both), int(decided.sum()), int(agreeing.sum()), compare(reference, other))


def _leads(records: list[Record]) -> dict[tuple[object, ...], float]:
    """Of each readable pair the lead of first over second in nats, both orders reconciled."""
    pairs = [r for r in records if isinstance(r, PairwiseRecord) and r.readable]
    log_probs = reconciled(pair_table(pairs))
    leads = (log_probs[:, FIRST] - log_probs[:, SECOND]).tolist()
    return {pair.key: lead for pair, lead in zip(pairs, leads, strict=True)}


def _judge(name: str, folder: Path, plan: EnginePlan) -> list[Record]:
    out = plan.out / f"{name}.jsonl"
    judging = Plan(settings=("pairwise",), conditions=("right",), limit=_items(plan), shared=True)
    run = Provenance.here(["engines", name], ("edgecritic", "numpy", *_PACKAGES.get(name, ())))
    with Critic.load(folder, backend=name, device="cpu", threads=plan.threads) as critic:
        for _ in judge_sets(critic, [plan.evaluation_set], judging, out, run):
            pass
    return list(read_records([out]))


def _items(plan: EnginePlan) -> int:
    """Items that hold as many pairs as are wanted."""
    pairs = accumulate(len(item.pairs) for item in read_items(plan.evaluation_set))
    reached = next((n for n, total in enumerate(pairs, 1) if total >= plan.rows), None)
    if reached is None:
        raise InputError(
            f"{plan.evaluation_set} has fewer than {plan.rows} pairs", "ask for fewer rows"
        )
    return reached


def summary(found: Mapping[str, Agreement], plan: EnginePlan) -> str:
    """A Markdown table, one row for each engine."""
    lines = [
        f"| engine | pairs | outside {plan.tie_band:g} nats | same winner | "
        "log-probs: mean | p99 | max, nats |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, agreed in found.items():
        differences = agreed.parity.pairwise
        numbers = (
            "| | | |"
            if differences is None
            else f"| {differences.mean:.2g} | {differences.p99:.2g} | {differences.max:.2g} |"
        )
        lines.append(
            f"| {name} | {agreed.rows} | {agreed.decided} | {agreed.agreeing} "
            f"({agreed.share:.2%}) {numbers}"
        )
    return "\n".join(lines) + "\n"


def to_json(found: Mapping[str, Agreement], plan: EnginePlan) -> str:
    """All numbers."""
    numbers = {name: agreed.to_dict() for name, agreed in found.items()}
    return json.dumps({"tie_band": plan.tie_band, "engines": numbers}, indent=2) + "\n"
