"""Rows as token ids, each with its part and its weight in the loss.

Texts are tokenized piece by piece as the runtime does it, so a row's own words never become control
tokens, whatever they spell, and a picture's tokens are never learned.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecritic.errors import CriticError, ImageError, InputError
from edgecritic.prompts import Control, Dialect, ImageSlot, Prompt, render
from edgecritic.scoring import OutcomeTrie
from edgecritic.vision import load_image
from edgecritic_train.critic_data.rendering import RenderedRow, asking, render_row
from edgecritic_train.critic_data.rows import CriticRow, ImageFile, ImageRef
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.config import LossSettings
from edgecritic_train.tuning.families import Eye, Picture, Size

IntArray: TypeAlias = NDArray[np.int64]
Part: TypeAlias = Literal["verdict", "form", "reason", "answer"]
PARTS: Final[tuple[Part, ...]] = ("verdict", "form", "reason", "answer")
"""Of what is learned; a policy learns answers, and a critic the rest or all."""
IGNORED: Final = -100
"""What torch's losses pass over."""
_TURNED: Final = frozenset((5, 6, 7, 8))  # EXIF orientations that swap the sides


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A row to learn from.

    Attributes:
        row_id: of the row.
        tokens: (n,) ids.
        parts: (n,) index into `PARTS` of what is learned, `IGNORED` elsewhere.
        pictures: in the order of their tokens.
    """

    row_id: str
    tokens: IntArray
    parts: IntArray
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A row's pictures as the tower takes them, and (height, width) of each."""

    pictures: tuple[Picture, ...]
    sizes: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class Measure:
    """What a row takes.

    Attributes:
        tokens: of all of it.
        front: how many of them end with its last picture; 0 without one.
        opening: SHA-1 of the front, pictures' tokens included.
        beside: how many stand at positions that others have, too, as those of a pair's answers do.
    """

    tokens: int
    front: int = 0
    opening: bytes = b""
    beside: int = 0

    @property
    def positions(self) -> int:
        """That the model has to tell apart."""
        return self.tokens - self.beside


class ExampleMaker:
    """Lays rows out for one base and one dialect.

    Args:
        base: its tokenizer and its eye are used.
        dialect: of the prompts.
        answers: ids of the rows whose response is learned as an answer to their question; the
            others' verdicts are.

    Raises:
        InputError: the base needs control tokens around pictures, and the dialect has none.
    """

    def __init__(self, base: Base, dialect: Dialect, answers: frozenset[str] = frozenset()) -> None:
        if base.eye.framed and not dialect.picture_open:
            raise InputError(
                f"data.dialect is {dialect.name}, which does not tell this base where a picture "
                "begins",
                "use edgecritic-qwen-v1 or edgecritic-qwen-wide-v1",
            )
        self._tokenizer = base.folder.tokenizer
        self._eye = base.eye
        self._image_token = base.folder.image_token
        self._answers = answers
        self.dialect = dialect
        self.trie = lru_cache(maxsize=64)(self._trie)

    def look(self, row: CriticRow) -> Seen:
        """The row's pictures.

        Raises:
            ImageError: one cannot be used; the message names the row.
        """
        with naming(row):
            return look_at(row, self._eye)

    def make(self, row: CriticRow, seen: Seen | None = None) -> Example:
        """A row with its pictures.

        Args:
            row: to lay out.
            seen: its pictures, where they have been looked at.

        Raises:
            CriticError: the row cannot be rendered, or a picture cannot be used; the message
                names the row.
        """
        seen = seen or self.look(row)
        with naming(row):
            tokens, parts = self._laid(row, seen.sizes)
        return Example(row.id, tokens, parts, seen.pictures)

    def measure(self, row: CriticRow) -> Measure:
        """What a row takes; of its pictures, only the headers are read.

        Raises:
            CriticError: as in `make`.
        """
        with naming(row):
            sizes = [picture_size(ref) for ref in row.images]
            return self.measured(self._laid(row, sizes)[0])

    def measured(self, tokens: IntArray) -> Measure:
        """What the tokens of a row take."""
        front = front_of(tokens, self._image_token)
        opening = hashlib.sha1(tokens[:front].tobytes(), usedforsecurity=False).digest()
        return Measure(len(tokens), front, opening if front else b"")

    def prompt(self, prompt: Prompt, sizes: Sequence[Size]) -> list[int]:
        """Everything up to the assistant's first word."""
        single = len(sizes) > 1
        tokens: list[int] = []
        for piece in prompt.pieces:
            if isinstance(piece, ImageSlot):
                count = self._eye.n_tokens(sizes[piece.index], single=single)
                tokens += self._eye.span(count)
            else:
                tokens += self.text(piece.text, control=isinstance(piece, Control))
        return tokens

    def text(self, text: str, *, control: bool = False) -> list[int]:
        """Ids of a text; control tokens are recognised only in the dialect's own words."""
        return self._tokenizer.encode(text, control=control)

    def _trie(self, answers: tuple[str, ...]) -> OutcomeTrie:
        closing = self.text(self.dialect.turn_close, control=True)
        ends = closing if self.dialect.reason_first else []
        return OutcomeTrie.build([[*self.text(answer), *ends] for answer in answers])

    def answered(
        self, prompt: Prompt, sizes: Sequence[Size], answer: str
    ) -> tuple[IntArray, IntArray]:
        """Tokens of a prompt and the answer to it, and their parts as in `Example`."""
        asked = self.prompt(prompt, sizes)
        end = self.text(prompt.end.text, control=True)[:1]
        said = [*self.text(answer), *end]
        parts = [IGNORED] * len(asked) + [_ANSWER] * len(said)
        return np.array([*asked, *said], dtype=np.int64), np.array(parts, dtype=np.int64)

    def _laid(self, row: CriticRow, sizes: Sequence[Size]) -> tuple[IntArray, IntArray]:
        if row.id in self._answers:
            prompt = asking(render(row.task, self.dialect), row.question, self.dialect)
            return self.answered(prompt, sizes, row.responses[0])
        return self._judged(render_row(row, self.dialect), sizes)

    def _judged(self, rendered: RenderedRow, sizes: Sequence[Size]) -> tuple[IntArray, IntArray]:
        prompt = rendered.prompt
        tokens = self.prompt(prompt, sizes)
        parts = [IGNORED] * len(tokens)
        trie = self.trie(prompt.answers)
        decided = range(len(trie.forced), len(trie.forced) + len(trie.paths[rendered.outcome]))
        end = self.text(prompt.end.text, control=True)[:1] if rendered.ends else []
        for taught in rendered.taught:
            piece = self.text(taught.text)
            last = taught is rendered.taught[-1]
            tokens += piece + (end if last else [])
            if taught.part == "reason":
                parts += [_REASON] * (len(piece) + (len(end) if last else 0))
            else:
                length = len(piece) + (len(end) if last else 0)
                parts += [_VERDICT if k in decided else _FORM for k in range(length)]
        return np.array(tokens, dtype=np.int64), np.array(parts, dtype=np.int64)


_VERDICT, _FORM, _REASON, _ANSWER = range(len(PARTS))


def weights_of(parts: IntArray, loss: LossSettings) -> NDArray[np.float32]:
    """Weight of every token, 0 where nothing is learned."""
    table = np.array([loss.verdict, loss.form, loss.reason, loss.answer, 0.0], dtype=np.float32)
    return table[np.where(parts == IGNORED, len(PARTS), parts)]


def check_example(example: Example, image_tokens: Mapping[int, str]) -> None:
    """A last look: something is learned, and no picture is.

    Raises:
        InputError: not so.
    """
    learned = example.tokens[example.parts != IGNORED]
    if not len(learned):
        raise InputError(f"row {example.row_id} has nothing to learn", "give it a verdict")
    if taught := image_tokens.keys() & set(learned.tolist()):
        raise InputError(
            f"row {example.row_id} would learn {image_tokens[min(taught)]}",
            "the base's tokenizer does not know that token as a control token",
        )


@contextmanager
def naming(row: CriticRow) -> Iterator[None]:
    """Errors in the block name the row, and the file that it stands in."""
    try:
        yield
    except CriticError as error:
        raise type(error)(f"{row.named}: {error.message}", error.hint) from error


def front_of(tokens: IntArray, image_token: int) -> int:
    """How many tokens end with the last picture; 0 without one."""
    shown = np.flatnonzero(tokens == image_token)
    return int(shown[-1]) + 1 if len(shown) else 0


def look_at(row: CriticRow, eye: Eye) -> Seen:
    """The row's pictures.

    Raises:
        ImageError: one cannot be used.
    """
    images = [load_image(source) for source in row.image_sources]
    pictures = tuple(eye.look(image, single=len(images) > 1) for image in images)
    return Seen(pictures, tuple((image.height, image.width) for image in images))


def picture_size(ref: ImageRef) -> Size:
    """(height, width) of a picture as it is shown, by its header.

    Raises:
        ImageError: the file is missing or no picture.
    """
    source = ref.path if isinstance(ref, ImageFile) else io.BytesIO(ref.data)
    try:
        with Image.open(source) as image:
            turned = image.getexif().get(0x0112) in _TURNED
            width, height = image.size
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            f"{source if isinstance(ref, ImageFile) else 'the picture in it'} cannot be read: "
            f"{error}",
            "fetch the picture again, or take the row out",
        ) from error
    return (width, height) if turned else (height, width)
