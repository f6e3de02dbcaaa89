"""What a round did, in numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecritic.verdict import Winner
from edgecritic_train.critic_data.rows import SWAPPED
from edgecritic_train.rounds.config import RoundsConfig
from edgecritic_train.rounds.entries import Choice, Comparison, Match, Ranked, Sample
from edgecritic_train.rounds.judges import is_right
from edgecritic_train.rounds.questions import Question
from edgecritic_train.rounds.rewards import flips, has_cycle, rewards
from edgecritic_train.rounds.selecting import FILTERS


def sample_facts(
    samples: Mapping[str, Sequence[Sample]], questions: Mapping[str, Question]
) -> dict[str, Any]:
    """Lengths of the answers, how many of them differ, and how many are right.

    ``right`` is the share among answers to questions with a reference; None where none has one.
    """
    flat = [sample for some in samples.values() for sample in some]
    different = [len({sample.text for sample in some}) for some in samples.values()]
    return {
        "questions": len(samples),
        "answers": len(flat),
        "ended": _mean([sample.ended for sample in flat]),
        "different_answers": _mean(different),
        "tokens": spread([sample.tokens for sample in flat]),
        "right": share_right([(sample.text, questions[sample.question]) for sample in flat]),
    }


def judge_facts(
    ranked: Sequence[Ranked], config: RoundsConfig, questions: Mapping[str, Question]
) -> dict[str, Any]:
    """How rewards are spread, how far the critic contradicts itself, and whether it is right.

    ``flip_rate`` is the share of pairs whose verdict changes with the order of presentation,
    ``longer_preferred`` the share of decided pairs of different length that the longer one wins,
    ``one_right`` what it says of pairs of which one answer is right and the other is not.
    """
    read = [entry for entry in ranked if entry.outcome == "ok" and entry.matches]
    matches = [(entry, match) for entry in read for match in entry.matches]
    verdicts = [verdict for _, match in matches for verdict in match.verdicts]
    decided = [
        (entry.tokens[m.i] > entry.tokens[m.j]) == (m.winner == "first")
        for entry, m in matches
        if m.winner != "tie" and entry.tokens[m.i] != entry.tokens[m.j]
    ]
    values: list[float] = []
    weights: list[int] = []
    for entry in read:
        values += rewards(entry, config.selection.reward)
        weights += entry.counts
    most = 2 * (config.sampling.responses - 1)
    # One bar for each whole number.
    edges = np.arange(-most, most + 2) - 0.5
    counts, _ = np.histogram(values, bins=edges, weights=weights)
    return {
        "ranked": len(read),
        "outcomes": dict(sorted(Counter(entry.outcome for entry in ranked).items())),
        "ordered_pairs": len(verdicts),
        "flip_rate": flips([m for _, m in matches]) / len(matches) if matches else None,
        "tie_share": _mean([verdict == "tie" for verdict in verdicts]),
        "cycle_share": _mean([has_cycle(entry) for entry in read]),
        "longer_preferred": _mean(decided),
        "one_right": one_right(matches, questions),
        "rewards": {
            "deviation": _deviation(values, weights),
            "histogram": [int(count) for count in counts],
            "edges": edges.tolist(),
        },
    }


def one_right(
    matches: Sequence[tuple[Ranked, Match]], questions: Mapping[str, Question]
) -> dict[str, float]:
    """Pairs with one right answer, and the shares where it wins and ties; empty without any."""
    found: list[Winner] = []
    for entry, match in matches:
        reference = questions[entry.question].reference
        if reference is not None:
            one, other = (is_right(entry.responses[k], reference) for k in (match.i, match.j))
            if one != other:
                found.append(match.winner if one else SWAPPED[match.winner])
    if not found:
        return {}
    n = len(found)
    return {"pairs": n, "preferred": found.count("first") / n, "tied": found.count("tie") / n}


def choice_facts(choices: Sequence[Choice], questions: Mapping[str, Question]) -> dict[str, Any]:
    """What the filters left, and what each took; right answers as in `sample_facts`."""
    kept = [choice for choice in choices if not choice.dropped]
    dropped = Counter(choice.dropped for choice in choices if choice.dropped)
    return {
        "pairs": len(kept),
        "dropped": {name: dropped[name] for name in FILTERS},
        "margin": spread([choice.margin for choice in kept]),
        "chosen_tokens": spread([choice.tokens[0] for choice in kept]),
        "rejected_tokens": spread([choice.tokens[1] for choice in kept]),
        "chosen_longer": _mean([choice.tokens[0] > choice.tokens[1] for choice in kept]),
        "chosen_right": share_right([(c.chosen, questions[c.question]) for c in kept]),
        "rejected_right": share_right([(c.rejected, questions[c.question]) for c in kept]),
    }


def training_facts(run: Path) -> dict[str, Any]:
    """First and last loss and margin of the round's training."""
    from edgecritic_train.tuning.logs import read_metrics

    lines = [line for line in read_metrics(run) if line["kind"] == "train"]
    if not lines:
        return {}
    keys = ("loss", "rewards/margins", "rewards/accuracies")
    shown = {key: [lines[0].get(key), lines[-1].get(key)] for key in keys}
    return {"steps": lines[-1]["step"], **shown}


def comparison_facts(
    comparisons: Sequence[Comparison],
    answers: Mapping[str, Sequence[Sample]],
    questions: Sequence[Question],
) -> dict[str, Any]:
    """The policy's answers to held-out questions, beside the first policy's.

    ``win_rate`` counts a tie as half a win; its interval is Wilson's, 95%.
    """
    read = [entry for entry in comparisons if entry.winner is not None]
    counts = Counter(entry.winner for entry in read)
    points = [{"first": 1.0, "tie": 0.5, "second": 0.0}[str(entry.winner)] for entry in read]
    facts: dict[str, Any] = {
        "judge": comparisons[0].judge if comparisons else "",
        "questions": len(comparisons),
        "wins": counts["first"],
        "ties": counts["tie"],
        "losses": counts["second"],
        "unread": len(comparisons) - len(read),
        "win_rate": _mean(points),
        "interval": _interval(points),
        "tokens": spread([answers[q.id][0].tokens for q in questions]),
    }
    right = share_right([(answers[q.id][0].text, q) for q in questions])
    return facts if right is None else {**facts, "right": right}


def share_right(answered: Sequence[tuple[str, Question]]) -> float | None:
    """Share of right answers among those to questions with a reference."""
    return _mean([is_right(text, q.reference) for text, q in answered if q.reference is not None])


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, 5th, 50th and 95th percentile; empty of nothing."""
    if not values:
        return {}
    low, middle, high = np.percentile(values, [5, 50, 95])
    return {
        "mean": float(np.mean(values)),
        "5%": float(low),
        "50%": float(middle),
        "95%": float(high),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _deviation(values: Sequence[float], weights: Sequence[int]) -> float | None:
    """Standard deviation of the rewards; their mean is 0 for every question."""
    if not values:
        return None
    return math.sqrt(float(np.average(np.square(values), weights=weights)))


def _interval(points: Sequence[float]) -> list[float] | None:
    """Wilson's interval; with ties as half a win it is too wide rather than too narrow."""
    n = len(points)
    if not n:
        return None
    mean, z2 = float(np.mean(points)), 1.96**2
    middle = (mean + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (mean * (1 - mean) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return [middle - half, middle + half]
