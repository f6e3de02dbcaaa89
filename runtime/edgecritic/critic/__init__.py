"""A critic: loaded once, asked from any thread, closed.

::

    submitting.py     requests go in, futures come out
    single.py         one judgement: score, compare, and as they happen
    several.py        judgements about one picture: score_many, compare_all, rank, best_of_n
    asynchronous.py   the twins for asyncio: ascore, arank, ...
    lifetime.py       `Critic`: all of that, with loading and closing
"""

from edgecritic.critic.lifetime import Critic
from edgecritic.judging.plans import Method

__all__ = ["Critic", "Method"]
