"""Adaptive rankings on an engine: the same order for less, and nothing left open."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from PIL import Image

from edgecritic.backends.base import CancelToken
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History
from edgecritic.errors import ContextOverflowError
from hashed_critic import hashed_critic, left_open, words

QUESTION = "Which is longest?"
RESPONSES = ["a", "abcd", "abc", "ab", "abcde"]
PICTURE = Image.new("RGB", (20, 20), "red")


def longest(history: History) -> Mapping[int, float]:
    """Prefers the longer response, surely."""
    prompt, _, said = words(history).rpartition(b"assistant\n")
    if not said.endswith(b"Better: "):
        return {ord("\n"): 1.0}
    first, second = prompt.split(b"First response: ")[1].split(b"\nSecond response: ")
    lead = 2.0 * (len(first) - len(second.split(b"\n")[0]))
    return {ord("f"): lead, ord("s"): -lead, ord("t"): -3.0}


def test_the_order_of_all_pairs_for_half_of_them_and_one_prefix() -> None:
    critic, backend = hashed_critic(script=longest)
    full = critic.rank(PICTURE, QUESTION, RESPONSES)
    critic.forget()
    before = backend.decoded
    found = critic.rank(PICTURE, QUESTION, RESPONSES, method="adaptive")
    assert full.order == found.order == (4, 1, 2, 3, 0)
    assert full.judgements == 20
    assert found.judgements <= 10
    assert found.confidence is not None
    assert found.confidence >= 0.95
    assert found.usage.decoded_tokens == backend.decoded - before <= full.usage.decoded_tokens
    assert found.rewards == pytest.approx(full.rewards, abs=1.5)
    judged = sum(len(preference.orders) for _, _, preference in found.preferences)
    assert judged == found.judgements
    assert all(preference.critic == "hashed-1" for _, _, preference in found.preferences)
    assert critic.best_of_n(PICTURE, QUESTION, RESPONSES, method="adaptive") == 4
    assert left_open(critic, backend) == 0


@pytest.mark.parametrize("max_sequences", [1, 2, 3, 4])
def test_few_sequences_give_the_same_ranking(max_sequences: int) -> None:
    critic, _ = hashed_critic(script=longest)
    few, backend = hashed_critic(
        script=longest, options=EngineOptions(max_sequences=max_sequences, n_ctx=400)
    )
    wanted = critic.rank(PICTURE, QUESTION, RESPONSES, method="adaptive")
    assert few.rank(PICTURE, QUESTION, RESPONSES, method="adaptive").rewards == wanted.rewards
    assert left_open(few, backend) == 0


def test_a_response_that_does_not_fit_is_refused() -> None:
    critic, backend = hashed_critic(script=longest, options=EngineOptions(n_ctx=400))
    with pytest.raises(ContextOverflowError, match="400 available"):
        critic.rank(None, QUESTION, ["a", "b", "c", "d", "e" * 400], method="adaptive")
    assert left_open(critic, backend) == 0


def test_equal_responses_need_no_judgement() -> None:
    critic, _ = hashed_critic(script=longest)
    ranking = critic.rank(None, QUESTION, ["a", "a", "a"], method="adaptive")
    assert (ranking.status, ranking.order, ranking.judgements) == ("ok", (0, 1, 2), 0)
    assert (ranking.rewards, ranking.confidence) == ((0, 0, 0), 1)


def test_contradicting_preferences_are_told() -> None:
    beats = {(b"x", b"y"), (b"y", b"z"), (b"z", b"x")}

    def circle(history: History) -> Mapping[int, float]:
        prompt = words(history).rpartition(b"assistant\n")[0]
        first, second = prompt.split(b"First response: ")[1].split(b"\nSecond response: ")
        wins = (first, second.split(b"\n")[0]) in beats
        return {ord("f" if wins else "s"): 9.0}

    critic, _ = hashed_critic(script=circle)
    assert critic.rank(None, QUESTION, ["x", "y", "z"]).cycles == ((0, 1, 2),)
    found = critic.rank(None, QUESTION, ["x", "y", "z"], method="adaptive")
    assert found.cycles == ((0, 1, 2),)


def test_cancelled_between_rounds() -> None:
    cancel = CancelToken()

    def script(history: History) -> Mapping[int, float]:
        cancel.cancel()
        return longest(history)

    critic, backend = hashed_critic(script=script)
    ranking = critic.rank(None, QUESTION, RESPONSES, method="adaptive", cancel=cancel)
    assert (ranking.status, ranking.order) == ("cancelled", ())
    assert left_open(critic, backend) == 0
