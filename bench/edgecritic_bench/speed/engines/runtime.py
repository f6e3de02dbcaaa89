"""edgecritic itself, by its public interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgecritic import CompareRequest, Critic, ScoreRequest, Verdict
from edgecritic_bench.speed.engines.base import Setup
from edgecritic_bench.speed.tasks import QUESTION, Asked


class Runtime:
    """A loaded critic.

    Args:
        setup: how to run.
        backend: name of the engine in it.
        deterministic: see `Critic.load`.
    """

    alone = False

    def __init__(self, setup: Setup, backend: str, *, deterministic: bool = False) -> None:
        self.critic = Critic.load(
            setup.bundle(),
            backend=backend,
            device="gpu" if setup.gpu else "cpu",
            threads=setup.threads,
            n_ctx=setup.n_ctx,
            queue_limit=4096,
            deterministic=deterministic,
        )
        self.tokens: dict[str, int] = {}

    def scores(self, picture: bytes, responses: Sequence[str]) -> list[str]:
        return self._levels(self.critic.score_many(picture, QUESTION, responses))

    def pairs(self, picture: bytes, pairs: Sequence[tuple[str, str]]) -> list[str]:
        requests = [
            CompareRequest(picture, QUESTION, first, second, orders="given", rationale=False)
            for first, second in pairs
        ]
        found = [f.result() for f in self.critic.submit_many(requests)]
        return [_likeliest(preference.probabilities) for preference in found]

    def unrelated(self, asked: Sequence[Asked]) -> list[str]:
        requests = [
            ScoreRequest(one.picture, one.question, one.response, rationale=False) for one in asked
        ]
        return self._levels([f.result() for f in self.critic.submit_many(requests)])

    def _levels(self, verdicts: Sequence[Verdict]) -> list[str]:
        usage = verdicts[0].usage
        self.tokens = {"image": usage.image_tokens, "prompt": usage.prompt_tokens}
        return [_likeliest(verdict.probabilities) for verdict in verdicts]


def _likeliest(probabilities: Mapping[Any, float]) -> str:
    """``unparsed`` where there are none."""
    return str(max(probabilities, key=probabilities.__getitem__, default="unparsed"))
