"""One judgement from prompt to reason, over the `Backend` Protocol; numbers to results."""

from edgecritic.judging.judge import Judge, Options, Orders

__all__ = ["Judge", "Options", "Orders"]
