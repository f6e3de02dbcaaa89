"""From a rendered prompt to the messages of a chat."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgecritic.prompts import Control, Dialect, ImageSlot, Prompt
from edgecritic.remote.events import JsonObject

_ROLES = ("system", "user", "assistant")
# How model families write control tokens, and what engines replace by pictures. An endpoint
# recognises them in any text, so a response could close its own turn and speak for the judge.
_CONTROL = re.compile(
    r"<(?=[|\uff5c])"  # <|im_end|>, <|eot_id|>, DeepSeek's full-width bars
    r"|<(?=/?(?:s|bos|eos|pad|unk|image|video|audio|think|start_of_turn|end_of_turn)>)"
    r"|<(?=(?:start_of_image|end_of_image|image_soft_token|__media__|__image__)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|IMG|IMG_BREAK|IMG_END)\])"
)


def defused(text: str) -> str:
    """`text` with a blank behind what would begin a control token, as in ``< |im_end|>``."""
    return _CONTROL.sub(lambda match: match[0] + " ", text)


def chat(
    prompt: Prompt, dialect: Dialect, pictures: Sequence[str], form: str = ""
) -> list[JsonObject]:
    """The messages that ask what `prompt` asks; the endpoint's own template frames the turns.

    Args:
        prompt: rendered in `dialect`.
        dialect: tells where its turns begin.
        pictures: their data URLs.
        form: what to add to the user's turn.

    Returns:
        A system message where the dialect has one, and the user's: text, or parts if there are
        pictures.
    """
    opened = {dialect.turn_open.replace("{role}", role): role for role in _ROLES}
    turns: list[tuple[str, list[JsonObject]]] = []
    for piece in prompt.pieces:
        if isinstance(piece, Control):
            # Others frame pictures, which is the endpoint's template's business.
            for text, role in opened.items():
                if piece.text.endswith(text):
                    turns.append((role, []))
        elif isinstance(piece, ImageSlot):
            turns[-1][1].append({"type": "image_url", "image_url": {"url": pictures[piece.index]}})
        else:
            # What stands between pictures and text is the endpoint's template's business.
            turns[-1][1].append({"type": "text", "text": defused(piece.text).removeprefix("\n")})
    *asked, (_, _) = turns  # the last turn is the assistant's, and empty
    asked[-1][1][-1]["text"] += form
    return [{"role": role, "content": _content(parts)} for role, parts in asked]


def _content(parts: list[JsonObject]) -> str | list[JsonObject]:
    """Text alone is a string, which every endpoint takes."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def asked_form(prompt: Prompt, dialect: Dialect) -> str:
    """Words that ask for the verdict first, in the dialect's own form.

    For endpoints where the answer's beginning cannot be given.
    """
    answer = dialect.answers[prompt.setting]
    if prompt.setting == "pointwise":
        what = f"N is a whole number from {prompt.outcomes[0]} to {prompt.outcomes[-1]}."
        stated = answer.stated("N")
    else:
        first, second, tie = (dialect.labels[name] for name in ("first", "second", "tie"))
        what = f"WHICH is {first}, {second} or {tie}."
        stated = answer.stated("WHICH")
    return f"\nAnswer in exactly this form, the verdict first:\n{stated} ...\n{what}"


def asked_reason(messages: Sequence[JsonObject], answer: str) -> list[JsonObject]:
    """The chat that asks why, when the answer has been given as `answer`."""
    return [
        *messages,
        {"role": "assistant", "content": answer},
        {
            "role": "user",
            "content": "Give the reason for this verdict in one or two sentences, nothing else.",
        },
    ]
