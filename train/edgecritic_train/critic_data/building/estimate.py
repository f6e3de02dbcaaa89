"""What a build will cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgecritic.errors import InputError
from edgecritic.prompts import Dialect, render
from edgecritic_train.critic_data.building.plan import Ask

_CHARACTERS_PER_TOKEN = 4.0
"""Of English, in the tokenizers of today's models; other languages take more tokens."""
_EXPECTED_REASON_TOKENS = 90
_VERDICT_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Prices:
    """What an endpoint charges, in any currency, per million tokens.

    Attributes:
        prompt: of tokens read.
        output: of tokens written.
        image_tokens: that a picture takes.

    Raises:
        InputError: a number is below 0.
    """

    prompt: float = 0.0
    output: float = 0.0
    image_tokens: int = 1000

    def __post_init__(self) -> None:
        if min(self.prompt, self.output, self.image_tokens) < 0:
            raise InputError("a price or a picture's tokens are below 0", "give 0 or more")

    @property
    def known(self) -> bool:
        """Something is charged, so costs can be told."""
        return self.prompt > 0 or self.output > 0

    def cost(self, prompt_tokens: int, output_tokens: int) -> float:
        """The charge for so many tokens."""
        return (prompt_tokens * self.prompt + output_tokens * self.output) / 1e6


@dataclass(slots=True)
class Estimate:
    """Sums over the asks of a build.

    Attributes:
        cases: that are asked about.
        asks: all of them.
        answered: those that the ledger knows already.
        requests: that remain.
        prompt_tokens: that remain, estimated.
        output_tokens: that remain, estimated.
    """

    cases: int = 0
    asks: int = 0
    answered: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def add(self, ask: Ask, dialect: Dialect, requests: int, prices: Prices) -> None:
        """Count an ask that remains."""
        text = render(ask.task, dialect, ask.wording).text
        prompt = len(text) / _CHARACTERS_PER_TOKEN + len(ask.case.images) * prices.image_tokens
        self.requests += requests
        self.prompt_tokens += round(prompt * requests)
        self.output_tokens += _EXPECTED_REASON_TOKENS + _VERDICT_TOKENS * (requests - 1)

    def lines(self, prices: Prices, per_minute: float | None) -> Iterator[str]:
        """The estimate for people."""
        yield f"{self.cases:,} cases make {self.asks:,} judgements; {self.answered:,} are known"
        yield (
            f"to ask: {self.requests:,} requests, about {self.prompt_tokens:,} tokens read and "
            f"{self.output_tokens:,} written (a picture counts {prices.image_tokens:,})"
        )
        if prices.known:
            yield f"about {prices.cost(self.prompt_tokens, self.output_tokens):,.2f} at your prices"
        else:
            yield "cost unknown: give --price-in and --price-out, per million tokens"
        if per_minute:
            yield f"at least {self.requests / per_minute:,.0f} minutes at {per_minute:g} a minute"
