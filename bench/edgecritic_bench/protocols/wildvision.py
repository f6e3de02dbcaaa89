"""WildVision: people's votes between chat models, and a bench against one reference model.

Source: arXiv:2406.11069; ``show_results.py`` of WildVision-Bench, ``wild_vision_bench/utils.py`` of
lmms-eval, ``wildvision.py`` of VLMEvalKit, as of 2026-08.

Battles have no published scorer for judges; the numbers are those of the LLaVA-Critic article:
accuracy with and without ties, and Kendall's tau of the models' Elo rankings. The bench has three,
which make different things of a judgement without one clear label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgecritic import InputError
from edgecritic_bench.protocols.files import Object, keyed_rows, picture, text
from edgecritic_bench.protocols.pairs import given_only, pair_score, reconciled
from edgecritic_bench.protocols.reading import five_level
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.rows import PairRow
from edgecritic_bench.protocols.scores import (
    Hit,
    Protocol,
    Score,
    by_row,
    clusters,
    refuse_protocol,
)
from edgecritic_bench.records import Winner
from edgecritic_bench.statistics.elo import Battle, Outcome, ratings, win_probability
from edgecritic_bench.statistics.intervals import Estimate, mean
from edgecritic_bench.statistics.models import tau_b
from edgecritic_bench.tables import Floats

BATTLES = "wildvision-battles"
BENCH = "wildvision-bench"
BATTLES_KNOWN: tuple[Protocol, ...] = ("official", "both-orders")
BENCH_KNOWN: tuple[Protocol, ...] = ("official", "lmms-eval", "vlmevalkit")
REFERENCE = "claude-3-sonnet-20240229"
_WINNERS: Mapping[str, Winner] = {
    "model_a": "first",
    "model_b": "second",
    "tie": "tie",
    "tie (bothbad)": "tie",
    "bothbad": "tie",
}
_OUTCOMES: Mapping[Winner, Outcome] = {"first": "model_a", "second": "model_b", "tie": "tie"}
_FILES = ("*.parquet", "*/*.parquet", "*.jsonl")
_LEVELS = {"A>>B": -2, "A>B": -1, "A=B": 0, "B>A": 1, "B>>A": 2}
_LMMS_EVAL_ORDER = ("A>B", "A>>B", "A=B", "B>A", "B>>A")
"""In which lmms-eval looks for a label in whatever text is left."""
_STRONG_WEIGHT = 3.0
_NAN = float("nan")


def load_battles(path: Path) -> tuple[PairRow, ...]:
    """Battles of one turn, with their vote.

    Longer conversations are left out: a critic judges one question and its answers.

    Raises:
        InputError: the file is missing or another.
    """
    return keyed_rows(path, _FILES, _name, _battle, _one_turn)


def _name(row: Object) -> str:
    return str(row["question_id"])


def _one_turn(row: Object) -> bool:
    return bool(sum(message["role"] == "user" for message in row["conversation_a"]) == 1)


def _battle(key: str, row: Object, folder: Path) -> PairRow:
    if row["winner"] not in _WINNERS:
        raise ValueError(f"winner is {row['winner']!r}, not one of {', '.join(_WINNERS)}")
    image = row.get("image")
    return PairRow(
        key=key,
        question=_said(row["conversation_a"], "user"),
        images=() if image is None else (picture(image, folder, ("", "images")),),
        category=str(row.get("language") or ""),
        models=(text(row, "model_a"), text(row, "model_b")),
        item=key,
        responses=(
            _said(row["conversation_a"], "assistant"),
            _said(row["conversation_b"], "assistant"),
        ),
        gold=_WINNERS[row["winner"]],
    )


def _said(conversation: Sequence[Object], role: str) -> str:
    return next(text(message, "content") for message in conversation if message["role"] == role)


def score_battles(
    rows: Sequence[PairRow],
    replies: Sequence[Reply],
    protocol: Protocol = "official",
    *,
    partial: bool = False,
) -> Score:
    """Agreement with people's votes.

    Args:
        rows: of `load_battles`.
        replies: of the judge.
        protocol: ``official`` takes the given order, ``both-orders`` reconciles.
        partial: leave out rows without a reply.

    Raises:
        InputError: no such protocol, or rows without a reply.
    """
    if protocol not in BATTLES_KNOWN:
        raise refuse_protocol(BATTLES, protocol, BATTLES_KNOWN)
    judged = by_row(rows, replies, partial)
    order = "both orders reconciled" if protocol == "both-orders" else "given order"
    rules = f"{order}; unread rows are wrong, and left out of the Elo ranking"
    found = pair_score(judged, protocol, rules, "accuracy with ties")
    read = reconciled if protocol == "both-orders" else given_only
    tau = _elo_tau([(row, read(given)) for row, given in judged])
    metrics = {**found.metrics, "Kendall tau of Elo": tau}
    return Score(protocol, rules, found.headline, metrics, found.rows, found.unread, found.hits)


def _elo_tau(judged: Sequence[tuple[PairRow, Winner | None]]) -> Estimate:
    """Tau-b of the models' ratings by votes and by verdicts; NaN where either has none."""
    known = [(row, said) for row, said in judged if said is not None]
    try:
        voted = ratings([_fought(row, row.gold) for row, _ in known])
        rated = ratings([_fought(row, said) for row, said in known])
    except InputError:
        # Too few battles to link all models: there is no ranking to compare.
        return Estimate(_NAN, _NAN, _NAN, 0, 0)
    names = sorted(voted)
    value = tau_b(np.array([voted[n] for n in names]), np.array([rated[n] for n in names]))
    return Estimate(value, _NAN, _NAN, len(known), len(names))


def _fought(row: PairRow, winner: Winner) -> Battle:
    return Battle(row.models[0], row.models[1], _OUTCOMES[winner])


def score_bench(
    labels: Sequence[tuple[str, Sequence[str | None]]],
    protocol: Protocol = "official",
) -> Score:
    """Score one model by judgements of it against the reference, which is shown first.

    Args:
        labels: each question's id with what its one or two games were judged, as text: for the
            second game the model is shown first. A label such as ``A>>B``, a whole judgement that
            states one, or None where the judge said nothing.
        protocol: whose rules. Both kits look at the first game alone.

    Raises:
        InputError: no such protocol, or nothing to score.
    """
    if protocol not in BENCH_KNOWN:
        raise refuse_protocol(BENCH, protocol, BENCH_KNOWN)
    if not labels:
        raise InputError("there are no judgements of the model", "judge it first")
    if protocol == "official":
        return _official_bench(labels)
    read = _lmms_eval_level if protocol == "lmms-eval" else _clear_level
    levels = [read(games[0]) for _, games in labels]
    hits = tuple(
        Hit(key, key, level or 0.0) for (key, _), level in zip(labels, levels, strict=True)
    )
    items = clusters(hits)
    points: Floats = np.array([hit.value for hit in hits], dtype=np.float64)
    unread = levels.count(None)
    wins = mean(np.where(points > 0, 1.0, 0.0), items)
    if protocol == "vlmevalkit":
        metrics = {"Reward": mean(points * 50, items), "Win Rate": wins}
        rules = f"first game; {unread} judgements without one clear label are ties"
        return Score(protocol, rules, "Reward", metrics, len(labels), unread, hits)
    metrics = {
        "raw_scores": mean(points, items),
        "win_rates": mean(np.where(points > 0, 100.0, 0.0), items),
        "elo_scores": _elo_share([_weighted(level or 0, 1.0) for level in levels]),
    }
    rules = f"first game; unclear text is searched for a label, and {unread} without any are ties"
    return Score(protocol, rules, "raw_scores", metrics, len(labels), unread, hits)


def _official_bench(labels: Sequence[tuple[str, Sequence[str | None]]]) -> Score:
    hits, battles, unread = [], [], 0
    for key, games in labels:
        reward = 0.0
        for number, label in enumerate(games[:2]):
            level = _clear_level(label)
            unread += level is None
            if level is not None:
                # In the second game the model stands where the reference stood.
                level = -level if number else level
                reward += 50 * level
                weight = _STRONG_WEIGHT if abs(level) == 2 else 1.0
                battles.append(_weighted(level, weight))
        hits.append(Hit(key, key, reward))
    points: Floats = np.array([hit.value for hit in hits], dtype=np.float64)
    items = clusters(hits)
    metrics = {
        "Reward": mean(points, items),
        "Win Rate": mean(np.where(points > 0, 1.0, 0.0), items),
        "Win or tie Rate": mean(np.where(points >= 0, 1.0, 0.0), items),
        "Score": _elo_share(battles),
    }
    rules = f"{unread} games without one clear label are ties, and left out of the Elo score"
    return Score("official", rules, "Reward", metrics, len(labels), unread, tuple(hits))


def _clear_level(label: str | None) -> int | None:
    if label is None:
        return None
    return _LEVELS.get(label if label in _LEVELS else five_level(label) or "")


def _lmms_eval_level(label: str | None) -> int | None:
    if label is None:
        return None
    stated = five_level(label) or label
    return next((_LEVELS[word] for word in _LMMS_EVAL_ORDER if word in stated), None)


def _weighted(level: int, weight: float) -> Battle:
    winner: Outcome = "tie" if level == 0 else "model_a" if level < 0 else "model_b"
    return Battle(REFERENCE, "model", winner, weight)


def _elo_share(battles: Sequence[Battle]) -> Estimate:
    """Chance in percent that the model beats the reference, by their ratings.

    With the two models of one leaderboard row, a rating by itself; the published leaderboard fits
    all models at once, and since each has met the reference only, the numbers are the same.
    """
    try:
        found = ratings(battles, anchor=REFERENCE)
    except InputError:
        # It always won, or always lost: the rating is infinite.
        return Estimate(_NAN, _NAN, _NAN, 0, 0)
    chance = 100 * win_probability(found["model"], found[REFERENCE])
    return Estimate(chance, _NAN, _NAN, len(battles), len(battles))
