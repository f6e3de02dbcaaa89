"""All ordered pairs of a question's responses as a critic judged them, to replay rankings on.

One line of JSON each: ``{"name": ..., "group": split, "leads": [[...]]}``, where ``leads[i][j]`` is
P(first wins) - P(second wins) with i shown first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecritic import Critic, InputError, Ranking
from edgecritic_bench.items import EvaluationItem, read_items
from edgecritic_bench.tables import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One question's responses, all ordered pairs judged.

    Attributes:
        name: of the item and its picture.
        group: split, or kind of simulated critic.
        leads: (K, K), in [-1, 1]; the diagonal is 0.
    """

    name: str
    group: str
    leads: Floats

    @property
    def rewards(self) -> Floats:
        """(K,) wins minus losses over all ordered pairs."""
        rewards: Floats = self.leads.sum(axis=1) - self.leads.sum(axis=0)
        return rewards


def collect(
    critic: Critic, sets: Sequence[Path], n_responses: int, limit: int | None, out: Path
) -> Iterator[str]:
    """Judge all ordered pairs of the first responses of every item; goes on where it stopped.

    Args:
        critic: judges.
        sets: folders of evaluation sets, taken in turns.
        n_responses: of each item; items that have fewer different ones are left out.
        limit: items of each set.
        out: JSONL.

    Yields:
        The name of each question that was judged.
    """
    done = {judged.name for judged in read(out)} if out.exists() else set()
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as lines:
        for item in _in_turns([list(read_items(folder, limit)) for folder in sets]):
            texts = list(dict.fromkeys(response.text for response in item.responses))[:n_responses]
            if len(texts) < n_responses:
                continue
            for side, picture in enumerate(item.images):
                name = f"{item.split}/{item.name}/{'AB'[side]}"
                if name in done:
                    continue
                ranking = critic.rank(picture, item.question, texts)
                if ranking.status != "ok":
                    continue
                line = {"name": name, "group": item.split, "leads": leads_of(ranking).tolist()}
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                yield name


def leads_of(ranking: Ranking) -> Floats:
    """(K, K) leads of a full pairwise ranking, by who was shown first."""
    k = len(ranking.rewards)
    leads = np.zeros((k, k))
    for i, j, preference in ranking.preferences:
        for order in preference.orders:
            lead = order.probabilities["first"] - order.probabilities["second"]
            if order.shown_first == "first":
                leads[i, j] = lead
            else:
                leads[j, i] = -lead
    return leads


def read(path: Path) -> list[Judged]:
    """What `collect` wrote.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [Judged(d["name"], d["group"], np.array(d["leads"], dtype=float)) for d in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds no judged rankings: {error}", "make it with: edgecritic bench ranking"
        ) from error


def _in_turns(sets: Sequence[Sequence[EvaluationItem]]) -> Iterator[EvaluationItem]:
    """One item of each set, then the next of each: an interrupted run has some of all."""
    for number in range(max(map(len, sets), default=0)):
        yield from (items[number] for items in sets if number < len(items))
