"""What all arms judge: a sample of rows, and pairs of it with manipulated responses or pictures."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgecritic import InputError
from edgecritic_bench.items import ITEMS
from edgecritic_bench.protocols import rows_file, twin_sets
from edgecritic_bench.protocols.hub import PREFIX, locate
from edgecritic_bench.protocols.registry import BENCHMARKS, benchmark
from edgecritic_bench.protocols.rows import AnyRow, PairRow, ScoreRow
from edgecritic_bench.quantization.journal import row_digest
from edgecritic_bench.robustness.attacks import Attack, attacks, write_attacks
from edgecritic_bench.robustness.pictures import picture_attacks

ATTACKS = "attacks.jsonl"


@dataclass(frozen=True, slots=True)
class Sample:
    """What to judge.

    Attributes:
        data: ``BENCHMARK:PATH``, ``BENCHMARK:hub:``, or paths of rows files and evaluation sets.
        pairs: at most so many pairs.
        scores: at most so many scores.
        per_item: at most so many of each from one item, whose rows are not independent.
        attacks: manipulated responses of each family, and pictures of each kind; 0 for none.
        seed: of what is drawn.
    """

    data: tuple[str, ...]
    pairs: int = 2000
    scores: int = 2000
    per_item: int = 4
    attacks: int = 100
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Sample:
        """The inverse of `to_dict`."""
        return cls(**{**data, "data": tuple(data["data"])})


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one run.

    Attributes:
        sample: as the data has them.
        attacked: pairs and scores with manipulated responses or false pictures, each beside its
            clean self.
        sources: by key of a row of the sample the name of its data set.
    """

    sample: tuple[PairRow | ScoreRow, ...]
    attacked: tuple[PairRow | ScoreRow, ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[PairRow | ScoreRow, ...]:
        """Each content once."""
        return self.asked(attacked=True)

    def asked(self, *, attacked: bool) -> tuple[PairRow | ScoreRow, ...]:
        """What an arm is asked, each content once: with the manipulated rows or without."""
        rows = (*self.sample, *self.attacked) if attacked else self.sample
        found: dict[str, PairRow | ScoreRow] = {}
        for row in rows:
            # What is judged once has the name that the data gave it.
            found.setdefault(row_digest(row), row)
        return tuple(found.values())


def prepare_rows(wanted: Sample, work: Path) -> Rows:
    """`read_rows`, after the manipulated rows were made; for the one process that starts others.

    Raises:
        InputError: as for `read_rows`.
    """
    clean = read_rows(replace(wanted, attacks=0), work)
    made = _attacks(clean.sample, wanted, work)
    partial = work / f"{ATTACKS}.{os.getpid()}.part"
    write_attacks(partial, made)
    partial.replace(work / ATTACKS)
    return read_rows(wanted, work)


def read_rows(wanted: Sample, work: Path) -> Rows:
    """The rows of a run; the same for the same data and seed, whichever process asks.

    Args:
        wanted: what to judge.
        work: holds the manipulated rows, if any are wanted.

    Raises:
        InputError: data cannot be read, or gives no pair and no score.
    """
    named = [(row, _source(word)) for word in wanted.data for row in _rows_of(word)]
    rows = [row for row, _ in named]
    sources = {row.key: source for row, source in named}
    if len(sources) < len(rows):
        raise InputError("two data sets have rows of the same name", "judge them in runs apart")
    sample = tuple(sampled(rows, wanted))
    if not sample:
        raise InputError(
            f"{', '.join(wanted.data)}: there is no pair and no score to judge",
            "orders of several responses are scored by: edgecritic bench run, and bench score",
        )
    attacked = rows_file.load(work / ATTACKS) if wanted.attacks and _bases(sample, wanted) else ()
    return Rows(
        sample, tuple(row for row in attacked if isinstance(row, PairRow | ScoreRow)), sources
    )


def _source(word: str) -> str:
    """A data set's name for people: its file's or folder's, or the benchmark's."""
    name, _, rest = word.partition(":")
    if name in BENCHMARKS and rest.startswith(PREFIX):
        return name
    return Path(word).stem


def _rows_of(word: str) -> Sequence[AnyRow]:
    name, colon, rest = word.partition(":")
    if colon and name in BENCHMARKS:  # a folder may have a benchmark's name
        known = benchmark(name)
        return known.load(locate(rest, known.hub).path)
    if word.startswith(PREFIX):
        raise InputError(f"{word} does not say which benchmark it is", f"write BENCHMARK:{PREFIX}")
    path = locate(word, None).path
    twins = (path / ITEMS).is_file() or (path.is_dir() and any(path.glob(f"*/{ITEMS}")))
    return twin_sets.load(path) if twins else rows_file.load(path)


def sampled(rows: Sequence[AnyRow], wanted: Sample) -> Iterator[PairRow | ScoreRow]:
    """Rows of random items, few from each, those of one picture together.

    Pictures of an item are taken one after the other, so that most rows of an item share one:
    that saves time, and the rows of an item go together anyway.
    """
    items: dict[str, list[PairRow | ScoreRow]] = {}
    for row in rows:
        if isinstance(row, PairRow | ScoreRow):
            items.setdefault(row.item or row.key, []).append(row)
    rng = random.Random(f"rows {wanted.seed}")
    left = {PairRow: wanted.pairs, ScoreRow: wanted.scores}
    for item in rng.sample(sorted(items), len(items)):
        if not any(left.values()):
            break
        found = rng.sample(items[item], len(items[item]))
        pictures = list(dict.fromkeys(row.images for row in found))
        found.sort(key=lambda row: pictures.index(row.images))
        for kind in left:
            taken = [row for row in found if isinstance(row, kind)]
            taken = taken[: min(wanted.per_item, left[kind])]
            left[kind] -= len(taken)
            yield from taken


def _bases(sample: Sequence[PairRow | ScoreRow], wanted: Sample) -> list[PairRow]:
    """The pairs to manipulate: decided ones with a picture, each of another item."""
    decided: dict[str, PairRow] = {}
    for row in sample:
        if isinstance(row, PairRow) and row.gold != "tie" and row.images:
            decided.setdefault(row.item or row.key, row)
    # The same pairs for every family: their prompts begin alike, and families can be compared.
    return list(decided.values())[: wanted.attacks]


def _attacks(
    sample: Sequence[PairRow | ScoreRow], wanted: Sample, work: Path
) -> tuple[Attack, ...]:
    bases = _bases(sample, wanted)
    if not bases:
        return ()
    # A pair is attacked once in each way: few pairs are few attacks, and no error.
    made = attacks(bases, len(bases), wanted.seed)
    return (*made, *picture_attacks(bases, work, wanted.seed))
