"""How a prompt's verdict is stated, and how it is found in what a model writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from edgecritic.parsing import parse_level, parse_winner
from edgecritic.prompts import Dialect, Prompt
from edgecritic.task import Rubric

_DECORATION = re.compile(r"^[\s*_`\"'\[(]+")
THOUGHTS_BEGIN, THOUGHTS_END = "<think>", "</think>"
"""Where an endpoint does not keep a model's thoughts apart, they stand between these."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a prompt's verdict is stated.

    Attributes:
        lead_in: what announces it, ``Score: `` or ``Better:``. Tokenizers keep a blank apart from
            the digit behind it, and join it to a word: the answer's beginning ends where the
            tokens of its rest begin.
        labels: for each outcome its word, in lower case.
        parse: from the text that follows the lead-in, or from any text, to the outcome's label.
        announced: finds the lead-in in a text.
        reason: what announces the reason; nothing behind it states the verdict.
    """

    lead_in: str
    labels: tuple[str, ...]
    parse: Callable[[str, bool], str | None]
    announced: re.Pattern[str]
    reason: str

    @classmethod
    def of(cls, prompt: Prompt, dialect: Dialect, rubric: Rubric) -> Form:
        """The form that `dialect` gives to the answers of `prompt`."""
        answer = dialect.answers[prompt.setting]
        pointwise = prompt.setting == "pointwise"
        lead_in = answer.answer.partition("{verdict}")[0]
        # A model that was not trained for the form may set the lead-in in bold face.
        pattern = re.escape(lead_in.rstrip()).replace(":", r"[\s*_`]*:")

        def level(text: str, announced: bool) -> str | None:
            found = parse_level(f"Score: {text}" if announced else text, rubric)
            return None if found is None else str(found)

        def winner(text: str, announced: bool) -> str | None:
            found = parse_winner(f"Better: {text}" if announced else text, dialect.labels)
            return None if found is None else dialect.labels[found].casefold()

        words = (str(o) if pointwise else dialect.labels[str(o)] for o in prompt.outcomes)
        return cls(
            lead_in=lead_in if pointwise else lead_in.rstrip(),
            labels=tuple(word.casefold() for word in words),
            parse=level if pointwise else winner,
            announced=re.compile(pattern, re.IGNORECASE),
            reason=answer.reason.strip(),
        )

    def behind_lead_in(self, text: str) -> str | None:
        """What follows the lead-in, in lower case and without emphasis; None if there is none."""
        match = self.announced.search(text, max(0, text.rfind(THOUGHTS_END)))
        return None if match is None else _DECORATION.sub("", text[match.end() :]).casefold()

    def stated(self, text: str) -> int | None:
        """The outcome that a whole answer states in words, or None."""
        if THOUGHTS_BEGIN in text and THOUGHTS_END not in text:
            return None  # it was cut off while it thought
        behind = self.behind_lead_in(text)
        if behind is None:
            label = self.parse(text.rpartition(THOUGHTS_END)[2], False)
        else:
            reason = behind.find(self.reason.casefold()) if self.reason else -1
            label = self.parse(behind if reason < 0 else behind[:reason], True)
        return None if label is None else self.labels.index(label)

    def candidates(self, said: str) -> list[int]:
        """The outcomes whose statement `said` may be, or may become."""
        becoming = [k for k, label in enumerate(self.labels) if label.startswith(said)]
        if becoming:
            return becoming
        return [
            k
            for k, label in enumerate(self.labels)
            if said.startswith(label) and not said[len(label)].isalnum()
        ]
