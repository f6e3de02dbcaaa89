"""The things that pictures show: names, plurals, kinds, and which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from edgecritic_train.data.pack import AssetError, Concept

_HELD_OUT_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class ConceptEntry:
    """A concept and the emoji labels (lower case) that draw it, the best view first."""

    concept: Concept
    labels: tuple[str, ...]


def in_slot(key: str, share: float, salt: str) -> bool:
    """Whether a key falls into a fixed share of all keys, the same on every machine.

    Args:
        key: what is to be assigned, e.g. a concept name.
        share: size of the slot, 0 to 1.
        salt: name of the split, so that two splits are independent.
    """
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def pluralise(noun: str) -> str:
    """The regular English plural of a noun or of the last word of a phrase."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return noun[:-1] + "ies"
    return noun + "s"


def article_for(noun: str) -> str:
    """The indefinite article, by how the noun begins when spoken: "a" or "an"."""
    if noun.startswith(("X-", "SUV")):
        return "an"
    if noun.lower().startswith(("uni", "one", "eu", "uku")):
        return "a"
    return "an" if noun[0].lower() in "aeiou" or noun.startswith("hour") else "a"


def parse_concepts(text: str) -> tuple[ConceptEntry, ...]:
    """Reads the table in ``concepts.txt``; the file's head explains the format.

    Raises:
        AssetError: a line stands before any section, or a name occurs twice.
    """
    entries: dict[str, ConceptEntry] = {}
    section = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[]")
            continue
        entry = _parse_line(line, section, number)
        if entry.concept.name in entries:
            raise AssetError(
                f"concepts.txt line {number}: {entry.concept.name!r} occurs twice",
                hint="join the two lines, their labels separated by commas",
            )
        entries[entry.concept.name] = entry
    return tuple(entries.values())


def _parse_line(line: str, section: str, number: int) -> ConceptEntry:
    category, slash, group = section.partition("/")
    if not slash:
        raise AssetError(
            f"concepts.txt line {number}: {line!r} is in no [category/group] section",
            hint="add a section line above it",
        )
    naming, _, drawn_from = line.partition("=")
    uncounted = naming.startswith("~")
    name, _, irregular = (part.strip() for part in naming.lstrip("~").partition("/"))
    plural = irregular or (name if uncounted else pluralise(name))
    labels = tuple(label.strip().lower() for label in (drawn_from or name).split(","))
    concept = Concept(
        name=name,
        plural=plural,
        article="" if uncounted else article_for(name),
        category=category,
        held_out=in_slot(name, _HELD_OUT_SHARE, "concept"),
        group=group,
    )
    return ConceptEntry(concept, labels)


def load_concepts() -> tuple[ConceptEntry, ...]:
    """The concepts of the table shipped with this package, in table order."""
    table = resources.files("edgecritic_train.data").joinpath("concepts.txt")
    return parse_concepts(table.read_text(encoding="utf-8"))
