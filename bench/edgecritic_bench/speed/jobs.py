"""What only one engine does: reasons together, equal bits, stopping, growth."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgecritic import CancelToken, CompareRequest, Preference, Progress, ScoreRequest, Verdict
from edgecritic_bench.speed.engines.runtime import Runtime
from edgecritic_bench.speed.rates import plain, rates
from edgecritic_bench.speed.tasks import QUESTION, RESPONSES, default_picture, new_picture

Answer = dict[str, Any]
_WORD: Final = "word "
_PATIENCE: Final = 10  # seconds until a stage counts as skipped


def rationales(engine: Runtime, count: int, tokens: int) -> Answer:
    """Reasons for `count` responses about one picture, one after another and all together."""
    picture = new_picture(default_picture((384, 384)), count)
    requests = [
        ScoreRequest(picture, QUESTION, f"{RESPONSES[n % 5]} No. {n}.", max_rationale_tokens=tokens)
        for n in range(count)
    ]
    critic = engine.critic
    critic.submit(requests[0]).result()  # the picture is decoded, for both
    started = time.perf_counter()
    single = [critic.submit(request).result() for request in requests]
    middle = time.perf_counter()
    together = [future.result() for future in critic.submit_many(requests)]
    ended = time.perf_counter()
    return {
        "single": middle - started,
        "together": ended - middle,
        "tokens": [sum(v.usage.rationale_tokens for v in found) for found in (single, together)],
        "equal": sum(a.rationale == b.rationale for a, b in zip(single, together, strict=True)),
    }


def determinism(engine: Runtime, rounds: int, seed: int) -> Answer:
    """How often two fixed requests got the bits that they got when they were asked first.

    Each is asked among 0 to 2 others, which are random.
    """
    choose = random.Random(seed)
    picture = new_picture(default_picture((384, 384)), seed)
    fixed: list[ScoreRequest | CompareRequest] = [
        ScoreRequest(picture, QUESTION, RESPONSES[0], rationale=False),
        CompareRequest(None, QUESTION, RESPONSES[0], RESPONSES[1], rationale=False),
    ]
    first: dict[int, object] = {}
    same = 0
    started = time.perf_counter()
    for number in range(rounds + len(fixed)):
        company: list[ScoreRequest | CompareRequest] = [
            ScoreRequest(None, QUESTION, choose.choice(RESPONSES) * n, rationale=False)
            for n in range(choose.randrange(3))
        ]
        place = choose.randrange(len(company) + 1)
        which = number % len(fixed)
        futures = engine.critic.submit_many([*company[:place], fixed[which], *company[place:]])
        judged = [future.result() for future in futures][place]
        same += _bits(judged) == first.setdefault(which, _bits(judged))
    return {"same": same - len(fixed), "of": rounds, "seconds": time.perf_counter() - started}


def _bits(judged: Verdict | Preference) -> object:
    """All numbers of a judgement that come from logits."""
    if isinstance(judged, Verdict):
        return dict(judged.probabilities), judged.mass
    return [(dict(order.probabilities), order.mass) for order in judged.orders]


def cancel(engine: Runtime, rounds: int, words: int, delay: float) -> Answer:
    """Seconds from setting the token to the result, in a long prompt and in a reason."""
    long = ScoreRequest(None, QUESTION, _WORD * words, rationale=False)
    talking = ScoreRequest(None, QUESTION, "A cat.", max_rationale_tokens=96)
    return {
        "prefill": [_stopped(engine, long, delay, "prefill") for _ in range(rounds)],
        "token": [_stopped(engine, talking, 0.0, "token") for _ in range(rounds)],
    }


def _stopped(engine: Runtime, request: ScoreRequest, delay: float, stage: str) -> float | None:
    """Seconds; None if the judgement was over before."""
    token, reached = CancelToken(), threading.Event()

    def listen(event: object) -> None:
        if isinstance(event, Progress) and event.stage == stage:
            reached.set()

    engine.critic.forget()
    future = engine.critic.submit(request, on_event=listen, cancel=token)
    if stage != "prefill":
        reached.wait(_PATIENCE)
    time.sleep(delay)
    started = time.perf_counter()
    token.cancel()
    judged = future.result()
    return time.perf_counter() - started if judged.status == "cancelled" else None


def growth(engine: Runtime, kind: str, size: tuple[int, int], value: int, number: int) -> Answer:
    """What one more response, tile or word costs.

    Args:
        engine: to measure.
        kind: ``responses``: `value` of them, scored and compared in all ordered pairs;
            ``tiles``: one verdict on a picture of `size`; ``text``: one of `value` words.
        size: of the picture.
        value: see `kind`.
        number: of the picture.
    """
    critic = engine.critic
    critic.forget()
    if kind == "text":
        verdict = critic.score(None, QUESTION, _WORD * value, rationale=False)
        return _costs(verdict)
    picture = new_picture(default_picture(size), number)
    if kind == "tiles":
        return _costs(critic.score(picture, QUESTION, RESPONSES[0], rationale=False))
    texts = [f"{RESPONSES[n % 5]} No. {n}." for n in range(value)]
    started = time.perf_counter()
    critic.score_many(picture, QUESTION, texts)
    scored = time.perf_counter() - started
    if value < 2:
        return {"scores": scored}
    critic.forget()
    picture = new_picture(default_picture(size), number + (1 << 20))
    started = time.perf_counter()
    critic.compare_all(picture, QUESTION, texts)
    return {"scores": scored, "pairs": time.perf_counter() - started}


def _costs(verdict: Verdict) -> Answer:
    used, took = verdict.usage, verdict.timings
    return {
        "seconds": took.total,
        "image": took.image,
        "prompt": used.prompt_tokens,
        "image_tokens": used.image_tokens,
    }


def close(engine: Runtime) -> Answer:
    """Close the critic; the process stays."""
    engine.critic.close()
    return {}


JOBS: Final[Mapping[str, Callable[..., Answer]]] = {
    "rates": rates,
    "plain": plain,
    "rationales": rationales,
    "determinism": determinism,
    "cancel": cancel,
    "growth": growth,
    "close": close,
}
