"""Engines that write their verdicts out, one text for each."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from edgecritic import Bundle
from edgecritic_bench.speed.dialogue import Dialogue, Dialogues
from edgecritic_bench.speed.tasks import QUESTION, Asked

_NUMBER: Final = re.compile(r"\d+")
_ORDERED: Final = re.compile(r"first|second|tie")


class Written(ABC):
    """An `Engine` by its `answer`; one request after another unless `answers` does better.

    Args:
        bundle: whose prompts are asked.
    """

    alone = True

    def __init__(self, bundle: Bundle) -> None:
        self._dialogues = Dialogues(bundle)
        self.tokens: dict[str, int] = {}

    @abstractmethod
    def answer(self, picture: bytes, asked: Dialogue) -> str:
        """The text behind a prompt; notes its tokens."""

    def answers(self, asked: Sequence[tuple[bytes, Dialogue]]) -> list[str]:
        """The texts behind several prompts."""
        return [self.answer(picture, dialogue) for picture, dialogue in asked]

    def scores(self, picture: bytes, responses: Sequence[str]) -> list[str]:
        return self._levels([Asked(picture, QUESTION, response) for response in responses])

    def pairs(self, picture: bytes, pairs: Sequence[tuple[str, str]]) -> list[str]:
        asked = [(picture, self._dialogues.pair(QUESTION, *pair)) for pair in pairs]
        return [_stated(_ORDERED, text) for text in self.answers(asked)]

    def unrelated(self, asked: Sequence[Asked]) -> list[str]:
        return self._levels(asked)

    def _levels(self, asked: Sequence[Asked]) -> list[str]:
        dialogues = [(a.picture, self._dialogues.score(a.question, a.response)) for a in asked]
        return [_stated(_NUMBER, text) for text in self.answers(dialogues)]


def _stated(pattern: re.Pattern[str], text: str) -> str:
    """What a text states, or the text."""
    found = pattern.search(text)
    return found[0] if found else text
