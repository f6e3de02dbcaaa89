"""What can be timed, and what it is started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgecritic import Bundle, CriticError, InputError
from edgecritic.hub import find_bundle
from edgecritic_bench.speed.tasks import Asked


@dataclass(frozen=True, slots=True)
class Setup:
    """How an engine shall run.

    Attributes:
        folder: of the bundle, or ``embedded``.
        checkpoint: the same critic as a folder for transformers; without weights in it they are
            drawn at random, which costs the same. None where no engine needs one.
        gpu: whether to run on a GPU.
        threads: of computation.
        n_ctx: tokens of context; the bundle's own number when left out.
        answer_tokens: most tokens of an answer that is written out.
    """

    folder: str = "embedded"
    checkpoint: str | None = None
    gpu: bool = False
    threads: int = 2
    n_ctx: int | None = None
    answer_tokens: int = 12

    def bundle(self) -> Bundle:
        """The critic.

        Raises:
            ArtifactError: it cannot be read.
        """
        return find_bundle(self.folder)

    def checkpoint_folder(self) -> Path:
        """Where transformers' form of the critic lies.

        Raises:
            InputError: none was named.
        """
        if self.checkpoint is None:
            raise InputError(
                "transformers needs the critic in its own form",
                "name a folder: --checkpoint; `edgecritic train hf embedded` writes one",
            )
        return Path(self.checkpoint)


class Engine(Protocol):
    """One loaded engine. Pictures are PNG; all methods return what was decided, in order.

    Attributes:
        alone: whether it judges one request after another, each from its first token on: then a
            few tell the cost of many.
        tokens: how long the last prompt was, by part.
    """

    alone: bool
    tokens: dict[str, int]

    def scores(self, picture: bytes, responses: Sequence[str]) -> list[str]:
        """Levels of responses to the bench's question."""
        ...

    def pairs(self, picture: bytes, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """``first``, ``second`` or ``tie`` for each ordered pair."""
        ...

    def unrelated(self, asked: Sequence[Asked]) -> list[str]:
        """Levels."""
        ...


class UnusableEngineError(CriticError):
    """An engine answered with an error."""
