"""The queue, the engine's thread and its watch: shared batches, failures, cancelling, listeners."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile
from typing import ClassVar

import pytest
from PIL import Image

from edgecritic import CompareRequest, Progress, ScoreRequest, Verdict
from edgecritic.backends.base import Append, CancelToken, FloatArray, ImageSpan
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, ScriptedBackend
from edgecritic.critic import Critic
from edgecritic.errors import (
    BackendUnavailableError,
    ContextOverflowError,
    InputError,
    QueueFullError,
)
from edgecritic.manifest import Calibration
from edgecritic.pictures import ImageInput
from edgecritic.vision import FeatureCache
from hashed_critic import (
    PROFILE,
    REASON,
    Stepping,
    hashed_critic,
    left_open,
    verdict_script,
    words,
)

QUESTION = "Which digit is this?"
WAIT = 30


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (20, 20), colour)


def score(
    response: str = "x", *, image: ImageInput = None, rationale: bool = False
) -> ScoreRequest:
    return ScoreRequest(image, QUESTION, response, rationale=rationale)


def stepping_critic(
    freely: int = 0, *, queue_limit: int = 256, patience: float = 600
) -> tuple[Critic, Stepping]:
    backend = Stepping(freely=freely)
    return Critic(backend, PROFILE, queue_limit=queue_limit, patience=patience), backend


# --- together ----------------------------------------------------------------------------------


def test_what_waits_is_judged_together_and_gives_what_each_gives_alone() -> None:
    requests = [
        *(score(r, image=picture(c), rationale=True) for r in "abc" for c in ("red", "blue")),
        *(CompareRequest(picture("red"), QUESTION, "a", r) for r in "bcd"),
    ]
    alone, one_by_one = hashed_critic()
    expected = [alone.submit(request).result(WAIT) for request in requests]
    critic, backend = hashed_critic()
    found = [future.result(WAIT) for future in critic.submit_many(requests)]
    for one, other in zip(found, expected, strict=True):
        assert replace(one, usage=other.usage, timings=other.timings) == other
    assert backend.batches < one_by_one.batches / 4
    assert sum(one.usage.decoded_tokens for one in found) <= backend.decoded
    assert left_open(critic, backend) == 0
    assert backend.free_cells == backend.info.n_ctx


def test_reasons_are_generated_together() -> None:
    critic, backend = hashed_critic()
    futures = critic.submit_many([score(r, rationale=True) for r in "abcdefgh"])
    assert {future.result(WAIT).rationale for future in futures} == {REASON.strip()}
    assert backend.batches < len(REASON.encode()) + 20


@pytest.mark.parametrize("max_sequences", [1, 2, 5])
def test_few_sequences_and_cells_give_the_same(max_sequences: int) -> None:
    critic, _ = hashed_critic()
    few, backend = hashed_critic(options=EngineOptions(max_sequences=max_sequences, n_ctx=330))
    requests = [score(r, image=picture(c), rationale=True) for r in "ab" for c in ("red", "blue")]
    expected = [future.result(WAIT) for future in critic.submit_many(requests)]
    found = [future.result(WAIT) for future in few.submit_many(requests)]
    for one, other in zip(found, expected, strict=True):
        assert (one.score, one.rationale) == (other.score, other.rationale)
    assert left_open(few, backend) == 0


def test_threads_share_one_engine() -> None:
    critic, backend = hashed_critic()
    wanted = {text: critic.score(None, QUESTION, text).score for text in "abcdefghijkl"}
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda text: critic.score(None, QUESTION, text).score, wanted))
    assert found == list(wanted.values())
    assert left_open(critic, backend) == 0


def test_many_scores_and_all_pairs() -> None:
    critic, _ = hashed_critic()
    verdicts = critic.score_many(picture("red"), QUESTION, ["a", "b"], rationale=True)
    for text, verdict in zip("ab", verdicts, strict=True):
        alone = critic.score(picture("red"), QUESTION, text)
        assert replace(verdict, usage=alone.usage, timings=alone.timings) == alone
    found = critic.compare_all(None, QUESTION, ["a", "b", "c"])
    assert [(i, j) for i, j, _ in found] == [(0, 1), (0, 2), (1, 2)]
    for i, j, preference in found:
        alone_pair = critic.compare(None, QUESTION, "abc"[i], "abc"[j], rationale=False)
        assert preference.probabilities == alone_pair.probabilities
    with pytest.raises(InputError, match="at least one response"):
        critic.score_many(None, QUESTION, [])
    with pytest.raises(InputError, match="at least two responses"):
        critic.compare_all(None, QUESTION, ["a"])


def test_a_second_question_does_not_decode_the_picture_again() -> None:
    critic, backend = hashed_critic()
    image = Image.new("RGB", (20, 50), "red")
    first = critic.score(image, "one?", "x", rationale=False).usage
    second = critic.score(image, "another one?", "y", rationale=False).usage
    assert first.reused_tokens == 0
    assert second.reused_tokens >= second.image_tokens > 0
    assert second.decoded_tokens + second.reused_tokens == second.prompt_tokens + len("Score: ") + 1
    critic.forget()
    again = critic.score(image, "another one?", "y", rationale=False).usage
    assert again.reused_tokens == 0
    assert backend.decoded == sum(u.decoded_tokens for u in (first, second, again))


@pytest.mark.parametrize(("kept", "n_held"), [(None, 2), (200, 1), (0, 0)])
def test_what_is_kept_is_bounded_in_bytes(kept: int | None, n_held: int) -> None:
    critic, backend = hashed_critic(options=EngineOptions(n_ctx=500), prefix_bytes=kept)
    colours = ["red", "green", "blue"]
    for colour in colours:  # 174 cells each, of a byte
        critic.score(picture(colour), QUESTION, "x", rationale=False)
    held = critic._judging._pool.held
    bound = 500 if kept is None else kept
    assert sum(one.n_cells for one in held) * backend.info.cell_bytes <= bound
    assert len(held) == n_held
    with pytest.raises(InputError, match="prefix_bytes is -1"):
        Critic(backend, PROFILE, prefix_bytes=-1)


def test_what_is_kept_of_a_prompt_does_not_hold_features_of_its_picture() -> None:
    class Noting(ScriptedBackend):
        seen: ClassVar[list[weakref.ref[FloatArray]]] = []

        def append(
            self, appends: Sequence[Append], cancel: CancelToken | None = None
        ) -> list[FloatArray | None]:
            spans = [span for append in appends for span in append.spans]
            self.seen += [weakref.ref(s.features) for s in spans if isinstance(s, ImageSpan)]
            return super().append(appends, cancel)

    backend = Noting(verdict_script)
    critic = Critic(backend, PROFILE, cache=FeatureCache(0))
    critic.score(picture("red"), QUESTION, "x", rationale=False)
    assert critic._judging._pool.held
    assert backend.seen
    gc.collect()
    until(lambda: all(one() is None for one in backend.seen))
    again = critic.score(picture("red"), "another one?", "x", rationale=False).usage
    assert again.reused_tokens >= again.image_tokens > 0


# --- refused and failed --------------------------------------------------------------------------


def test_a_full_queue_says_so_at_once() -> None:
    critic, backend = stepping_critic(queue_limit=3)
    first = critic.submit(score("first"))
    assert backend.reached.wait(WAIT)
    waiting = critic.submit_many([score("a"), score("b"), score("c")])
    assert (critic.queue.waiting, critic.queue.limit) == (3, 3)
    with pytest.raises(QueueFullError, match="3 requests wait and at most 3") as caught:
        critic.submit(score("d"))
    assert (caught.value.waiting, caught.value.limit) == (3, 3)
    assert "later" in str(caught.value) or "again" in caught.value.hint
    backend.permits.release(100)
    assert all(future.result(WAIT).status == "ok" for future in [first, *waiting])


def test_what_is_too_long_fails_alone() -> None:
    critic, backend = hashed_critic(options=EngineOptions(n_ctx=600))
    good, long, other = critic.submit_many([score("a"), score("x" * 900), score("b")])
    assert good.result(WAIT).status == other.result(WAIT).status == "ok"
    with pytest.raises(ContextOverflowError):
        long.result(WAIT)
    assert left_open(critic, backend) == 0


class Failing(ScriptedBackend):
    """Fails wherever it reads a certain word, and loses what it was told in the same call."""

    error: type[Exception] = BackendUnavailableError

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        rows = super().append(appends, cancel)
        if any(b"bomb" in words(self._histories[append.sequence]) for append in appends):
            raise self.error("the engine is out of memory")
        return rows


@pytest.mark.parametrize("error", [BackendUnavailableError, MemoryError, RuntimeError])
def test_an_engine_that_fails_for_one_request_is_there_for_the_others(
    error: type[Exception],
) -> None:
    backend = Failing(verdict_script)
    backend.error = error
    critic = Critic(backend, PROFILE)
    good, bad, other = critic.submit_many(
        [score("a", rationale=True), score("bomb"), score("b", rationale=True)]
    )
    assert good.result(WAIT).rationale == other.result(WAIT).rationale == REASON.strip()
    with pytest.raises(BackendUnavailableError, match="out of memory"):
        bad.result(WAIT)
    assert critic.score(None, QUESTION, "c").status == "ok"
    assert left_open(critic, backend) == 0
    assert backend.free_cells == backend.info.n_ctx


class Hanging(ScriptedBackend):
    """Does not come back from a batch until it is let go."""

    def __init__(self) -> None:
        super().__init__(verdict_script)
        self.go_on = threading.Event()

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        self.go_on.wait(WAIT)
        return super().append(appends, cancel)


def test_an_engine_that_hangs_is_an_error() -> None:
    backend = Hanging()
    critic = Critic(backend, PROFILE, patience=0.1)
    futures = critic.submit_many([score("a"), score("b")])
    for future in futures:
        with pytest.raises(BackendUnavailableError, match=r"has not answered for 0\.1 s"):
            future.result(WAIT)
    with pytest.raises(BackendUnavailableError, match="has not answered"):
        critic.score(None, QUESTION, "c")
    backend.go_on.set()
    critic.close()


def test_a_fork_of_the_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    critic, _ = hashed_critic()
    assert critic.score(None, QUESTION, "x").status == "ok"
    with monkeypatch.context() as patched:
        process = os.getpid() + 1
        patched.setattr("edgecritic.judging.engine_thread.os.getpid", lambda: process)
        with pytest.raises(BackendUnavailableError, match="fork"):
            critic.score(None, QUESTION, "x")
    assert critic.score(None, QUESTION, "x").status == "ok"


def test_a_critic_that_nobody_has_any_more_frees_its_engine() -> None:
    class Noting(ScriptedBackend):
        closed = threading.Event()

        def close(self) -> None:
            self.closed.set()
            super().close()

    backend = Noting(verdict_script)
    future = Critic(backend, PROFILE).submit(score())
    assert future.result(WAIT).status == "ok"  # although the critic is dropped meanwhile
    del future
    gc.collect()
    assert backend.closed.wait(WAIT)


# --- cancelled ---------------------------------------------------------------------------------


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_cancelled_in_a_batch_while_its_mates_go_on() -> None:
    critic, backend = stepping_critic()
    cancel = CancelToken()
    mate = critic.submit(score("a", rationale=True))
    assert backend.reached.wait(WAIT)
    stopped = critic.submit(score("b"), cancel=cancel)
    backend.permits.release(2)
    until(lambda: critic.queue.waiting == 0)
    cancel.cancel()
    assert stopped.result(WAIT).status == "cancelled"  # nobody gave the engine a permit
    backend.permits.release(1000)
    assert mate.result(WAIT).rationale == REASON.strip()
    assert left_open(critic, backend) == 0


def test_cancelled_while_it_waits() -> None:
    critic, backend = stepping_critic()
    running = critic.submit(score("a"))
    assert backend.reached.wait(WAIT)
    cancel = CancelToken()
    waiting, dropped = critic.submit(score("b"), cancel=cancel), critic.submit(score("c"))
    cancel.cancel()
    assert dropped.cancel()
    found = waiting.result(WAIT)
    assert (found.status, found.critic) == ("cancelled", "hashed-1")
    with pytest.raises(CancelledError):
        dropped.result(WAIT)
    until(lambda: critic.queue.waiting == 0)
    backend.permits.release(100)
    assert running.result(WAIT).status == "ok"


def test_an_abandoned_stream_gives_everything_back() -> None:
    critic, backend = stepping_critic(freely=5)
    stream = critic.score_stream(picture("red"), QUESTION, "x")
    next(stream)
    del stream
    gc.collect()
    critic.forget()
    until(lambda: backend.open_sequences == 0)
    assert backend.free_cells == backend.info.n_ctx


# --- asyncio -----------------------------------------------------------------------------------


def test_asyncio() -> None:
    critic, backend = hashed_critic()

    async def ask() -> list[float | None]:
        verdicts = await asyncio.gather(*(critic.ask(score(r)) for r in "abcd"))
        return [verdict.score for verdict in verdicts]

    assert asyncio.run(ask()) == [v.score for v in critic.score_many(None, QUESTION, list("abcd"))]
    assert left_open(critic, backend) == 0


def test_cancelling_a_task_stops_its_judgement() -> None:
    critic, backend = stepping_critic(freely=5)

    async def leave() -> None:
        task = asyncio.create_task(critic.ask(score(rationale=True)))
        while not backend.reached.is_set():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    critic.forget()
    until(lambda: backend.open_sequences == 0)


# --- listeners ---------------------------------------------------------------------------------


def test_a_listener_is_told_the_stages() -> None:
    critic, _ = hashed_critic()
    heard: list[object] = []
    request = score(image=picture("red"), rationale=True)
    verdict = critic.submit(request, on_event=heard.append).result(WAIT)
    stages = [event.stage for event in heard if isinstance(event, Progress)]
    assert list(dict.fromkeys(stages)) == ["image", "prefill", "token"]
    for event in heard:
        if isinstance(event, Progress):
            assert 0 <= event.done <= event.total
    (early,) = (event for event in heard if isinstance(event, Verdict))
    assert (early.score, early.rationale) == (verdict.score, None)
    assert "".join(event for event in heard if isinstance(event, str)) == verdict.rationale
    kinds = [type(event) for event in heard if not isinstance(event, Progress)]
    assert kinds == [Verdict, *[str] * (len(kinds) - 1)]


def prefill_told(critic: Critic, request: ScoreRequest | CompareRequest) -> list[tuple[int, int]]:
    """What is told of reading, all of it in front of the verdict."""
    heard: list[object] = []
    critic.submit(request, on_event=heard.append).result(WAIT)
    told = reading_in(heard)
    before = list(takewhile(lambda event: isinstance(event, Progress), heard))
    assert reading_in(before) == told
    return told


def reading_in(heard: Sequence[object]) -> list[tuple[int, int]]:
    reports = (event for event in heard if isinstance(event, Progress))
    return [(event.done, event.total) for event in reports if event.stage == "prefill"]


@pytest.mark.parametrize(
    "request_",  # `request` is pytest's own
    [
        score(image=picture("red"), rationale=True),
        score(),
        CompareRequest(picture("red"), QUESTION, "a", "a longer answer"),
        CompareRequest(None, QUESTION, "a", "b", rationale=True, orders="given"),
    ],
    ids=["score", "score without a picture", "compare", "compare in one order"],
)
@pytest.mark.parametrize("options", [None, EngineOptions(max_sequences=1, n_ctx=600)])
def test_reading_is_told_from_none_to_all(
    request_: ScoreRequest | CompareRequest, options: EngineOptions | None
) -> None:
    critic, _ = hashed_critic(options=options)
    for _ in range(2):  # the second time most of it was kept
        told = prefill_told(critic, request_)
        done = [done for done, _ in told]
        assert done == sorted(set(done))
        assert done[0] == 0
        assert {total for _, total in told} == {done[-1]}


def test_reading_together_is_told_to_each_of_its_own_prompts() -> None:
    critic, _ = hashed_critic()
    pair = CompareRequest(None, QUESTION, "a", "b")
    requests = [score("a"), score("a much longer response"), pair]
    alone = [prefill_told(critic, request)[-1] for request in requests]
    heard: list[list[object]] = [[] for _ in requests]
    futures = [
        critic.submit(request, on_event=listener.append)
        for request, listener in zip(requests, heard, strict=True)
    ]
    for future in futures:
        future.result(WAIT)
    assert [reading_in(events)[-1] for events in heard] == alone


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    critic, backend = hashed_critic()
    calls: list[object] = []

    def fail(event: object) -> None:
        calls.append(event)
        raise OSError("full disk")

    verdict = critic.submit(score(rationale=True), on_event=fail).result(WAIT)
    assert verdict.rationale == REASON.strip()
    assert len(calls) == 1
    assert "full disk" in caplog.text
    assert left_open(critic, backend) == 0


# --- determinism and noise -----------------------------------------------------------------------


class Noting(ScriptedBackend):
    """Writes down what it is asked to decode, and behind what."""

    def __init__(self) -> None:
        super().__init__(verdict_script)
        self.calls: list[object] = []

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        free = self.free_cells
        self.calls.append(
            (free, [(self._histories[a.sequence], a.spans, a.logits) for a in appends])
        )
        return super().append(appends, cancel)


@pytest.mark.parametrize("image", [None, picture("red")])
def test_a_deterministic_critic_takes_the_same_steps_whatever_else_it_is_asked(
    image: ImageInput,
) -> None:
    request = CompareRequest(image, QUESTION, "aaaa", "bbbb")

    def calls(*requests: ScoreRequest | CompareRequest) -> list[object]:
        backend = Noting()
        with Critic(backend, PROFILE, deterministic=True) as critic:
            for future in critic.submit_many(requests):
                assert future.result(WAIT).status == "ok"
        return backend.calls

    alone = calls(request)
    # The picture itself may lie there from the judgement before.
    steps = alone if image is None else alone[1:]
    one, two = score("x", image=picture("blue")), score("y", image=image, rationale=True)
    for company in ([one, request], [two, request, two], [one, two, one, request], [request] * 2):
        made = calls(*company)
        places = range(len(made) - len(steps) + 1)
        assert sum(made[k : k + len(steps)] == steps for k in places) == company.count(request)


@pytest.mark.parametrize(("noise", "within", "winner"), [(0.0, False, "first"), (0.2, True, "tie")])
def test_a_lead_within_the_noise_is_marked_and_is_a_tie(
    noise: float, within: bool, winner: str
) -> None:
    def script(history: History) -> Mapping[int, float]:
        text = words(history)
        if text.endswith(b"Better: "):
            first = text.index(b"aaa") < text.index(b"bbb")
            return {ord("f"): 0.1 * first, ord("s"): 0.1 * (not first), ord("t"): -4.0}
        return {ord("7"): 0.1, ord("6"): 0.0} if text.endswith(b"Score: ") else {}

    calibration = Calibration(noise=noise)
    critic, _ = hashed_critic(script=script, calibration=calibration)
    preference = critic.compare(None, QUESTION, "aaa", "bbb", rationale=False)
    assert (preference.within_noise, preference.winner) == (within, winner)
    verdict = critic.score(None, QUESTION, "x", rationale=False)
    assert (verdict.within_noise, verdict.level) == (within, 7)
    backend = ScriptedBackend(script)
    profile = replace(PROFILE, calibration=calibration)
    with Critic(backend, profile, deterministic=True) as sure:
        assert not sure.compare(None, QUESTION, "aaa", "bbb", rationale=False).within_noise
