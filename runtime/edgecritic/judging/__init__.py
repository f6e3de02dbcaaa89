"""One judgement from prompt to reason, over the `Backend` Protocol; numbers to results."""

from edgecritic.judging.base import Judging, Options, Orders
from edgecritic.judging.judge import Judge

__all__ = ["Judge", "Judging", "Options", "Orders"]
