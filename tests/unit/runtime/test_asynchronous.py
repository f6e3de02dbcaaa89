"""The twins for asyncio: what the others say, without holding up the loop; and stopping them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import get_args

import pytest
from PIL import Image

from edgecritic import CancelToken, InputError, QueueFullError, VerdictParseError
from edgecritic.backends.options import EngineOptions
from edgecritic.critic import Critic
from edgecritic.errors import BackendUnavailableError, ContextOverflowError
from edgecritic.judging.writing import ChatOptions
from edgecritic.prompts.conversation import Turn
from hashed_critic import PROFILE, REASON, Stepping, hashed_critic, left_open

QUESTION = "Which digit is this?"
PICTURE = Image.new("RGB", (20, 20), "red")
RESPONSES = ["a", "bcd", "efgh"]
WAIT = 30
VERBS = {  # `ask` waits for what `submit` asks for
    name
    for name, _ in inspect.getmembers(Critic, inspect.isfunction)
    if not name.startswith(("_", "submit")) and name != "ask"
}
TWINS = {name for name in VERBS if name.startswith("a") and name[1:] in VERBS}


@pytest.mark.parametrize("name", sorted(VERBS - TWINS))
def test_a_twin_takes_the_same_and_gives_the_same(name: str) -> None:
    one = inspect.signature(getattr(Critic, name), eval_str=True)
    twin = inspect.signature(getattr(Critic, f"a{name}"), eval_str=True)
    assert twin.parameters == one.parameters
    if name.endswith("stream"):
        item, _, _ = get_args(one.return_annotation)
        assert twin.return_annotation == AsyncGenerator[item, None]
    else:
        assert twin.return_annotation == one.return_annotation


def test_all_say_what_the_others_say() -> None:
    critic, backend = hashed_critic()
    about = PICTURE, QUESTION

    async def asked() -> None:
        verdict, preference, verdicts, compared = await asyncio.gather(
            critic.ascore(*about, "a", rationale=False),
            critic.acompare(*about, "a", "bcd", rationale=False),
            critic.ascore_many(*about, RESPONSES),
            critic.acompare_all(*about, RESPONSES, pairs=[(2, 0)]),
        )
        assert verdict.score == critic.score(*about, "a", rationale=False).score
        alone = critic.compare(*about, "a", "bcd", rationale=False)
        assert preference.probabilities == alone.probabilities
        assert [one.score for one in verdicts] == [
            one.score for one in critic.score_many(*about, RESPONSES)
        ]
        ((i, j, one),) = compared
        assert (i, j) == (2, 0)
        assert one.status == "ok"
        for method in ("pairwise", "adaptive", "pointwise"):
            ranking = await critic.arank(*about, RESPONSES, method=method)
            expected = critic.rank(*about, RESPONSES, method=method)
            assert (ranking.order, ranking.rewards) == (expected.order, expected.rewards)
        assert await critic.abest_of_n(*about, RESPONSES) == critic.best_of_n(*about, RESPONSES)

    asyncio.run(asked())
    assert left_open(critic, backend) == 0


def test_streams_tell_the_same_pieces() -> None:
    critic, backend = hashed_critic()
    said: list[str] = []

    async def heard() -> None:
        pieces = [piece async for piece in critic.ascore_stream(PICTURE, QUESTION, "a")]
        assert pieces[1:-1] == list(critic.score_stream(PICTURE, QUESTION, "a"))[1:-1]
        verdict = await critic.ascore(PICTURE, QUESTION, "a", on_text=said.append)
        assert "".join(said) == verdict.rationale == REASON.strip()
        pair = [piece async for piece in critic.acompare_stream(None, QUESTION, "a", "b")]
        assert pair[1:-1] == list(critic.compare_stream(None, QUESTION, "a", "b"))[1:-1]
        turns = [Turn("user", "Hello")]
        options = ChatOptions(max_tokens=4)
        chat = [piece async for piece in critic.achat_stream(None, turns, options)]
        assert len(chat) == len(list(critic.chat_stream(None, turns, options)))

    asyncio.run(heard())
    assert left_open(critic, backend) == 0


def test_the_loop_is_not_held_up() -> None:
    backend = Stepping(freely=0)
    critic = Critic(backend, PROFILE)

    async def ask() -> None:
        ranking = asyncio.create_task(critic.arank(None, QUESTION, RESPONSES))
        while not backend.reached.is_set():
            await asyncio.sleep(0.005)
        backend.permits.release(1000)
        assert (await asyncio.wait_for(ranking, WAIT)).status == "ok"
        await critic.aforget()
        assert backend.open_sequences == 0

    asyncio.run(ask())


ASKING: list[Callable[[Critic], Awaitable[object]]] = [
    lambda critic: critic.ascore(None, QUESTION, "a"),
    lambda critic: critic.acompare(None, QUESTION, "a", "b"),
    lambda critic: critic.ascore_many(None, QUESTION, RESPONSES, rationale=True),
    lambda critic: critic.acompare_all(None, QUESTION, RESPONSES, rationale=True),
    lambda critic: critic.arank(None, QUESTION, RESPONSES, method="adaptive"),
    lambda critic: critic.abest_of_n(None, QUESTION, RESPONSES),
]


@pytest.mark.parametrize("ask", ASKING)
def test_cancelling_the_task_stops_the_judgements(
    ask: Callable[[Critic], Awaitable[object]],
) -> None:
    backend = Stepping(freely=1)
    critic = Critic(backend, PROFILE)

    async def leave() -> None:
        task = asyncio.ensure_future(ask(critic))
        while not backend.reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await critic.aforget()  # returns once nobody computes: no permit was given

    asyncio.run(asyncio.wait_for(leave(), WAIT))
    assert backend.open_sequences == 0


def test_a_token_ends_them_with_what_was_known() -> None:
    cancel = CancelToken()
    cancel.cancel()
    critic, _ = hashed_critic()

    async def stopped() -> None:
        verdicts = await critic.ascore_many(None, QUESTION, RESPONSES, cancel=cancel)
        assert {one.status for one in verdicts} == {"cancelled"}
        assert (await critic.arank(None, QUESTION, RESPONSES, cancel=cancel)).status == "cancelled"
        with pytest.raises(VerdictParseError):
            await critic.abest_of_n(None, QUESTION, RESPONSES, cancel=cancel)

    asyncio.run(stopped())


def test_leaving_a_stream_stops_it() -> None:
    critic, backend = hashed_critic()

    async def leave() -> None:
        stream = critic.ascore_stream(None, QUESTION, "a")
        await anext(stream)
        await stream.aclose()
        await critic.aforget()

    asyncio.run(leave())
    assert backend.open_sequences == 0


def test_what_is_refused_is_raised_where_it_is_awaited() -> None:
    critic, _ = hashed_critic(options=EngineOptions(n_ctx=600))

    async def refused() -> None:
        with pytest.raises(ContextOverflowError):
            await critic.ascore_many(None, QUESTION, ["a", "x" * 900, "b"])
        with pytest.raises(InputError, match="at least two"):
            await critic.arank(None, QUESTION, ["a"])
        with pytest.raises(InputError, match="method is"):
            await critic.arank(None, QUESTION, RESPONSES, method="best")
        async with critic:
            await critic.ascore(None, QUESTION, "a", rationale=False)
        with pytest.raises(BackendUnavailableError, match="closed"):
            await critic.ascore(None, QUESTION, "a")

    asyncio.run(refused())
    assert critic.closed


def test_a_full_queue_is_told_at_once() -> None:
    backend = Stepping(freely=0)
    critic = Critic(backend, PROFILE, queue_limit=1)

    async def crowd() -> None:
        running = asyncio.ensure_future(critic.ascore(None, QUESTION, "a"))
        while not backend.reached.is_set():
            await asyncio.sleep(0.005)
        waiting = asyncio.ensure_future(critic.ascore(None, QUESTION, "b"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await critic.ascore(None, QUESTION, "c")
        backend.permits.release(1000)
        await asyncio.gather(running, waiting)

    asyncio.run(asyncio.wait_for(crowd(), WAIT))
