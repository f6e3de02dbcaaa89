"""A critic's prompts as the chat messages that other engines take."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from edgecritic import Bundle

Setting: TypeAlias = Literal["pointwise", "pairwise"]
Message: TypeAlias = dict[str, Any]

CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image_url' %}{{ part.image_url.url }}"
    "{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{{ '\n' }}{% endfor %}"
    "<|im_start|>assistant{{ '\n' }}"  # Jinja drops a plain newline at the end
)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The texts that an engine reads, filled in from a bundle's own prompts.

    Attributes:
        system: the system turn.
        user: the user's turn behind the picture.
        stop: what follows a stated verdict.
    """

    system: str
    user: str
    stop: str

    def messages(self, picture: bytes) -> list[Message]:
        """In OpenAI's form, the picture (PNG) in a data URL."""
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": "\n" + self.user},
        ]
        return [{"role": "system", "content": self.system}, {"role": "user", "content": parts}]

    def text(self, picture: str) -> str:
        """As one text, with `picture` where the picture stands."""
        return (
            f"<|im_start|>system\n{self.system}<|im_end|>\n"
            f"<|im_start|>user\n{picture}\n{self.user}<|im_end|>\n<|im_start|>assistant\n"
        )


class Dialogues:
    """Makes dialogues of a bundle's prompts."""

    def __init__(self, bundle: Bundle) -> None:
        self._dialect = bundle.dialect()
        rubric = bundle.manifest.rubric
        self._rubric = {"low": str(rubric.low), "high": str(rubric.high)}

    def score(self, question: str, response: str) -> Dialogue:
        """Asks for the score of a response."""
        return self._dialogue("pointwise", question=question, response=response)

    def pair(self, question: str, first: str, second: str) -> Dialogue:
        """Asks which response is better."""
        return self._dialogue("pairwise", question=question, first=first, second=second)

    def _dialogue(self, setting: Setting, **values: str) -> Dialogue:
        user = fill(self._dialect.wordings[setting][0], {**self._rubric, **values})
        return Dialogue(self._dialect.system, user, self._dialect.answers[setting].reason[:1])


def fill(wording: str, values: Mapping[str, str]) -> str:
    """A wording with its values; lines that ask for anything else are left out."""
    lines = []
    for line in wording.split("\n"):
        filled = line
        for name, value in values.items():
            filled = filled.replace(f"{{{name}}}", value)
        if "{" not in filled:
            lines.append(filled)
    return "\n".join(lines)
