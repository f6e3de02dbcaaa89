"""What the policy is asked: tables of pictures and questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edgecritic.errors import InputError, shown
from edgecritic.tables import read_records
from edgecritic_train.critic_data.building.teachers import PictureHashes
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import SPLITS, ImageFile, ImageRef, Split
from edgecritic_train.critic_data.sources.images import image_refs
from edgecritic_train.critic_data.splitting import Shares
from edgecritic_train.rounds.config import QuestionSettings
from edgecritic_train.rounds.entries import content_key


@dataclass(frozen=True, slots=True)
class Question:
    """A question about pictures.

    Attributes:
        id: unique.
        text: what is asked.
        images: may be empty.
        pictures: SHA-256 of each.
        reference: a right answer, or None.
        group: what no split cuts.
        split: ``test`` questions compare the rounds, ``validation`` ones choose adapters.
        source: where it comes from, such as a type of question; empty where the table is silent.
    """

    id: str
    text: str
    images: tuple[ImageRef, ...]
    pictures: tuple[str, ...]
    reference: str | None
    group: str
    split: Split
    source: str = ""

    @property
    def content(self) -> str:
        """Hash of what is asked."""
        return content_key(self.text.strip(), list(self.pictures))

    @property
    def image_sources(self) -> list[Path | bytes]:
        """The pictures in a form that `Critic` takes."""
        return [ref.path if isinstance(ref, ImageFile) else ref.data for ref in self.images]


def read_questions(settings: QuestionSettings, store: Path, seed: int) -> list[Question]:
    """All questions; what is asked twice is asked once.

    Args:
        settings: name the tables.
        store: folder for pictures that stand in the tables.
        seed: of the split.

    Raises:
        InputError: a table or a record cannot be used, or nothing is left to learn from; the
            message names file, line and value.
    """
    shares = Shares(settings.validation, settings.test, seed)
    pictures, hashes = PictureStore(store), PictureHashes()
    found: dict[str, Question] = {}
    ids: set[str] = set()
    for table in settings.tables:
        for place, record in read_records(table):
            try:
                question = _question(record, table, pictures, hashes, shares)
            except InputError as error:
                raise type(error)(f"{place}: {error.message}", error.hint) from error
            if question.content in found:
                continue
            if question.id in ids:
                raise InputError(
                    f"{place}: the id {shown(question.id)} came before", "give each its own"
                )
            found[question.content] = question
            ids.add(question.id)
            if len(found) == settings.limit:
                return _checked(list(found.values()), settings.tables)
    return _checked(list(found.values()), settings.tables)


def fingerprint(questions: Sequence[Question]) -> str:
    """Hash of all questions with their splits."""
    return content_key([[q.id, q.content, q.reference, q.group, q.split] for q in questions])


def _checked(questions: list[Question], tables: Sequence[Path]) -> list[Question]:
    if not any(question.split == "train" for question in questions):
        raise InputError(
            f"{', '.join(map(str, tables))}: no question of the split train is left",
            "name other tables, or lower questions.test and questions.validation",
        )
    return questions


def _question(
    record: Any, table: Path, store: PictureStore, hashes: PictureHashes, shares: Shares
) -> Question:
    text = record.get("question")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"the question is {shown(text)}", "fill the column question")
    images = _images(record.get("images", record.get("image")), table.parent, store)
    sums = tuple(hashes.of(ref) for ref in images)
    group = str(record.get("group") or (sums[0] if sums else content_key(text)))
    # Splits that a table of judgements states hold here, too.
    split = record.get("split") or "train"
    if split not in SPLITS:
        raise InputError(f"the split is {shown(split)}", f"write one of {', '.join(SPLITS)}")
    reference = record.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise InputError(f"the reference is {shown(reference)}, not text", "write it as text")
    name = record.get("id") or f"{table.stem}-{content_key(text, list(sums))[:16]}"
    return Question(
        id=str(name),
        text=text,
        images=images,
        pictures=sums,
        reference=reference or None,
        group=group,
        split=shares.split(group) if split == "train" else cast(Split, split),
        source=str(record.get("source") or ""),
    )


def _images(cell: Any, folder: Path, store: PictureStore) -> tuple[ImageRef, ...]:
    """Pictures in any form of a table, or of a rows file: its base64 becomes a file."""
    listed = cell if isinstance(cell, list | tuple) else [cell]
    forms = [
        f"data:;base64,{item['base64']}"
        if isinstance(item, dict) and item.keys() == {"base64"}
        else item
        for item in listed
    ]
    return image_refs(forms, folder, store)
