"""Overload, crashes, hangs and clients that leave: one request is lost, never the server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from edgecritic.server import Limits, ServerOptions
from serving import Answer, FailingSource, Running, TroubledSource, served, serving


def score(question: str, **more: Any) -> dict[str, Any]:
    return {"question": question, "response": "right", **more}


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it never became true"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def troubled() -> Iterator[Running]:
    options = ServerOptions(queue=2, parallel=1)
    with serving([served(TroubledSource())], options) as running:
        running.post("/v1/judge/score", score("?"))
        yield running


def judge(running: Running, question: str, **more: Any) -> Answer:
    return running.post("/v1/judge/score", score(question, **more))


@pytest.mark.parametrize(
    ("question", "status", "code"),
    [("CRASH", 502, "worker_crashed"), ("BUG", 503, "model_unavailable")],
)
def test_a_process_that_fails_costs_one_request(
    troubled: Running, question: str, status: int, code: str
) -> None:
    answer = judge(troubled, question)
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    assert judge(troubled, f"and now, after {question[:2]}?").json["score"] > 8


def test_a_process_that_hangs_costs_one_request() -> None:
    options = ServerOptions(limits=Limits(judging_s=1.0))
    with serving([served(TroubledSource())], options) as running:
        answer = judge(running, "HANG")
        assert (answer.status, answer.json["error"]["code"]) == (504, "time_limit")
        # On a busy machine a judgement may take longer than that limit, too.
        until(lambda: judge(running, "and now?", rationale=False).status == 200, 120)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no processes")
def test_a_process_that_reads_nothing_does_not_hold_up_the_server() -> None:
    options = ServerOptions(parallel=2, limits=Limits(judging_s=1.5))
    with serving([served(TroubledSource())], options) as running:
        judge(running, "?")
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(judge, running, "STOP")
            until(lambda: b"edgecritic_running 1" in running.get("/metrics").content)
            large = score("large", image="data:image/png;base64," + "A" * (4 << 20))
            running.opened("/v1/judge/score", large).close()  # more than a pipe takes in
            until(lambda: b"edgecritic_cancelled_total{" in running.get("/metrics").content)
            assert stopped.result().json["error"]["code"] == "time_limit"
        until(lambda: judge(running, "and now?", rationale=False).status == 200, 120)


def test_a_stream_tells_of_a_crash(troubled: Running) -> None:
    answer = judge(troubled, "CRASH now", stream=True)
    assert answer.events[-1][0] == "error"
    assert answer.events[-1][1]["error"]["code"] == "worker_crashed"


def test_a_full_queue_says_when_to_come_back(troubled: Running) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(judge, troubled, f"SLOW {n}") for n in range(8)]
        answers = [future.result() for future in asked]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 4
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    assert {answer.status for answer in answers} <= {200, 429}


def test_equal_requests_share_one_computation(troubled: Running) -> None:
    before = troubled.get("/metrics").content.decode()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(judge, troubled, "SLOW and the same") for _ in range(6)]
        answers = [future.result() for future in asked]
    assert {answer.status for answer in answers} == {200}  # six would not fit into the queue
    assert len({answer.content for answer in answers}) == 1
    after = troubled.get("/metrics").content.decode()
    assert after.count("shared_total{") == 1
    assert before != after


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_leaves_is_not_worked_for(troubled: Running, stream: bool) -> None:
    question = f"SLOW {'streamed' if stream else 'whole'}"
    body = score(question, max_rationale_tokens=4000, stream=stream)
    connected = troubled.opened("/v1/judge/score", body)
    until(lambda: b"edgecritic_running 1" in troubled.get("/metrics").content)
    connected.close()
    until(lambda: b"edgecritic_running 0" in troubled.get("/metrics").content)
    assert b"edgecritic_cancelled_total" in troubled.get("/metrics").content
    assert judge(troubled, "?").status == 200


def test_one_who_leaves_does_not_end_what_another_waits_for(troubled: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        stays = pool.submit(judge, troubled, "SLOW, for two")
        until(lambda: b"edgecritic_running 1" in troubled.get("/metrics").content)
        troubled.opened("/v1/judge/score", score("SLOW, for two")).close()
        assert stays.result().status == 200


def test_one_who_leaves_while_he_waits_is_forgotten(troubled: Running) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(judge, troubled, "SLOW, the first")
        until(lambda: b"edgecritic_running 1" in troubled.get("/metrics").content)
        connected = troubled.opened("/v1/judge/score", score("SLOW, the second"))
        until(lambda: troubled.get("/health").json["queue"]["waiting"] == 1)
        connected.close()
        until(lambda: troubled.get("/health").json["queue"]["waiting"] == 0)
        assert first.result().status == 200


@pytest.mark.parametrize("trouble", ["CRASH", "BUG"])
def test_others_do_not_pay_for_one(trouble: str) -> None:
    with serving([served(TroubledSource())], ServerOptions(parallel=4)) as running:
        judge(running, "?")
        with ThreadPoolExecutor(4) as pool:
            innocent = [pool.submit(judge, running, f"SLOW {n}", rationale=False) for n in range(3)]
            guilty = pool.submit(judge, running, trouble)
            assert guilty.result().status >= 500
            assert [one.result().status for one in innocent] == [200, 200, 200]


def test_several_are_judged_at_once() -> None:
    with serving([served(TroubledSource())], ServerOptions(parallel=3)) as running:
        judge(running, "?")
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(judge, running, f"SLOW {n}") for n in range(3)]
            until(lambda: b"edgecritic_running 3" in running.get("/metrics").content)
            assert {one.result().status for one in asked} == {200}


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("missing", 503, "model_unavailable"),
        ("crash", 502, "worker_crashed"),
        ("hang", 503, "model_unavailable"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told(how: str, status: int, code: str) -> None:
    limits = Limits(loading_s=1.0) if how == "hang" else Limits()
    with serving([served(FailingSource(how))], ServerOptions(limits=limits)) as running:
        for _ in range(2):
            answer = judge(running, "?")
            assert (answer.status, answer.json["error"]["code"]) == (status, code)
        assert running.get("/health").json["models"][0]["state"] == "failed"


def test_an_idle_model_is_unloaded_and_comes_back() -> None:
    with serving(options=ServerOptions(idle_unload_s=0.3)) as running:

        def state() -> str:
            found: str = running.get("/health").json["models"][0]["state"]
            return found

        assert judge(running, "?").status == 200
        assert state() == "ready"
        until(lambda: state() == "unloaded")
        assert judge(running, "??").status == 200
        assert b'loads_total{model="scripted"} 2' in running.get("/metrics").content
