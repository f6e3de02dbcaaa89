"""The embedded critic's evaluation sets as rows, so that any judge can be scored on them.

``edgecritic bench judge`` and ``report`` say more about our own critics on these sets: log
probabilities, blank pictures and twins' pictures. Here they are one benchmark among others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgecritic import Rubric
from edgecritic_bench.items import ITEMS, EvaluationItem, read_items
from edgecritic_bench.protocols.rows import AnyRow, PairRow, ScoreRow
from edgecritic_bench.records import N_LEVELS

NAME = "embedded-splits"
_SIDES = "ab"


def load(path: Path) -> tuple[AnyRow, ...]:
    """Pairs and scores of an evaluation set, or of all sets in a folder.

    Raises:
        InputError: there is no evaluation set.
    """
    folders = (
        [path] if (path / ITEMS).is_file() else sorted(f.parent for f in path.glob(f"*/{ITEMS}"))
    )
    rows: list[AnyRow] = []
    for folder in folders or [path]:
        for item in read_items(folder):
            rows.extend(_pairs(item))
            rows.extend(_scores(item))
    return tuple(rows)


def _pairs(item: EvaluationItem) -> Iterator[PairRow]:
    for pair in item.pairs:
        yield PairRow(
            key=f"{item.name}/{_SIDES[pair.side]}/{pair.first}-{pair.second}",
            question=item.question,
            images=(item.images[pair.side],),
            category=item.kind,
            item=item.name,
            responses=(item.responses[pair.first].text, item.responses[pair.second].text),
            gold=pair.winner,
        )


def _scores(item: EvaluationItem) -> Iterator[ScoreRow]:
    for side, letter in enumerate(_SIDES):
        for number, response in enumerate(item.responses):
            yield ScoreRow(
                key=f"{item.name}/{letter}/{number}",
                question=item.question,
                images=(item.images[side],),
                category=item.kind,
                # The families take the part of models: they wrote the responses.
                models=(response.families[side],),
                item=item.name,
                response=response.text,
                gold=float(response.scores[side]),
                rubric=Rubric(1, N_LEVELS),
            )
