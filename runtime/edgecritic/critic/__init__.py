"""A critic: loaded once, asked from any thread, closed.

::

    submitting.py   requests go in, futures come out; the twins for asyncio
    single.py       one judgement: score, compare, and as they happen
    several.py      judgements about one picture: score_many, compare_all, rank, best_of_n
    lifetime.py     `Critic`: all of that, with loading and closing
"""

from edgecritic.critic.lifetime import Critic
from edgecritic.critic.several import Method

__all__ = ["Critic", "Method"]
