"""How to reach a remote critic."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from edgecritic.errors import InputError

Prefill: TypeAlias = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How to reach a remote critic, and how much to ask of it.

    Attributes:
        api_key: sent as a bearer token; when left out, ``EDGECRITIC_API_KEY`` of the environment,
            and ``OPENAI_API_KEY`` for OpenAI's own host and the one in ``OPENAI_BASE_URL``.
        prefill: whether the verdict's lead-in (``Score:``) may be given as the beginning of the
            model's own turn, as vLLM, SGLang and llama.cpp's server allow. ``"auto"`` finds out
            by two requests of one token; ``"always"`` trusts the endpoint; ``"never"`` asks for
            the form in words.
        allow_http: allow plain http to other hosts than this one, for pictures and key alike.
        timeout: seconds of waiting for a connection, for the whole of an answer, or for the next
            piece of one that is streamed; above 0.
        retries: further attempts after a broken connection, 429 or 5xx; 0 to 10.
        parallel: requests that one judgement may have under way at once, at least 1.
        longest_side: pixels; larger pictures are shrunk to it, at least 16.
        max_verdict_tokens: most tokens until the verdict must have been said; raise it for a
            model that thinks first, at least 8.

    Raises:
        InputError: a value is out of range.
    """

    api_key: str | None = field(default=None, repr=False)
    prefill: Prefill = "auto"
    allow_http: bool = False
    timeout: float = 120.0
    retries: int = 3
    parallel: int = 4
    longest_side: int = 2048
    max_verdict_tokens: int = 32

    def __post_init__(self) -> None:
        if self.prefill not in get_args(Prefill):
            raise InputError(
                f"prefill is {self.prefill!r}", f"give one of {', '.join(get_args(Prefill))}"
            )
        if not 0 < self.timeout < math.inf:
            raise InputError(f"timeout is {self.timeout}", "give seconds, above 0")
        if not 0 <= self.retries <= 10:
            raise InputError(f"retries is {self.retries}", "give 0 to 10")
        for name, low in (("parallel", 1), ("longest_side", 16), ("max_verdict_tokens", 8)):
            value: int = getattr(self, name)
            if value < low:
                raise InputError(f"{name} is {value}", f"give {low} or more")
