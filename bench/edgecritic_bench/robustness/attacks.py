"""Manipulated pairs: the worse response of a known pair, made to win by a family's means.

They are written as a rows file, so that any judge can be run on them. `id` says what a row is::

    T1-000004/a/0-1|clean|pair            the pair as it is
    T1-000004/a/0-1|clean|score           its worse response, scored
    T1-000004/a/0-1|authority-3|pair      the same with the worse response manipulated
    T1-000004/a/0-1|authority-3|score     the manipulated response, scored
"""

from __future__ import annotations

import json
import os
import random
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgecritic import InputError
from edgecritic_bench.protocols.rows import Image, PairRow
from edgecritic_bench.robustness.families import Family, families

CLEAN = "clean"
PAIR, SCORE = "pair", "score"
_TRIES = 50
"""Draws for a text that was not made before, for one pair."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One manipulated response.

    Attributes:
        base: the pair, of which gold prefers one response.
        family: how the other was manipulated.
        number: of the attack in its family.
        text: the manipulated response; the response as it is where the picture was changed.
        images: shown in place of the pair's own; None for those.
    """

    base: PairRow
    family: str
    number: int
    text: str
    images: tuple[Image, ...] | None = None

    @property
    def name(self) -> str:
        """Stands in ids of rows."""
        return f"{self.family}-{self.number}"

    @property
    def responses(self) -> tuple[str, str]:
        """The pair's responses, the worse one manipulated."""
        first, second = self.base.responses
        return (self.text, second) if self.base.gold == "second" else (first, self.text)

    @property
    def shown(self) -> tuple[Image, ...]:
        """What the judge sees."""
        return self.base.images if self.images is None else self.images


def attacks(
    pairs: Sequence[PairRow], per_family: int = 100, seed: int = 0, names: Sequence[str] = ()
) -> tuple[Attack, ...]:
    """So many attacks of each family, no two with the same text on the same pair.

    Args:
        pairs: ties among them are left out; each family goes through them in an order of its own.
        per_family: how many.
        seed: of the orders and of what goes into the templates.
        names: of families; all when left out.

    Raises:
        InputError: there are no decided pairs, no such family, or too few different texts.
    """
    decided = [pair for pair in pairs if pair.gold != "tie"]
    if not decided:
        raise InputError(
            "there is no pair that gold decides", "name data with pairs that have a winner"
        )
    known = families()
    if unknown := set(names) - known.keys():
        raise InputError(f"there is no family {min(unknown)!r}", f"known are {', '.join(known)}")
    return tuple(
        attack
        for name in names or known
        for attack in _of_family(known[name], decided, per_family, seed)
    )


def _of_family(
    family: Family, pairs: Sequence[PairRow], wanted: int, seed: int
) -> Iterator[Attack]:
    # Seeded by text, so that one family's attacks do not depend on which others there are.
    rng = random.Random(f"{seed} {family.name}")
    order = rng.sample(range(len(pairs)), len(pairs))
    seen: set[tuple[str, str]] = set()
    for number in range(wanted):
        pair = pairs[order[number % len(order)]]
        text = _new_text(family, worse(pair), pair.key, number, (rng, seen))
        seen.add((pair.key, text))
        yield Attack(pair, family.name, number, text)


def _new_text(
    family: Family,
    answer: str,
    key: str,
    number: int,
    drawn: tuple[random.Random, set[tuple[str, str]]],
) -> str:
    rng, seen = drawn
    for again in range(_TRIES):
        text = family.apply(answer, number + again, rng)
        if (key, text) not in seen and text != answer:
            return text
    raise InputError(
        f"{family.name} has no more texts for {key}", "name more pairs, or ask for fewer attacks"
    )


def write_attacks(path: Path, made: Sequence[Attack]) -> int:
    """Write the rows of attacks, and each pair as it is once; returns how many rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bases = {attack.base.key: attack.base for attack in made}
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for row in _rows(bases, made, path.parent):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _rows(
    bases: Mapping[str, PairRow], made: Sequence[Attack], folder: Path
) -> Iterator[dict[str, Any]]:
    for base in bases.values():
        yield from _both(Attack(base, CLEAN, 0, worse(base)), CLEAN, folder)
    for attack in made:
        yield from _both(attack, attack.name, folder)


def worse(base: PairRow) -> str:
    """The response that gold does not prefer."""
    return base.responses[0 if base.gold == "second" else 1]


def _both(attack: Attack, name: str, folder: Path) -> Iterator[dict[str, Any]]:
    base = attack.base
    common = {
        "question": base.question,
        "images": [_image(image, folder) for image in attack.shown],
        "group": base.item or base.key,
        "category": name.rsplit("-", 1)[0],
    }
    pair = {"setting": "pairwise", "responses": list(attack.responses), "verdict": base.gold}
    yield {"id": f"{base.key}|{name}|{PAIR}", **common, **pair}
    # The worse response deserves no more than the lowest level; only differences are looked at.
    score = {"setting": "pointwise", "responses": [attack.text], "verdict": base.rubric.low}
    rubric = {"low": base.rubric.low, "high": base.rubric.high}
    yield {"id": f"{base.key}|{name}|{SCORE}", **common, **score, "rubric": rubric}


def _image(image: Image, folder: Path) -> object:
    if isinstance(image, bytes):
        return {"base64": b64encode(image).decode()}
    return Path(os.path.relpath(image.absolute(), folder.absolute())).as_posix()
