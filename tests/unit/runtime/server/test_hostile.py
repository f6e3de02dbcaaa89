"""Requests from people who mean harm, and from programs that are broken."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from edgecritic.errors import InputError
from edgecritic.server import Limits, ServerOptions
from request_pictures import DATA_URL
from serving import Answer, Running, TroubledSource, served, serving

TOKEN = "correct-horse"
SCORE = {"question": "?", "response": "right", "rationale": False}
CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with a token, small limits, and one other origin that may call it."""
    options = ServerOptions(
        token=TOKEN,
        allowed_origins=("https://app.example",),
        allowed_hosts=("critic.example",),
        limits=Limits(body_bytes=1 << 20, image_bytes=1 << 19, images=2, tokens=16),
    )
    with serving(options=options) as running:
        yield running


def refused(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses
    assert set(answer.json["error"]) == {"message", "hint", "type", "code"}
    assert "Traceback" not in answer.content.decode()
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- who calls ---

FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:8642",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhostevil",
    "0.0.0.0",
    "[::1].evil.example",
    "[::1]evil.example:80",
    "169.254.169.254",
    "10.0.0.1",
    "[fe80::1]",
    "[::ffff:10.0.0.1]",
    "2130706433",
    "0x7f000001",
    "127.1",
    "localhost@evil.example",
    "evil.example#localhost",
    "",
    " ",
    "[::1",
    "critic.example.evil",
    "xn--lcalhost-54a",
    "localhost.",
    "localhost:evil.example",
    "localhost:80:80",
    "127.0.0.1:-1",
)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_names_of_others_are_refused(guarded: Running, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    refused(guarded.ask("GET", "/health", headers=headers), 400, 403)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.2:80", "[::1]:8642", "critic.example"],
)
def test_its_own_names_are_not(guarded: Running, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/health", headers=headers).status == 200


FOREIGN_ORIGINS = (
    "https://evil.example",
    "http://localhost:1",
    "http://127.0.0.1",
    "null",
    "file://",
    "https://app.example.evil",
    "https://app.example:444",
    "http://app.example",
    "HTTPS://APP.EXAMPLE",
    "chrome-extension://abc",
    "",
    "*",
)


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_others_are_refused(guarded: Running, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Authorization": f"Bearer {TOKEN}", **JSON}
    answer = guarded.ask(method, "/v1/judge/score", b"{}", headers)
    refused(answer, 403)
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_that_the_operator_named_may_call(guarded: Running) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = guarded.ask("OPTIONS", "/v1/judge/score", headers=asked)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "origin" in answer.headers["vary"].lower()


def test_a_page_of_its_own_may_call(guarded: Running) -> None:
    headers = {"Origin": guarded.url, "Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("GET", "/health", headers=headers).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_what_a_browser_calls_cross_site_is_refused(guarded: Running, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Authorization": f"Bearer {TOKEN}"}
    refused(guarded.ask("GET", "/health", headers=headers), 403)


BAD_TOKENS = (
    None,
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN.upper()}",
    f"Basic {TOKEN}",
    TOKEN,
    f"Token {TOKEN}",
    f"Bearer {TOKEN} {TOKEN}",
    "Bearer sk-none",
    "Bearer \xe9\xe8",
    "Bearer " + "x" * 5000,
)
PATHS = ("/health", "/v1/models", "/metrics", "/openapi.json", "/v1/judge/score", "/v1", "/nothing")


@pytest.mark.parametrize("token", BAD_TOKENS)
@pytest.mark.parametrize("path", ["/health", "/v1/judge/score"])
def test_without_the_token_nothing_is_said(guarded: Running, token: Any, path: str) -> None:
    headers = {} if token is None else {"Authorization": token}
    answer = guarded.ask("POST" if "judge" in path else "GET", path, b"{}", {**JSON, **headers})
    refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", PATHS)
def test_every_path_asks_for_the_token(guarded: Running, path: str) -> None:
    refused(guarded.ask("GET", path), 401)


def test_others_are_not_served_without_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "critic.example"):
        with pytest.raises(InputError, match="token"):
            ServerOptions(host=host)


# --- what kind of request ---

TYPES = (
    None,
    "",
    "text/plain",
    "text/plain; charset=utf-8",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/json; charset=latin-1",
    "application/jsonp",
    "text/json",
    "application/xml",
    "json",
)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("path", ["/v1/judge/score", "/v1/chat/completions", "/v1"])
def test_only_json_is_read(server: Running, kind: Any, path: str) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    refused(server.ask("POST", path, b'{"question": "?"}', headers), 415)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x", "identity, gzip"])
def test_packed_bodies_are_not_unpacked(server: Running, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    refused(server.ask("POST", "/v1/judge/score", b"x", headers), 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/v1/judge/score", "/v1/judge/batch", "/v1/chat/completions"])
def test_other_methods_are_refused(server: Running, method: str, path: str) -> None:
    answer = server.ask(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


TRAVERSALS = (
    "/../etc/passwd",
    "/assets/../app.py",
    "/assets/..%2fapp.py",
    "/assets/%2e%2e/app.py",
    "/assets/..\\app.py",
    "/assets//etc/passwd",
    "/assets/%00",
    "/assets/index.html%00.js",
    "/assets/",
    "/assets/.",
    "/assets/__init__.py",
    "/assets/C:\\windows",
    "/assets/" + "a/" * 500,
    "/v1/models/../../etc",
    "/v1/models/%2e%2e",
    "/file:///etc/passwd",
    "/.git/config",
    "/v1/judge",
    "/v1/judge/score/extra",
    "/v2/models",
    "/V1/models",
)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_paths_lead_nowhere_else(server: Running, path: str) -> None:
    refused(server.ask("GET", path), 404, 405)


# --- bodies ---

NO_JSON = (
    b"",
    b" ",
    b"{",
    b"[",
    b"null",
    b"true",
    b"1",
    b'"text"',
    b"[]",
    b"{}{}",
    b"{'question': '?'}",
    b'{"question": "?",}',
    b'{"question": "?", "question": "!"}',
    b'{"question": NaN}',
    b'{"question": Infinity}',
    b'{"wording": 1e999}',
    b'{"wording": ' + b"9" * 5000 + b"}",
    b'{"question": "\\ud800"}',
    b'{"question": "\xff"}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"{" * 10_000,
    b"[" * 100_000,
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"<xml/>",
    b"question=%3F&response=x",
    b"// comment\n{}",
    b"{question: 1}",
    b'{"question": "a\nb"}',
    b"\xfe\xff\x00{\x00}",
)


@pytest.mark.parametrize("body", NO_JSON, ids=range(len(NO_JSON)))
@pytest.mark.parametrize("path", ["/v1/judge/score", "/v1/chat/completions"])
def test_what_is_no_json_object_is_refused(server: Running, body: bytes, path: str) -> None:
    refused(server.ask("POST", path, body, JSON), 400)


VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**17, "", "x", [], [1], {}, {"a": 1})
FIELDS: dict[str, tuple[Any, ...]] = {
    "question": (None, True, 0, 1.5, "", "   ", [], {}, ["?"]),
    "response": (None, True, 0, [], {}),
    "reference": (True, 0, [], {}),
    "image": (True, 0, {}, [1], [None], [[]], "", "x", "data:", "data:,", ["", ""]),
    "rubric": (True, 5, [], "5-1", "x", "1-99999", {"low": "1"}, {"high": 0}, {"levels": [1]}),
    "wording": (None, True, -1, 1.5, "0", [], 10**17),
    "rationale": (None, 0, 1, "true", []),
    "max_rationale_tokens": (None, True, -1, 1.5, 4097, "9"),
    "temperature": (None, True, -1, 10.5, "0", []),
    "seed": (None, True, -1, 0.5, "0", 2**53),
    "model": (True, 1, [], "gpt-4o", "../../etc", "x" * 10_000),
    "stream": (None, 0, "yes", []),
    "__proto__": ({},),
    "constructor": ("x",),
}
CASES = [(field, value) for field, values in FIELDS.items() for value in values]


@pytest.mark.parametrize(("field", "value"), CASES, ids=lambda value: str(value)[:20])
def test_values_of_the_wrong_kind_are_refused(server: Running, field: str, value: Any) -> None:
    refused(server.post("/v1/judge/score", {**SCORE, field: value}), 400, 404)


BATCHES: tuple[Any, ...] = (
    {},
    {"requests": []},
    {"requests": [{}]},
    {"requests": [{"kind": "spoon"}]},
    {"requests": [{"kind": "score", **SCORE}] * 65},
    {"requests": [{"kind": "score", **SCORE, "stream": True}]},
    {"requests": {"kind": "score"}},
    {"requests": [{"kind": "batch", "requests": []}]},
    {"requests": [{"kind": "score", **SCORE, "model": "one"}, {"kind": "score", **SCORE}]},
)


@pytest.mark.parametrize("body", BATCHES, ids=range(len(BATCHES)))
def test_batches_that_make_no_sense_are_refused(server: Running, body: Any) -> None:
    refused(server.post("/v1/judge/batch", body), 400, 404)


CHATS: tuple[dict[str, Any], ...] = (
    *({"messages": value} for value in VALUES),
    *({"messages": [value]} for value in VALUES),
    *({"messages": [{"role": "user", "content": value}]} for value in (True, 0, {}, [1], [{}])),
    {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
    {"messages": CHAT["messages"] * 300},
    *({**CHAT, "max_tokens": value} for value in (True, 0, -5, 1.5, "9", [])),
    *({**CHAT, "temperature": value} for value in (True, -0.1, 99, "0")),
    *({**CHAT, "n": value} for value in (True, 0, 100, "1")),
    *({**CHAT, "stop": value} for value in (1, [1], {}, ["x"] * 20)),
    *({**CHAT, "response_format": value} for value in ("json", [], {}, {"type": "xml"})),
    *({**CHAT, "logprobs": value} for value in (1, "yes", [])),
    *({**CHAT, "tools": value} for value in ("x", [1], {})),
    {**CHAT, "top_p": 1.1},
    {**CHAT, "presence_penalty": 3},
    {**CHAT, "stream": "yes"},
    {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
)


@pytest.mark.parametrize("body", CHATS, ids=range(len(CHATS)))
def test_chats_that_make_no_sense_are_refused(server: Running, body: dict[str, Any]) -> None:
    refused(server.post("/v1/chat/completions", body), 400)


# --- pictures ---

NO_PICTURES = (
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    " file:///etc/passwd",
    "ftp://example.org/a.png",
    "gopher://127.0.0.1/",
    "http://127.0.0.1/a.png",
    "http://169.254.169.254/latest/meta-data",
    "https://localhost/a.png",
    "http:/example.org",
    "javascript:alert(1)",
    "blob:x",
    "/etc/passwd",
    "../../etc/passwd",
    "C:\\a.png",
    "data:image/png",
    "data:image/png;base64",
    "data:image/png;base64,",
    "data:image/png;base64,====",
    "data:image/png;base64,A",
    "data:image/png;base64,\u00e9",
    "data:image/png;base64,AAAA",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>",
    "data:;base64,R0lGODlh",
    DATA_URL[:-40],
    DATA_URL.replace("iVBOR", "AAAAA"),
    "A" * 100_000,
)


@pytest.mark.parametrize("picture", NO_PICTURES, ids=range(len(NO_PICTURES)))
@pytest.mark.parametrize("path", ["/v1/judge/score", "/v1/chat/completions"])
def test_what_is_no_picture_is_refused(server: Running, picture: str, path: str) -> None:
    part = {"type": "image_url", "image_url": {"url": picture}}
    chat = {"messages": [{"role": "user", "content": [part]}]}
    body = {**SCORE, "image": picture} if "judge" in path else chat
    refused(server.post(path, body), 400)


# --- too much ---


def test_a_body_that_says_it_is_too_large_is_not_read(guarded: Running) -> None:
    headers = {**JSON, "Authorization": f"Bearer {TOKEN}", "Content-Length": "99999999999999"}
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=20) as connected:
        lines = ["POST /v1/judge/score HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connected.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connected.recv(100).startswith(b"HTTP/1.1 413")


def test_bodies_that_arrive_together_are_bounded() -> None:
    head = b"POST /v1/judge/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = json.dumps(SCORE).encode()
    with serving(options=ServerOptions(limits=Limits(bodies_bytes=2 * len(body)))) as running:
        address = ("127.0.0.1", running.port)
        with socket.create_connection(address, timeout=20) as slow:
            slow.sendall(head + b"Content-Length: 9000\r\n\r\n" + b" " * (2 * len(body) - 1))
            while not running.service.arriving:
                time.sleep(0.01)
            told = running.ask("POST", "/v1/judge/score", body, JSON)
            refused(told, 503)
            assert told.headers["retry-after"] == "1"
        while running.service.arriving:
            time.sleep(0.01)
        assert running.ask("POST", "/v1/judge/score", body, JSON).status == 200


def test_a_body_that_turns_out_too_large_is_refused(guarded: Running) -> None:
    body = json.dumps({**SCORE, "response": "x" * (1 << 20)}).encode()
    headers = {**JSON, "Authorization": f"Bearer {TOKEN}"}
    refused(guarded.ask("POST", "/v1/judge/score", body, headers), 413)


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ([DATA_URL] * 3, "too_many_images"),
        ("data:image/png;base64," + "A" * (900 << 10), "image_too_large"),
    ],
)
def test_pictures_have_limits(guarded: Running, image: Any, code: str) -> None:
    answer = guarded.post(
        "/v1/judge/score", {**SCORE, "image": image}, Authorization=f"Bearer {TOKEN}"
    )
    refused(answer, 400)
    assert answer.json["error"]["code"] == code


def test_tokens_have_a_limit(guarded: Running) -> None:
    body = {**CHAT, "max_tokens": 10**9}
    answer = guarded.post("/v1/chat/completions", body, Authorization=f"Bearer {TOKEN}")
    assert answer.json["usage"]["completion_tokens"] <= 16


def test_a_body_that_never_comes_is_given_up() -> None:
    options = ServerOptions(limits=Limits(body_s=0.3))
    with (
        serving(options=options) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as connected,
    ):
        connected.sendall(
            b"POST /v1/judge/score HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert connected.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX"])
def test_a_head_that_never_ends_is_given_up(head: bytes) -> None:
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        serving(options=ServerOptions(limits=Limits(head_s=0.5))) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as connected,
    ):
        connected.sendall(whole if head else head)
        if head:  # a second head on the same connection is waited for no longer
            assert connected.recv(10_000).startswith(b"HTTP/1.1 200")
        connected.sendall(head)
        assert b"HTTP/1.1" not in connected.recv(10_000)
        assert running.get("/health").status == 200


def test_a_long_answer_outlives_the_wait_for_a_head() -> None:
    with serving([served(TroubledSource())], ServerOptions(limits=Limits(head_s=0.2))) as running:
        running.post("/v1/judge/score", SCORE)
        answer = running.post("/v1/judge/score", {"question": "SLOW", "response": "right"})
        assert answer.json["status"] == "ok"


TWICE = (
    b"Origin: http://localhost\r\nOrigin: http://evil.example",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b",
    b"Content-Type: application/json\r\nContent-Type: text/plain",
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
)


@pytest.mark.parametrize("headers", TWICE)
def test_headers_that_decide_something_occur_once(server: Running, headers: bytes) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connected:
        connected.sendall(head)
        assert connected.recv(1000).startswith(b"HTTP/1.1 400")


RAW = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
    b"\r\n\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
def test_what_is_no_http_is_dropped_or_refused(server: Running, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connected:
        try:
            connected.sendall(raw)
            with suppress(OSError):  # dropped by now
                connected.shutdown(socket.SHUT_WR)
            answer = connected.recv(1000)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer[9:12] in (b"400", b"403", b"404", b"431")


def test_after_all_that_it_still_judges(server: Running, guarded: Running) -> None:
    assert server.post("/v1/judge/score", SCORE).json["score"] > 8
    answer = guarded.post("/v1/judge/score", SCORE, Authorization=f"Bearer {TOKEN}")
    assert answer.json["status"] == "ok"
