"""The page on rankings with fewer judgements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from string import Template

from edgecritic import AdaptivePlan
from edgecritic_bench.markdown import table, template
from edgecritic_bench.provenance import Provenance
from edgecritic_bench.ranking.matrices import Judged
from edgecritic_bench.ranking.replay import Summary, replay
from edgecritic_bench.ranking.simulated import CRITICS, simulate

_HEADS = (
    "", "rankings", "judgements", "rounds", "agree", "its own confidence", "same order, ties too",
    "best is right", "pairs turned",
)  # fmt: skip
_PLANS = (
    AdaptivePlan(confidence=0.9),
    AdaptivePlan(),
    AdaptivePlan(confidence=0.99),
    AdaptivePlan(tie=0.5),
    AdaptivePlan(tie=2.0),
    AdaptivePlan(per_round=2),
    AdaptivePlan(confidence=0.98, per_round=2),
    AdaptivePlan(per_round=5),
)


def ranking_page(judged: Sequence[Judged], n_simulated: int, made: Provenance) -> str:
    """The page, in Markdown.

    Args:
        judged: by a real critic.
        n_simulated: questions for each made-up critic.
        made: this run.
    """
    groups: dict[str, list[Judged]] = defaultdict(list)
    for question in judged:
        groups[question.group].append(question)
    plan, k = AdaptivePlan(), len(judged[0].leads)
    real = [_row(name, groups[name], plan) for name in sorted(groups)]
    simulated = [
        _row(critic.name, list(simulate(critic, k, n_simulated)), plan) for critic in CRITICS
    ]
    return Template(template("ranking.md")).substitute(
        k=k,
        all=k * (k - 1),
        scale=2 * (k - 1),
        n=len(judged),
        confidence=f"{plan.confidence:.0%}",
        tie=f"{plan.tie:g}",
        real=table(_HEADS, [*real, _row("all", judged, plan)]),
        simulated=table(_HEADS, simulated),
        plans=table(_HEADS, [_row(_named(other), judged, other) for other in _PLANS]),
        n_simulated=n_simulated,
        machine=made.machine,
        system=made.system,
        versions=made.versions_text,
        date=made.date,
    )


def _named(plan: AdaptivePlan) -> str:
    per_round = plan.per_round or "a third of the responses"
    return f"confidence {plan.confidence:g}, tie {plan.tie:g}, {per_round} in a round"


def _row(name: str, judged: Sequence[Judged], plan: AdaptivePlan) -> tuple[str, ...]:
    found = Summary.of([replay(question, plan) for question in judged])
    low, high = found.agree_interval
    return (
        name,
        f"{found.n}",
        f"**{found.judgements:.1f}**",
        f"{found.rounds:.1f}",
        f"**{found.agree:.1%}** ({low:.1%} to {high:.1%})",
        f"{found.confidence:.1%}",
        f"{found.same_order:.1%}",
        f"{found.same_best:.1%}",
        f"{found.turned:.2%}",
    )
