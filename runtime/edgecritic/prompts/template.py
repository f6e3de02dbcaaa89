"""Prompt dialects: folders of versioned text files, each folder with one hash.

A dialect may take the wordings of another one, and then its hash covers them, too.

A line of a wording whose optional placeholder (reference, criteria, level descriptions) has
nothing to say is left out; the line of the level descriptions is repeated for each of them.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, TypeAlias

from edgecritic.errors import ArtifactError, shown

Setting: TypeAlias = Literal["pointwise", "pairwise"]
SETTINGS: tuple[Setting, ...] = ("pointwise", "pairwise")
DEFAULT_DIALECT = "edgecritic-v1"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
_REQUIRED: Mapping[Setting, frozenset[str]] = {
    "pointwise": frozenset({"question", "response", "low", "high"}),
    "pairwise": frozenset({"question", "first", "second"}),
}


@dataclass(frozen=True)
class AnswerForm:
    """How the assistant states a verdict: ``answer`` holds ``{verdict}``, ``reason`` follows it."""

    answer: str
    reason: str

    def stated(self, label: str) -> str:
        """The whole text that states `label` and leads on to the rationale."""
        return self.answer.replace("{verdict}", label) + self.reason


@dataclass(frozen=True)
class Dialect:
    """One way of asking for verdicts, with several wordings.

    Attributes:
        name: folder name, which carries the version.
        digest: sha256 over every file of the folder, hex.
        system: the system turn; empty for none.
        reason_first: the rationale is generated before the verdict is read.
        turn_open: control text that opens a turn; holds ``{role}``.
        turn_close: control text that closes a turn.
        picture_open: control text in front of each picture; may be empty.
        picture_close: control text behind each picture; may be empty.
        pictures_end: ordinary text between the pictures and the words.
        answers: how the assistant states a verdict, by setting.
        labels: winner to its word, for pairwise verdicts.
        wordings: by setting, the user turn's texts; ``wordings[setting][0]`` is the default.
    """

    name: str
    digest: str
    system: str
    reason_first: bool
    turn_open: str
    turn_close: str
    picture_open: str
    picture_close: str
    pictures_end: str
    answers: Mapping[Setting, AnswerForm]
    labels: Mapping[str, str]
    wordings: Mapping[Setting, tuple[str, ...]]

    @cached_property
    def identity(self) -> str:
        """Name and short hash, as verdicts carry it."""
        return f"{self.name}@{self.digest[:12]}"


def _read_files(folder: Traversable) -> dict[str, str]:
    return {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name == "dialect.toml" or entry.name.endswith(".txt")
    }


def _borrowed(name: object) -> dict[str, str]:
    """The wordings of another dialect, for one that differs in its chat's form only."""
    if name not in dialect_names():
        raise ValueError(f"there is no dialect {shown(name)} to take wordings from")
    return {
        file: text
        for file, text in _read_files(files("edgecritic.prompts") / str(name)).items()
        if file.endswith(".txt")
    }


def _digest(texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name}\n{len(text.encode())}\n".encode() + text.encode())
    return digest.hexdigest()


def _wordings(name: str, setting: Setting, texts: Mapping[str, str]) -> tuple[str, ...]:
    found = tuple(
        text.rstrip("\n") for file, text in texts.items() if file.startswith(f"{setting}-")
    )
    if not found:
        raise ArtifactError(
            f"dialect {name!r} has no {setting} wording", f"add a {setting}-1.txt to its folder"
        )
    for text in found:
        if missing := _REQUIRED[setting] - set(PLACEHOLDER.findall(text)):
            raise ArtifactError(
                f"a {setting} wording of dialect {name!r} lacks {{{min(missing)}}}",
                "every wording names the question, the responses and, pointwise, the range",
            )
    return found


def _answer_form(name: str, setting: Setting, stated: Mapping[str, str]) -> AnswerForm:
    form = AnswerForm(stated["answer"], stated["reason"])
    if not form.answer.partition("{verdict}")[0].strip() or form.answer.count("{verdict}") != 1:
        raise ArtifactError(
            f"the {setting} answer {form.answer!r} of dialect {name!r} does not announce a verdict",
            "write words and then {verdict}, once",
        )
    return form


def read_dialect(folder: Traversable, name: str) -> Dialect:
    """Read a dialect's folder.

    Raises:
        ArtifactError: files are missing or do not make a dialect.
    """
    try:
        texts = _read_files(folder)
        meta = tomllib.loads(texts["dialect.toml"])
        if "wordings" in meta:
            texts = _borrowed(meta["wordings"]) | texts
        chat = meta["chat"]
        return Dialect(
            name=name,
            digest=_digest(texts),
            system=meta["system"],
            reason_first={"verdict-first": False, "reason-first": True}[meta["verdict"]],
            turn_open=chat["open"],
            turn_close=chat["close"],
            picture_open=chat.get("picture_open", ""),
            picture_close=chat.get("picture_close", ""),
            pictures_end=chat.get("pictures_end", "\n"),
            answers={s: _answer_form(name, s, meta[s]) for s in SETTINGS},
            labels={w: meta["pairwise"]["labels"][w] for w in ("first", "second", "tie")},
            wordings={s: _wordings(name, s, texts) for s in SETTINGS},
        )
    except (OSError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"prompt dialect {name!r} cannot be read: {error!r}",
            f"known dialects: {', '.join(dialect_names())}",
        ) from error


def dialect_names() -> list[str]:
    """Names of the dialects that ship with edgecritic."""
    here = files("edgecritic.prompts")
    return sorted(d.name for d in here.iterdir() if d.is_dir() and (d / "dialect.toml").is_file())


@lru_cache(maxsize=16)
def load_dialect(name: str = DEFAULT_DIALECT) -> Dialect:
    """A dialect that ships with edgecritic.

    Raises:
        ArtifactError: no dialect has that name.
    """
    if name not in dialect_names():
        raise ArtifactError(
            f"there is no prompt dialect {name!r}",
            f"known dialects: {', '.join(dialect_names())}; a newer edgecritic may know more",
        )
    return read_dialect(files("edgecritic.prompts") / name, name)
