"""What goes wrong between a critic and its endpoint, and what is told of it."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPSConnection
from threading import Thread

import pytest

from chat_server import Asked, ChatServer, Said, Script, completion, delta, said_events, said_json
from edgecritic import BackendUnavailableError, ContextOverflowError, Critic, CriticError, Verdict
from edgecritic.remote import RemoteOptions, client
from edgecritic.remote.address import Address
from edgecritic.remote.client import Client

Serve = Callable[[Script], ChatServer]
Remote = Callable[..., tuple[Critic, ChatServer]]
KEY = "sk-very-secret-0123456789"


def judge(critic: Critic) -> Verdict:
    return critic.score(None, "What is it?", "It is.", rationale=False)


def in_turn(*said: Said) -> Script:
    """Each request gets the next response, and all further ones the last."""
    left = list(said)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


OK = said_json(completion("Score: 7"))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(remote: Remote, status: int) -> None:
    failed = said_json({"error": {"message": "later"}}, status)
    critic, server = remote(in_turn(failed, failed, OK), prefill="never")
    assert judge(critic).level == 7
    assert len(server.asked) == 3


def test_attempts_are_bounded(remote: Remote) -> None:
    critic, server = remote(lambda asked: Said([], 503), prefill="never", retries=2)
    with pytest.raises(BackendUnavailableError, match="answered 503"):
        judge(critic)
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 418, 422, 451, 501])
def test_what_will_not_pass_is_not_tried_again(remote: Remote, status: int) -> None:
    critic, server = remote(
        lambda asked: said_json({"detail": "no, never"}, status), prefill="never"
    )
    with pytest.raises(CriticError, match=f"answered {status}: no, never") as caught:
        judge(critic)
    assert caught.value.hint
    assert len(server.asked) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(remote: Remote, form: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=2)
    asks = "1" if form == "seconds" else format_datetime(at, usegmt=True)
    critic, _ = remote(in_turn(said_json({}, 429, Retry_After=asks), OK), prefill="never")
    started = time.perf_counter()
    assert judge(critic).level == 7
    assert 0.5 < time.perf_counter() - started < 4


def test_a_wait_that_is_too_long_is_not_begun(remote: Remote) -> None:
    critic, server = remote(lambda asked: said_json({}, 429, Retry_After="3600"), prefill="never")
    with pytest.raises(BackendUnavailableError, match="answered 429"):
        judge(critic)
    assert len(server.asked) == 1


def test_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch, remote: Remote) -> None:
    monkeypatch.setattr(client, "_FIRST_WAIT", 1.0)
    waits: list[float] = []
    monkeypatch.setattr("edgecritic.remote.calls.Line.sleep", lambda _line, s: waits.append(s))
    critic, _ = remote(lambda asked: Said([], 503), prefill="never", retries=4)
    with pytest.raises(BackendUnavailableError):
        judge(critic)
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits))
    assert len({round(wait / 2**n, 6) for n, wait in enumerate(waits)}) == 4


def test_an_empty_account_is_not_tried_again(remote: Remote) -> None:
    error = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    critic, server = remote(lambda asked: said_json(error, 429), prefill="never")
    with pytest.raises(BackendUnavailableError, match="exceeded your quota"):
        judge(critic)
    assert len(server.asked) == 1


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_broken_connection_is_tried_again(content: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepted = []

        def serve() -> None:
            for _ in range(2):
                connection, _address = listening.accept()
                accepted.append(connection.recv(65536))
                connection.sendall(content)
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()

        thread = Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        critic = Critic.remote(url, "m", options=RemoteOptions(prefill="never", retries=1))
        with pytest.raises(BackendUnavailableError, match="cannot be reached"):
            judge(critic)
        thread.join()
    assert len(accepted) == 2


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    critic = Critic.remote(f"http://127.0.0.1:{port}", "m", options=RemoteOptions(retries=1))
    with pytest.raises(BackendUnavailableError, match="Connection refused") as caught:
        judge(critic)
    assert "running" in caught.value.hint


def test_an_answer_that_is_cut_short_is_tried_again(remote: Remote) -> None:
    short = said_json(completion("Score: 7"))
    short.length = len(short.chunks[0]) + 50
    critic, server = remote(in_turn(short, OK), prefill="never")
    assert judge(critic).level == 7
    assert len(server.asked) == 2


def test_a_slow_answer_ends_at_the_timeout(remote: Remote) -> None:
    slow = said_json(completion("7"))
    slow.pause = 20.0
    critic, server = remote(lambda asked: slow, prefill="never", timeout=0.3)
    with pytest.raises(BackendUnavailableError, match=r"within 0\.3 s"):
        judge(critic)
    assert len(server.asked) == 1


def test_an_answer_that_drips_ends_at_the_timeout(remote: Remote) -> None:
    drip = Said([b" "] * 100, pause=0.1)
    critic, _ = remote(lambda asked: drip, prefill="never", timeout=0.4)
    started = time.perf_counter()
    with pytest.raises(BackendUnavailableError, match="did not answer"):
        judge(critic)
    assert time.perf_counter() - started < 2


def test_a_stream_may_take_longer_than_the_timeout_as_long_as_it_flows(remote: Remote) -> None:
    def script(asked: Asked) -> Said:
        if asked.body.get("stream"):
            return said_events([delta("a ")] * 6 + [delta("b")], pause=0.1)
        return OK

    critic, _ = remote(script, prefill="never", timeout=0.5)
    assert critic.score(None, "What?", "It.").rationale == "a a a a a a b"


@pytest.mark.parametrize("declared", [True, False])
def test_a_huge_answer_is_refused(remote: Remote, declared: bool) -> None:
    chunk = b"x" * (1 << 20)
    huge = Said([chunk] * 40, length=40 << 20 if declared else None)
    critic, _ = remote(lambda asked: huge, prefill="never")
    with pytest.raises(BackendUnavailableError, match="over 16 MiB"):
        judge(critic)


@pytest.mark.parametrize(
    "content",
    [b"<html><h1>It works!</h1></html>", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000],
)
def test_what_is_no_json_object_is_told(remote: Remote, content: bytes) -> None:
    critic, server = remote(lambda asked: Said([content]), prefill="never")
    with pytest.raises(
        BackendUnavailableError, match="something else than a JSON object"
    ) as caught:
        judge(critic)
    assert "/v1" in caught.value.hint
    assert len(server.asked) == 1


def test_a_page_between_right_answers_is_a_mishap(remote: Remote) -> None:
    page, nothing = Said([b"<html>Just a moment</html>"]), said_json({"choices": []})
    critic, server = remote(in_turn(OK, page, nothing, OK), prefill="never")
    assert [judge(critic).level, judge(critic).level] == [7, 7]
    assert len(server.asked) == 4


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [7]}])
def test_json_that_is_no_completion_is_told(remote: Remote, answer: object) -> None:
    critic, _ = remote(lambda asked: said_json(answer), prefill="never")
    with pytest.raises(BackendUnavailableError, match="no chat completion"):
        judge(critic)


def test_an_error_page_is_told_in_short(remote: Remote) -> None:
    page = Said([b"<html>\n<body>Bad\x1b[31m Gateway</body>" + b"x" * 10_000], 502)
    critic, _ = remote(lambda asked: page, prefill="never", retries=0)
    with pytest.raises(BackendUnavailableError, match=r"502: <html> <body>Bad \[31m") as caught:
        judge(critic)
    assert len(caught.value.message) < 500


def test_a_failure_with_status_200_is_a_failure(remote: Remote) -> None:
    failed = said_json({"error": {"message": "provider is down", "code": 502}})
    critic, _ = remote(lambda asked: failed, prefill="never")
    with pytest.raises(BackendUnavailableError, match="provider is down"):
        judge(critic)


@pytest.mark.parametrize(
    "said",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_request_that_is_too_long_says_so(remote: Remote, said: str) -> None:
    critic, _ = remote(lambda asked: said_json({"error": {"message": said}}, 400), prefill="never")
    with pytest.raises(ContextOverflowError, match="context"):
        judge(critic)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_are_not_followed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("EDGECRITIC_API_KEY", KEY)
    elsewhere = serve(lambda asked: OK)
    here = serve(lambda asked: said_json({}, status, Location=elsewhere.url))
    with pytest.raises(BackendUnavailableError, match="redirects to http") as caught:
        judge(Critic.remote(here.url, "m", options=RemoteOptions(prefill="never")))
    assert elsewhere.url in caught.value.message
    assert elsewhere.asked == []


def test_the_key_is_sent_and_never_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EDGECRITIC_API_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    wrong = said_json({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)
    server = serve(in_turn(OK, said_json({"detail": KEY}, 503), wrong))
    critic = Critic.remote(server.url, "m", options=RemoteOptions(prefill="never"))
    verdict = judge(critic)
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(BackendUnavailableError, match=r"provided: \[key\]") as caught:
        judge(critic)
    address = Address.of(server.url, RemoteOptions(api_key=KEY))
    told = (
        verdict.to_json(),
        repr(critic.info) + repr(critic.profile) + repr(address) + repr(RemoteOptions(api_key=KEY)),
        str(caught.value),
        caplog.text,
        json.dumps([asked.body for asked in server.asked]),
    )
    assert all(KEY not in text for text in told)


def test_without_a_key_none_is_sent(remote: Remote) -> None:
    refused = said_json({"error": "who are you?"}, 401)
    critic, server = remote(lambda asked: refused, prefill="never")
    with pytest.raises(BackendUnavailableError) as caught:
        judge(critic)
    assert "EDGECRITIC_API_KEY" in caught.value.hint
    assert "Authorization" not in server.asked[0].headers


def test_certificates_that_are_not_trusted_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(_connection: HTTPSConnection) -> None:
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(HTTPSConnection, "connect", connect)
    critic = Critic.remote("https://judge.example.org/v1", "m")
    with pytest.raises(BackendUnavailableError, match="self-signed certificate") as caught:
        judge(critic)
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_host_that_does_not_exist_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = []

    def look_up(*args: object, **_options: object) -> None:
        looked_up.append(args)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(BackendUnavailableError, match=r"no host 'judge\.invalid'"):
        judge(Critic.remote("https://judge.invalid/v1", "m"))
    assert len(looked_up) == 1


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:pa%20ss@proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "intern.example.org")
    options = RemoteOptions()
    outside = Client(Address.of("https://judge.example.com/v1", options), options)._connection()
    assert (outside.host, outside.port) == ("proxy.example.org", 3128)
    assert outside._tunnel_host == "judge.example.com"
    inside = Client(Address.of("https://intern.example.org/v1", options), options)._connection()
    assert inside.host == "intern.example.org"


REFUSALS = [
    ("'top_logprobs' must be at most 5", "top_logprobs", 20, 5),
    ("stream_options is not permitted", "stream_options", {"include_usage": True}, None),
    ("Unrecognized request argument supplied: stop", "stop", ["\n\n"], None),
    (
        "continue_final_message: Extra inputs are not permitted",
        "continue_final_message",
        True,
        None,
    ),
]


@pytest.mark.parametrize(("said", "name", "before", "after"), REFUSALS)
def test_what_an_endpoint_refuses_is_left_out(
    remote: Remote, said: str, name: str, before: object, after: object
) -> None:
    def script(asked: Asked) -> Said:
        if name in asked.body and asked.body[name] != after:
            assert asked.body[name] == before
            return said_json({"error": {"message": said}}, 400)
        return said_events([delta("why")]) if asked.body.get("stream") else OK

    critic, server = remote(script, prefill="always")
    assert critic.score(None, "What?", "It.").rationale == "why"
    refused = len(server.asked)
    assert critic.score(None, "What?", "It.").rationale == "why"
    assert len(server.asked) == refused + 2  # it is not tried again


@pytest.mark.parametrize("status", [400, 500])
def test_an_endpoint_without_log_probs_is_asked_for_none(remote: Remote, status: int) -> None:
    def script(asked: Asked) -> Said:
        if "logprobs" in asked.body:
            return said_json({"error": {"message": "logprobs is not supported"}}, status)
        return OK

    critic, server = remote(script, prefill="never")
    verdict = judge(critic)
    assert (verdict.level, verdict.basis) == (7, "text")
    judge(critic)
    assert len(server.asked) == 4


def test_newer_models_name_the_limit_otherwise(remote: Remote) -> None:
    said = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    def script(asked: Asked) -> Said:
        if "max_tokens" in asked.body:
            return said_json({"error": {"message": said}}, 400)
        assert asked.body["max_completion_tokens"] == 500
        return OK

    critic, _ = remote(script, prefill="never", max_verdict_tokens=500)
    assert judge(critic).level == 7


def test_a_probe_that_is_refused_means_no(remote: Remote) -> None:
    def script(asked: Asked) -> Said:
        if asked.begun:
            return said_json({"message": "Expected last role User"}, 400)
        return OK

    critic, server = remote(script)
    assert judge(critic).level == 7
    assert "Answer in exactly this form" in server.asked[-1].user


def test_an_endpoint_that_counts_no_tokens_is_asked_in_words(remote: Remote) -> None:
    critic, server = remote(lambda asked: said_json(completion("Score: 7") | {"usage": None}))
    verdict = judge(critic)
    assert verdict.level == 7
    assert verdict.usage.prompt_tokens == 0
    assert server.asked[-1].begun == ""
