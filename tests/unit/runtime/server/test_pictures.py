"""Broken pictures do no harm, and pictures from elsewhere come from nowhere but where they may."""

from __future__ import annotations

import asyncio
import base64
import random
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import sleep
from typing import Any

import pytest

from edgecritic.server import Limits
from edgecritic.server.failures import Failure
from edgecritic.server.fetching import Fetcher, public
from request_pictures import PICTURE
from serving import Running

BROKEN = 500
AT_ONCE = 50
SCORE = {"kind": "score", "question": "What is it?", "response": "right", "rationale": False}
SOUND = PICTURE.read_bytes()


def broken(rng: random.Random) -> bytes:
    """The picture with bytes changed, dropped, doubled, cut off, or swapped for noise."""
    data = bytearray(SOUND)
    for _ in range(rng.randint(1, 12)):
        place, length = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 64, 500))
        kind = rng.randrange(5)
        if kind == 0:
            data[place : place + length] = rng.randbytes(length)
        elif kind == 1:
            del data[place : place + length]
        elif kind == 2:
            data[place:place] = data[place : place + length]
        elif kind == 3:
            data[place : place + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif len(data) > 100:
            del data[max(60, place) :]
    return bytes(data)


def test_five_hundred_broken_pictures_do_no_harm(server: Running) -> None:
    rng = random.Random(20261126)
    pictures = [broken(rng) for _ in range(BROKEN)]
    codes: dict[str, int] = {}
    for start in range(0, BROKEN, AT_ONCE):
        some = pictures[start : start + AT_ONCE]
        members = [{**SCORE, "image": base64.b64encode(picture).decode()} for picture in some]
        answer = server.post("/v1/judge/batch", {"requests": members})
        assert answer.status == 200
        for result in answer.json["results"]:
            code = result["error"]["code"] if "error" in result else result["status"]
            codes[code] = codes.get(code, 0) + 1
    assert set(codes) <= {"bad_image", "ok"}
    assert codes["bad_image"] > BROKEN // 2
    assert b"worker_restarts_total{" not in server.get("/metrics").content


ADDRESSES: tuple[tuple[str, bool], ...] = (
    ("93.184.215.14", True),
    ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
    ("127.0.0.1", False),
    ("127.9.9.9", False),
    ("0.0.0.0", False),
    ("10.1.2.3", False),
    ("172.16.0.1", False),
    ("192.168.1.1", False),
    ("169.254.169.254", False),
    ("100.64.0.1", False),
    ("224.0.0.1", False),
    ("255.255.255.255", False),
    ("192.0.2.1", False),
    ("::1", False),
    ("::", False),
    ("fe80::1%eth0", False),
    ("fc00::1", False),
    ("ff02::1", False),
    ("::ffff:127.0.0.1", False),
    ("::ffff:169.254.169.254", False),
    ("64:ff9b::7f00:1", False),
    ("64:ff9b::a9fe:a9fe", False),
    ("2002:7f00:1::", False),
    ("2001:db8::1", False),
    ("::127.0.0.1", False),
    ("::ffff:0:127.0.0.1", False),
    ("fec0::1", False),
    ("64:ff9b:1::1", False),
    ("64:ff9b::808:808", True),
    ("nonsense", False),
)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(kind: bytes, data: bytes, size: int = 8) -> bytes:
    """A small PNG that says it is `size` wide and high, and one more chunk."""
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(25 * 8))
    parts = [(b"IHDR", header), (kind, data), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


PACKED = zlib.compress(bytes(1 << 26), 9)  # 64 MiB of nothing in 64 KiB


@pytest.mark.parametrize(
    "bomb",
    [
        with_chunk(b"zTXt", b"k\0\0" + PACKED),
        with_chunk(b"iCCP", b"k\0\0" + PACKED),
        with_chunk(b"tEXt", b"k\0v", size=20_000),
    ],
    ids=["text", "profile", "pixels"],
)
def test_what_unpacks_to_more_than_it_says_is_refused(server: Running, bomb: bytes) -> None:
    picture = "data:image/png;base64," + base64.b64encode(bomb).decode()
    body = {"question": "?", "response": "right", "image": picture, "rationale": False}
    answer = server.post("/v1/judge/score", body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "bad_image")


@pytest.mark.parametrize(("address", "expected"), ADDRESSES)
def test_only_addresses_of_the_internet_are_spoken_to(address: str, expected: bool) -> None:
    assert public(address) is expected


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/secret")
            self.end_headers()
            return
        if self.path == "/slow":
            with suppress(OSError):
                while True:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n" if self.path else b"X: y\r\n")
                    self.path = ""
                    sleep(0.02)
            return
        content = b"x" * 5000 if self.path == "/large" else SOUND
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def fetcher(*, trusted: bool, address: str = "127.0.0.1", limit: int = 1 << 20) -> Fetcher:
    """One that finds pictures.example at a given address, which counts as public if trusted."""
    return Fetcher(
        ["pictures.example"],
        Limits(image_bytes=limit),
        resolve=lambda _host, _port: [address],
        is_public=(lambda _address: True) if trusted else None,
    )


def fetched(one: Fetcher, url: str) -> bytes:
    return asyncio.run(one.fetch(url, "picture 1"))


def test_a_picture_comes_from_the_address_that_was_checked(elsewhere: int) -> None:
    url = f"http://pictures.example:{elsewhere}/seven.png"
    assert fetched(fetcher(trusted=True), url) == SOUND


@pytest.mark.parametrize("path", ["/moved", "/none"])
def test_redirects_and_failures_are_not_followed(elsewhere: int, path: str) -> None:
    with pytest.raises(Failure, match="status"):
        fetched(fetcher(trusted=True), f"http://pictures.example:{elsewhere}{path}")


def test_a_host_that_sends_a_byte_now_and_then_is_cut_off(elsewhere: int) -> None:
    slow = Fetcher(
        ["pictures.example"],
        Limits(),
        resolve=lambda _host, _port: ["127.0.0.1"],
        is_public=lambda _address: True,
        seconds=0.5,
    )

    async def as_many_as_there_are_threads(url: str) -> list[bytes | BaseException]:
        fetches = [slow.fetch(url, "picture 1") for _ in range(8)]
        return await asyncio.gather(*fetches, return_exceptions=True)

    url = f"http://pictures.example:{elsewhere}/slow"
    for told in asyncio.run(as_many_as_there_are_threads(url)):
        assert isinstance(told, Failure)
        assert "was not sent within 0.5 s" in told.message
    url = f"http://pictures.example:{elsewhere}/seven.png"
    assert fetched(slow, url) == SOUND


def test_a_large_picture_is_not_read_to_its_end(elsewhere: int) -> None:
    with pytest.raises(Failure, match="bytes"):
        fetched(fetcher(trusted=True, limit=1000), f"http://pictures.example:{elsewhere}/large")


@pytest.mark.parametrize("address", [a for a, allowed in ADDRESSES if not allowed])
def test_a_name_that_leads_inside_is_refused(address: str, monkeypatch: Any) -> None:
    def connect(*_args: object, **_options: object) -> None:
        raise AssertionError("it was connected")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Failure, match="no public address"):
        fetched(fetcher(trusted=False, address=address), "http://pictures.example/a.png")


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a.png",
        "http://pictures.example.evil/a.png",
        "http://pictures.example@evil.example/a.png",
        "http://user:secret@pictures.example/a.png",
        "http://127.0.0.1/a.png",
        "http://[::1]/a.png",
        "http://pictures.example:notaport/",
        "http://pictures.example /a.png",
        "http://pictures.example/\r\nHost: evil",
        "http://",
        "https://\u0440ictures.example/",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Failure):
        fetched(fetcher(trusted=True), url)


def test_nothing_is_fetched_unless_it_was_allowed() -> None:
    with pytest.raises(Failure, match="fetches nothing"):
        fetched(Fetcher([], Limits()), "https://example.org/a.png")
