"""Judgement records: one JSON object a line, the same from every engine.

Pairwise::

    {"id": "T0-000017", "kind": "digit", "split": "T0", "side": 0, "condition": "right",
     "setting": "pairwise", "first": 2, "second": 0, "winner": "first", "image_decided": true,
     "orders": [[-0.1, -2.5, -4.2], [-0.2, -2.1, -4.0]], "mass": [0.999, 0.998]}

Pointwise::

    {"id": "T0-000017", "kind": "digit", "split": "T0", "side": 0, "condition": "right",
     "setting": "pointwise", "response": 2, "family": "correct", "gold": 10,
     "log_probs": [-9.1, ...], "mass": 0.999}

Log-probabilities are natural logarithms at calibration temperature 1, normalised over the
outcomes (first, second, tie; levels 1 to 10). The second of `orders` is the swapped presentation,
told in the labels of the first. An engine that could read no verdict writes null in its place.
Where `condition` is ``blank`` the picture was plain mid-grey, of the same size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from edgecritic import InputError

Condition: TypeAlias = Literal["right", "blank"]
Setting: TypeAlias = Literal["pointwise", "pairwise"]
Winner: TypeAlias = Literal["first", "second", "tie"]
LogProbs: TypeAlias = tuple[float, ...]

CONDITIONS: tuple[Condition, ...] = ("right", "blank")
SETTINGS: tuple[Setting, ...] = ("pointwise", "pairwise")
WINNERS: tuple[Winner, ...] = ("first", "second", "tie")
N_LEVELS = 10
READABLE_MASS = 0.5
"""Probability that the outcomes must hold for a verdict to count as read; the runtime's rule."""
LOG_FLOOR = -700.0
"""Stands for log 0: the least power of e that float64 still holds with all its digits."""
_NORMAL_TOLERANCE = 1e-3
_HINT = "write the file again with: edgecritic bench judge"


@dataclass(frozen=True, slots=True)
class Place:
    """Which picture of which item was judged.

    Attributes:
        item: id of the twin item.
        kind: question type.
        split: of the evaluation set.
        side: 0 for picture A, 1 for picture B.
        condition: what was shown.
    """

    item: str
    kind: str
    split: str
    side: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class PairwiseRecord:
    """One pair, judged in both orders.

    Attributes:
        place: what was shown.
        first: index of the response called first.
        second: index of the other.
        winner: gold.
        image_decided: the item's other picture turns the preference round.
        orders: (given, swapped), each the (3,) log-probs of first, second, tie, or None.
        mass: of each order, before normalising, in [0, 1].
    """

    place: Place
    first: int
    second: int
    winner: Winner
    image_decided: bool
    orders: tuple[LogProbs | None, LogProbs | None]
    mass: tuple[float, float]

    @property
    def key(self) -> tuple[object, ...]:
        """What no other record of the same engine shares."""
        return (self.place, self.first, self.second)

    @property
    def readable(self) -> bool:
        """Both orders gave a verdict."""
        return None not in self.orders and min(self.mass) >= READABLE_MASS


@dataclass(frozen=True, slots=True)
class PointwiseRecord:
    """One response, scored.

    Attributes:
        place: what was shown.
        response: its index.
        family: how the response was made, on this picture.
        gold: level 1 to 10.
        log_probs: (10,) of levels 1 to 10, or None.
        mass: before normalising, in [0, 1].
    """

    place: Place
    response: int
    family: str
    gold: int
    log_probs: LogProbs | None
    mass: float

    @property
    def key(self) -> tuple[object, ...]:
        """What no other record of the same engine shares."""
        return (self.place, self.response)

    @property
    def readable(self) -> bool:
        """A verdict was given."""
        return self.log_probs is not None and self.mass >= READABLE_MASS


Record: TypeAlias = PairwiseRecord | PointwiseRecord


def to_line(record: Record) -> str:
    """The record as one line of JSON, without the line's end."""
    place = record.place
    common = {
        "id": place.item,
        "kind": place.kind,
        "split": place.split,
        "side": place.side,
        "condition": place.condition,
    }
    if isinstance(record, PairwiseRecord):
        rest: dict[str, object] = {
            "setting": "pairwise",
            "first": record.first,
            "second": record.second,
            "winner": record.winner,
            "image_decided": record.image_decided,
            "orders": record.orders,
        }
    else:
        rest = {
            "setting": "pointwise",
            "response": record.response,
            "family": record.family,
            "gold": record.gold,
            "log_probs": record.log_probs,
        }
    return json.dumps({**common, **rest, "mass": record.mass}, ensure_ascii=False, allow_nan=False)


def parse_line(line: str, where: str = "record") -> Record:
    """Read one line.

    Args:
        line: JSON, as `to_line` or another engine writes it.
        where: file and line, for messages.

    Raises:
        InputError: it is no record, or one of its values is out of range.
    """
    try:
        data = json.loads(line)
        read = _pairwise if _choice(data, "setting", SETTINGS) == "pairwise" else _pointwise
        return read(data, _place(data))
    except KeyError as error:
        raise InputError(f"{where}: there is no {error}", _HINT) from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}", _HINT) from None


def read_records(paths: Iterable[Path]) -> tuple[Record, ...]:
    """All records of some files.

    Raises:
        InputError: a file is missing, a line is no record, or two lines judge the same thing.
    """
    records: list[Record] = []
    seen: set[tuple[object, ...]] = set()
    for path in paths:
        for number, record in _numbered(path):
            if record.key in seen:
                raise InputError(
                    f"{path}:{number}: {record.place.item} was judged twice",
                    "give the records of one engine, each file once",
                )
            seen.add(record.key)
            records.append(record)
    return tuple(records)


def _numbered(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, parse_line(line, f"{path}:{number}")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", _HINT) from error


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a file of records, replacing what was there."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(to_line(record) + "\n" for record in records)


def _place(data: Mapping[str, Any]) -> Place:
    if data["side"] not in (0, 1):
        raise ValueError(f"side is {data['side']!r}, neither 0 nor 1")
    condition = _choice(data, "condition", CONDITIONS)
    names = [data[name] for name in ("id", "kind", "split")]
    if not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"id, kind and split are {names}, not three names")
    item, kind, split = names
    return Place(item, kind, split, int(data["side"]), cast(Condition, condition))


def _pairwise(data: Mapping[str, Any], place: Place) -> PairwiseRecord:
    given, swapped = data["orders"]
    mass = tuple(_mass(value) for value in data["mass"])
    if len(mass) != 2:
        raise ValueError(f"mass has {len(mass)} values, not one for each order")
    if not isinstance(data["image_decided"], bool):
        raise ValueError(f"image_decided is {data['image_decided']!r}")
    return PairwiseRecord(
        place=place,
        first=_index(data, "first"),
        second=_index(data, "second"),
        winner=cast(Winner, _choice(data, "winner", WINNERS)),
        image_decided=data["image_decided"],
        orders=(_log_probs(given, len(WINNERS)), _log_probs(swapped, len(WINNERS))),
        mass=mass,
    )


def _pointwise(data: Mapping[str, Any], place: Place) -> PointwiseRecord:
    gold = data["gold"]
    if isinstance(gold, bool) or not isinstance(gold, int) or not 1 <= gold <= N_LEVELS:
        raise ValueError(f"gold is {gold!r}, not a level from 1 to {N_LEVELS}")
    if not isinstance(data["family"], str):
        raise ValueError(f"family is {data['family']!r}, not a name")
    return PointwiseRecord(
        place=place,
        response=_index(data, "response"),
        family=data["family"],
        gold=gold,
        log_probs=_log_probs(data["log_probs"], N_LEVELS),
        mass=_mass(data["mass"]),
    )


def _log_probs(values: Any, n: int) -> LogProbs | None:
    if values is None:
        return None
    found = [float(value) for value in values]
    if len(found) != n:
        raise ValueError(f"{len(found)} log-probabilities, not {n}")
    if any(math.isnan(value) or value > _NORMAL_TOLERANCE for value in found):
        raise ValueError(f"{found} are not logarithms of probabilities")
    total = math.fsum(math.exp(value) for value in found)
    if abs(total - 1) > _NORMAL_TOLERANCE:
        raise ValueError(f"probabilities sum to {total:.4f}; they must be normalised")
    return tuple(max(value, LOG_FLOOR) for value in found)


def _mass(value: Any) -> float:
    mass = float(value)
    if not 0 <= mass <= 1 + _NORMAL_TOLERANCE:
        raise ValueError(f"mass is {mass}, not within 0 to 1")
    return min(mass, 1.0)


def _choice(data: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    if data[name] not in choices:
        raise ValueError(f"{name} is {data[name]!r}, not one of {', '.join(choices)}")
    return str(data[name])


def _index(data: Mapping[str, Any], name: str) -> int:
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}, not the index of a response")
    return value
