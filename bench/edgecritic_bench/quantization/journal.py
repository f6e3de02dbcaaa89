"""What an arm leaves behind: one line for each row it judged, named by what the row holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgecritic import InputError
from edgecritic_bench.protocols.rows import Image, PairRow, ScoreRow
from edgecritic_bench.records import READABLE_MASS, LogProbs, Setting


@dataclass(frozen=True, slots=True)
class Judged:
    """One row as one arm judged it.

    Attributes:
        digest: of everything that the judgement depends on but the critic.
        row: key of the row, for people.
        setting: pairwise or pointwise.
        log_probs: natural logarithms at temperature 1, normalised: of a pair (given, swapped), each
            the (3,) of first, second, tie, in the labels of the given order; of a score one, over
            the rubric's levels. None where no verdict was read.
        mass: of each, before normalising, in [0, 1].
        seconds: of wall clock for the verdict, the picture's features left out; rows of one picture
            were judged together, and share alike.
        cpu: of processor time, all threads together, likewise.
        image_seconds: of wall clock for the picture's features, where they were computed here.
        error: why it could not be judged; empty where it was.
    """

    digest: str
    row: str
    setting: Setting
    log_probs: tuple[LogProbs | None, ...]
    mass: tuple[float, ...]
    seconds: float = 0.0
    cpu: float = 0.0
    image_seconds: float = 0.0
    error: str = ""

    @property
    def readable(self) -> bool:
        """Every verdict was read."""
        whole = bool(self.log_probs) and None not in self.log_probs
        return whole and min(self.mass) >= READABLE_MASS

    def to_line(self) -> str:
        """One line of JSON, without the line's end."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Judged:
        """The inverse of `to_line`."""
        log_probs = tuple(None if row is None else tuple(row) for row in data["log_probs"])
        return cls(**{**data, "log_probs": log_probs, "mass": tuple(data["mass"])})


def row_digest(row: PairRow | ScoreRow) -> str:
    """Names a row by its content: pictures, texts, rubric. 24 hex digits."""
    content: dict[str, object] = {
        "images": [image_digest(image) for image in row.images],
        "question": row.question,
        "rubric": [row.rubric.low, row.rubric.high, row.rubric.criteria, {**row.rubric.levels}],
    }
    if isinstance(row, PairRow):
        content |= {"responses": row.responses}
    else:
        content |= {"response": row.response, "reference": row.reference}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


@lru_cache(maxsize=1 << 16)
def image_digest(image: Image) -> str:
    """sha256 of a picture's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(image if isinstance(image, bytes) else image.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(
            f"{image!s} cannot be read: {error.strerror}", "check the data's folder"
        ) from error


def read_journal(path: Path) -> dict[str, Judged]:
    """Rows judged so far by their digests; none where there is no file.

    A last line without its end is left out: a worker is writing it, or was killed over it.

    Raises:
        InputError: a line is none of a journal.
    """
    if not path.exists():
        return {}
    found = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                break
            try:
                judged = Judged.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{path}:{number} is no judgement: {error!r}", "delete this line"
                ) from error
            found[judged.digest] = judged
    return found


def append(path: Path, judged: Iterable[Judged]) -> None:
    """Add rows in one write, so that none is left without the others of its picture."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write("".join(row.to_line() + "\n" for row in judged))
