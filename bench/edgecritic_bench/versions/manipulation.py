"""How often manipulation wins with one version and with the other, on the same attacks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from edgecritic import InputError
from edgecritic_bench.protocols import rows_file
from edgecritic_bench.protocols.replies import Reply, read_replies
from edgecritic_bench.protocols.rows import PairRow, ScoreRow
from edgecritic_bench.quantization.arms import read_arms
from edgecritic_bench.quantization.columns import Settings
from edgecritic_bench.quantization.robust import attack_replies
from edgecritic_bench.quantization.worker import ArmFiles
from edgecritic_bench.robustness.attacks import CLEAN
from edgecritic_bench.robustness.outcome import Flip, Trials, Uplift, trials
from edgecritic_bench.statistics.intervals import NOTHING, of_sums, renumbered
from edgecritic_bench.tables import Floats
from edgecritic_bench.versions.change import Change

_Row: TypeAlias = PairRow | ScoreRow


@dataclass(frozen=True, slots=True)
class FamilyChange:
    """One family against both versions.

    Attributes:
        flips: win-flips among the pairs that a version gets right when they are clean.
        uplift: mean score of the manipulated response less that of the clean one, in levels.
        attacks: pairs attacked.
    """

    flips: Change
    uplift: Change
    attacks: int


@dataclass(frozen=True, slots=True)
class Manipulation:
    """All families.

    Attributes:
        families: by name; ``all`` holds those that manipulate.
        left_out: rows that one of the versions has not judged, or not their clean selves.
    """

    families: Mapping[str, FamilyChange]
    left_out: int


def compare_manipulation(attacks: Path, verdicts: tuple[str, str]) -> Manipulation:
    """Compare both versions on the same attacks.

    Args:
        attacks: rows file, of `bench manipulate` or of a run of `bench quantization`.
        verdicts: of the first and of the second version: a file of `bench run rows`, or
            ``FOLDER:ARM`` for an arm of such a run.

    Raises:
        InputError: a file cannot be read, a run has no such arm, or no attack was judged by both.
    """
    rows = [row for row in rows_file.load(attacks) if isinstance(row, PairRow | ScoreRow)]
    said = [_replies(word, rows) for word in verdicts]
    both = {reply.key for reply in said[0]} & {reply.key for reply in said[1]}
    kept = [row for row in rows if row.key in both and _clean(row.key) in both]
    if not kept:
        raise InputError(
            f"no row of {attacks} was judged by both versions", "judge the same attacks with both"
        )
    before, after = (trials(kept, replies) for replies in said)
    return Manipulation(
        {
            name: _change(before.of(families), after.of(families))
            for name, families in before.members.items()
        },
        len(rows) - len(kept),
    )


def _clean(key: str) -> str:
    base, _, setting = key.rsplit("|", 2) if key.count("|") > 1 else (key, "", "")
    return f"{base}|{CLEAN}|{setting}"


def _replies(word: str, rows: Sequence[_Row]) -> Sequence[Reply]:
    if Path(word).is_file():
        return read_replies(Path(word))
    folder, _, name = word.rpartition(":")
    if not folder or not (Path(folder) / "arms.json").is_file():
        raise InputError(
            f"{word!r} is neither a file of replies nor an arm of a run",
            "name what bench run rows wrote, or FOLDER:ARM of bench quantization",
        )
    arms = {arm.name: arm for arm in read_arms(Path(folder) / "arms.json")}
    if name not in arms:
        raise InputError(f"{folder} has no arm {name!r}", f"there are {', '.join(arms)}")
    files = ArmFiles.of(Path(folder), arms[name])
    meta = json.loads(files.meta.read_text(encoding="utf-8")) if files.meta.exists() else {}
    return attack_replies(rows, files.judged(), Settings.of(meta))[1]


def _change(before: Trials, after: Trials) -> FamilyChange:
    won = [[float(flip.won) for flip in found.flips] for found in (before, after)]
    gained = [[uplift.value for uplift in found.uplifts] for found in (before, after)]
    return FamilyChange(
        flips=_means(won, (before.flips, after.flips)),
        uplift=_means(gained, (before.uplifts, after.uplifts)),
        attacks=sum(before.attacked.values()),
    )


def _means(values: Sequence[Sequence[float]], where: tuple[Sequence[Flip | Uplift], ...]) -> Change:
    """Means of columns of different rows: each version has its own pairs that are right when clean.

    Items are resampled together, so what both versions owe to an item is not counted twice.
    """
    before, after = (float(np.mean(v)) if v else float("nan") for v in values)
    if not all(values):
        return Change(before, after, NOTHING)
    terms = np.zeros((sum(map(len, values)), 2, 2))
    terms[: len(values[0]), 0] = np.stack([values[0], np.ones(len(values[0]))], axis=1)
    terms[len(values[0]) :, 1] = np.stack([values[1], np.ones(len(values[1]))], axis=1)
    items = renumbered(np.array([one.item for rows in where for one in rows], dtype=np.str_))

    def statistic(sums: Floats) -> Floats:
        with np.errstate(invalid="ignore"):  # a resample without a row of one version
            means = sums[:, :, 0] / sums[:, :, 1]
        return np.asarray(means[:, 1] - means[:, 0], dtype=np.float64)

    return Change(before, after, of_sums(terms, statistic, items))
