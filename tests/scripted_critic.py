"""A whole critic whose engine plays a script: it likes what says "right", and says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgecritic.backends.scripted import History, Script, ScriptedBackend
from edgecritic.critic import Critic
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry

REASON = "the picture shows it, déjà vu"
CHAT = b"I judge answers."
END = 256
CERTAIN = {True: (9.0, 1.0), False: (1.0, 9.0)}


def scripted_critic(
    reason: str = REASON,
    meanwhile: Callable[[bytes], None] = lambda _prompt: None,
    around: Callable[[Script], Script] = lambda script: script,
) -> Critic:
    """Scores 9 for responses with b"right" in them and 2 for others; prefers the former.

    `meanwhile` is called with the prompt whenever a token's logits are asked for; `around` gets the
    script and returns the one that is played.
    """
    answer = (" " + reason).encode()

    def script(history: History) -> Mapping[int, float]:
        read = bytes(token for token in history if isinstance(token, int) and token < END)
        prompt, assistant = read.rsplit(b"assistant\n", 1)
        meanwhile(prompt)
        if b"Reason:" in assistant:
            written = len(assistant.split(b"Reason:", 1)[1])
            return {answer[written] if written < len(answer) else END: 30.0}
        if assistant.endswith(b"Better: "):
            _, _, responses = prompt.partition(b"First response: ")  # as the first wording has it
            first, _, second = responses.partition(b"\nSecond response: ")
            return _preferring(b"right" in first, b"right" in second)
        if assistant.endswith(b"Score: "):
            return _scoring(b"right" in prompt.split(b"\nResponse: ")[-1])
        if b"Score: " in assistant:  # where a level may have more digits
            return {ord("\n"): 30.0}
        if CHAT.startswith(assistant):  # it was asked as a chat model
            return {CHAT[len(assistant)] if len(assistant) < len(CHAT) else END: 30.0}
        return {ord('"'): 2.0, ord("}"): 1.0}

    backend = ScriptedBackend(around(script))
    geometry = ImageGeometry(tile_size=28, patch_size=14, pinpoints=((28, 28), (28, 56)))
    vision = VisionProfile(geometry, np.zeros(backend.info.n_embd, np.float32), "0" * 64)
    return Critic(backend, CriticProfile("scripted-1", load_dialect(), vision=vision))


def _scoring(right: bool) -> Mapping[int, float]:
    nine, two = CERTAIN[right]
    return {ord("9"): nine, ord("2"): two}


def _preferring(first: bool, second: bool) -> Mapping[int, float]:
    if first == second:
        return {ord("t"): 9.0, ord("f"): 1.0, ord("s"): 1.0}
    for_first, for_second = CERTAIN[first]
    return {ord("f"): for_first, ord("s"): for_second, ord("t"): 1.0}
