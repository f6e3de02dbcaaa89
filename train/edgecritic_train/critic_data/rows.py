"""One judgement to learn from, and files of them: the contract between data and training.

A rows file is JSON Lines; each line is one `CriticRow`::

    {"id": "rlhf-v-000017/ab", "setting": "pairwise", "images": ["images/3f/3f9c...e1.png"],
     "question": "...", "responses": ["...", "..."], "reference": null,
     "rubric": {"low": 1, "high": 10, "criteria": "...", "levels": {}}, "wording": 12,
     "verdict": "first", "reason": "...", "source": "rlhf-v", "judge": "human",
     "group": "3f9c...e1", "split": "train"}

- ``setting``: ``pointwise`` (one response, the verdict is a level of the rubric) or ``pairwise``
  (two responses, the verdict is ``first``, ``second`` or ``tie``).
- ``images``: paths, relative to the file's folder or absolute, or ``{"base64": "..."}`` with an
  encoded picture in it. May be empty.
- ``wording``: which of the dialect's wordings asks; ``rubric`` and ``reference`` go into it.
- ``group``: rows that share a picture or a question; a split never cuts through a group.
- ``id``, ``setting``, ``question``, ``responses`` and ``verdict`` must be there; unknown keys are
  refused. What is left out has the defaults of `CriticRow`.

In memory an `ImageFile` has a path that can be opened as it is. `edgecritic_train.critic_data.
rendering` turns a row into the prompt that the runtime will ask and the answer that training
teaches.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias, cast, get_args

from edgecritic.errors import CriticError, InputError, shown
from edgecritic.prompts import Setting
from edgecritic.strict_json import decode
from edgecritic.task import Rubric, Task
from edgecritic.verdict import Winner
from edgecritic_train.critic_data.writing import replacing, writing

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
WINNERS: tuple[Winner, ...] = get_args(Winner)
SWAPPED: Mapping[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
"""The winner in the other order of presentation."""

_REQUIRED = frozenset({"id", "setting", "question", "responses", "verdict"})
_OPTIONAL = frozenset(
    {"images", "reference", "rubric", "wording", "reason", "source", "judge", "group", "split"}
)
_N_RESPONSES: Mapping[Setting, int] = {"pointwise": 1, "pairwise": 2}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture in a file of its own; `path` can be opened as it is."""

    path: Path


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """A picture inside the row, as the bytes of an image file."""

    data: bytes


ImageRef: TypeAlias = ImageFile | ImageBytes


@dataclass(frozen=True, slots=True)
class CriticRow:
    """One critic instruction and its judgement.

    Attributes:
        id: unique in its file, not blank.
        setting: ``pointwise`` or ``pairwise``.
        question: what was asked; not blank.
        responses: one (pointwise) or two (pairwise); an empty response is legal.
        verdict: a level of `rubric`, or ``first``, ``second``, ``tie``.
        images: in the order in which the question speaks of them.
        reference: a right answer, or None.
        rubric: the range of the verdict, and by what to judge; pairwise rows use the criteria.
        wording: which of the dialect's wordings asks, at least 0; taken modulo their number.
        reason: why; empty where nobody said.
        source: the collection it comes from.
        judge: who gave the verdict, such as ``human`` or a model's name; empty where unknown.
        group: what must not be cut by a split; the id where it is left empty.
        split: what the row is for.
        place: ``file:line`` that it was read from, for messages; empty where it was made.

    Raises:
        InputError: a value is not so; the message names the key.
    """

    id: str
    setting: Setting
    question: str
    responses: tuple[str, ...]
    verdict: int | Winner
    images: tuple[ImageRef, ...] = ()
    reference: str | None = None
    rubric: Rubric = field(default_factory=Rubric)
    wording: int = 0
    reason: str = ""
    source: str = ""
    judge: str = ""
    group: str = ""
    split: Split = "train"
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise InputError("id is blank", "give every row an id of its own")
        if self.setting not in _N_RESPONSES:
            raise InputError(f"setting is {shown(self.setting)}", "write pointwise or pairwise")
        if len(self.responses) != _N_RESPONSES[self.setting]:
            raise InputError(
                f"responses holds {len(self.responses)} texts, and a {self.setting} row has "
                f"{_N_RESPONSES[self.setting]}",
                "one response is scored (pointwise), two are compared (pairwise)",
            )
        if self.split not in SPLITS:
            raise InputError(f"split is {shown(self.split)}", f"write one of {', '.join(SPLITS)}")
        if self.wording < 0:
            raise InputError(f"wording is {self.wording}", "give 0 or more")
        self._check_verdict()
        _ = self.task  # checks question, responses and reference
        if not self.group:
            object.__setattr__(self, "group", self.id)

    def _check_verdict(self) -> None:
        if self.setting == "pairwise":
            if self.verdict not in WINNERS:
                raise InputError(
                    f"verdict is {shown(self.verdict)}, and this row compares two responses",
                    f"write one of {', '.join(WINNERS)}",
                )
        elif isinstance(self.verdict, bool) or not isinstance(self.verdict, int):
            raise InputError(
                f"verdict is {shown(self.verdict)}, not a whole number",
                "write the level; put a scale of fractions on whole levels first",
            )
        elif self.verdict not in self.rubric.range:
            raise InputError(
                f"verdict is {self.verdict}, outside the rubric's range "
                f"{self.rubric.low}-{self.rubric.high}",
                "correct the score, or state the range that it was given on",
            )

    @property
    def named(self) -> str:
        """What messages call it: where it stands, and its id."""
        return f"{self.place}: row {self.id}" if self.place else f"row {self.id}"

    @property
    def task(self) -> Task:
        """What the runtime would be asked."""
        return Task(self.question, self.responses, len(self.images), self.reference, self.rubric)

    @property
    def image_sources(self) -> list[Path | bytes]:
        """The pictures in a form that `edgecritic.vision.load_image` and `Critic` take."""
        return [ref.path if isinstance(ref, ImageFile) else ref.data for ref in self.images]

    def to_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """A JSON-ready form; paths below `folder` are written relative to it."""
        return {
            "id": self.id,
            "setting": self.setting,
            "images": [_image_json(ref, folder) for ref in self.images],
            "question": self.question,
            "responses": list(self.responses),
            "reference": self.reference,
            "rubric": self.rubric.to_dict(),
            "wording": self.wording,
            "verdict": self.verdict,
            "reason": self.reason,
            "source": self.source,
            "judge": self.judge,
            "group": self.group,
            "split": self.split,
        }

    @classmethod
    def from_dict(cls, data: object, folder: Path | None = None, place: str = "") -> CriticRow:
        """The inverse of `to_dict`; relative paths begin at `folder`.

        Args:
            data: the decoded line.
            folder: of the file.
            place: of the line.

        Raises:
            InputError: a key is missing or unknown, or a value is not what `CriticRow` says.
        """
        if not isinstance(data, Mapping):
            raise InputError(
                f"a row is {shown(data)}, not a JSON object", "write one object a line"
            )
        if missing := _REQUIRED - data.keys():
            raise InputError(f"the key {min(missing)!r} is missing", "write it")
        if unknown := data.keys() - _REQUIRED - _OPTIONAL:
            raise InputError(
                f"the key {shown(min(unknown))} is unknown",
                f"known keys: {', '.join(sorted(_REQUIRED | _OPTIONAL))}",
            )
        reference, rubric = data.get("reference"), data.get("rubric")
        return cls(
            id=_text(data, "id"),
            setting=cast(Setting, _text(data, "setting")),
            question=_text(data, "question"),
            responses=tuple(_texts(data, "responses")),
            verdict=cast("int | Winner", data["verdict"]),
            images=tuple(_image_ref(item, folder) for item in _list(data, "images")),
            reference=None if reference is None else _text(data, "reference"),
            rubric=Rubric() if rubric is None else Rubric.from_dict(rubric),
            wording=_number(data, "wording"),
            reason=_text(data, "reason"),
            source=_text(data, "source"),
            judge=_text(data, "judge"),
            group=_text(data, "group"),
            split=cast(Split, _text(data, "split") or "train"),
            place=place,
        )


def scan_rows(path: Path) -> Iterator[tuple[int, CriticRow | CriticError]]:
    """Every line of a rows file with its number from 1: a row, or what is wrong with the line.

    Streams, so a file may be larger than memory. Blank lines are passed over.

    Raises:
        InputError: the file itself cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                place = f"{path}:{number}"
                try:
                    yield number, CriticRow.from_dict(_decoded(line), path.parent, place)
                except CriticError as error:
                    yield number, type(error)(f"{place}: {error.message}", error.hint)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", "check the path") from error


def read_rows(path: Path, split: Split | None = None) -> Iterator[CriticRow]:
    """The rows of a file, of one split where one is named.

    Raises:
        InputError: a line is no row; the message names file, line and value.
    """
    for _, row in scan_rows(path):
        if isinstance(row, CriticError):
            raise row
        if split is None or row.split == split:
            yield row


def write_rows(path: Path, rows: Iterable[CriticRow]) -> int:
    """Write a rows file: whole, or not at all.

    Args:
        path: replaced if it is there; its folder is made.
        rows: streamed.

    Returns:
        How many rows were written.

    Raises:
        ArtifactError: the disk is full, or the folder cannot be written to.
    """
    count = 0
    with replacing(path) as file:
        for row in rows:
            line = to_line(row, path.parent) + "\n"
            with writing(path):
                file.write(line.encode())
            count += 1
    return count


def to_line(row: CriticRow, folder: Path | None = None) -> str:
    """The row as one line of JSON, without the line's end."""
    return json.dumps(row.to_dict(folder), ensure_ascii=False)


def _decoded(line: bytes) -> object:
    try:
        return decode(line.decode("utf-8-sig"))
    except ValueError as error:
        # A decoder counts lines, too, and this is all of the file that it has seen.
        why = str(error)
        if isinstance(error, json.JSONDecodeError):
            why = f"{error.msg.removesuffix(' starting at')} at character {error.pos + 1}"
        raise InputError(
            f"the line is no JSON: {why}", "the file may be cut off; write it again"
        ) from error


def _image_json(ref: ImageRef, folder: Path | None) -> object:
    if isinstance(ref, ImageBytes):
        return {"base64": b64encode(ref.data).decode()}
    if folder is not None and ref.path.is_relative_to(folder):
        return ref.path.relative_to(folder).as_posix()
    # Behind another folder than the file's, a relative path would mean another picture.
    return ref.path.absolute().as_posix()


def _image_ref(item: object, folder: Path | None) -> ImageRef:
    if isinstance(item, str) and item:
        return ImageFile((folder or Path()) / PurePosixPath(item))
    if isinstance(item, Mapping) and item.keys() == {"base64"} and isinstance(item["base64"], str):
        try:
            return ImageBytes(b64decode(item["base64"], validate=True))
        except binascii.Error as error:
            raise InputError(f"an image is no base64: {error}", "encode its bytes again") from error
    raise InputError(
        f"an image is {shown(item)}", 'write a path, or {"base64": "..."} with the picture'
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{key} is {shown(value)}, not text", "write it in quotes")
    return value


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{key} is {shown(value)}, not a list", "write it in brackets")
    return value


def _texts(data: Mapping[str, Any], key: str) -> list[str]:
    values = _list(data, key)
    for value in values:
        if not isinstance(value, str):
            raise InputError(f"{key} holds {shown(value)}, not text", "write texts alone")
    return values


def _number(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{key} is {shown(value)}, not a whole number", "write one")
    return value
