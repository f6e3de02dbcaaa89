"""Pictures from elsewhere: only from hosts that the operator named, and only from the internet.

A server that fetches what a request names can be made to look into its own network. So a name is
resolved once, every address that it has must be public, the connection goes to the address that was
checked, and a redirect is an error. Whoever sends a byte now and then is cut off.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Timer
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from edgecritic.errors import shown
from edgecritic.server.failures import Failure, bad_request
from edgecritic.server.options import Limits

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
_TIMEOUT_S = 10.0
_FETCH_S = 30.0
_AT_ONCE = 8
_CHUNK = 1 << 16
_PORTS = {"https": 443, "http": 80}
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Fetcher:
    """Fetches pictures.

    Args:
        hosts: from which it may; all others are refused.
        limits: on a picture's size.
        resolve: finds a host's addresses.
        is_public: whether an address may be spoken to.
        seconds: that a picture may take.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        limits: Limits,
        resolve: Resolve = resolve,
        is_public: Callable[[str], bool] | None = None,
        seconds: float = _FETCH_S,
    ) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limits = limits
        self._resolve = resolve
        self._is_public = is_public or public
        self._seconds = seconds
        # Of its own: a slow host must not hold up what else the server does beside its loop.
        self._threads = ThreadPoolExecutor(_AT_ONCE, "edgecritic-fetch")

    async def fetch(self, url: str, where: str) -> bytes:
        """The encoded picture.

        Args:
            url: https or http.
            where: the picture's place, for messages.

        Raises:
            Failure: it may not be fetched, or cannot.
        """
        parts, port = self._checked(url, where)
        try:
            async with asyncio.timeout(self._seconds):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._get, parts, port, where)
        except TimeoutError:
            raise _unusable(f"{where} was not sent within {self._seconds:g} s") from None

    def _checked(self, url: str, where: str) -> tuple[SplitResult, int]:
        if not self._hosts:
            raise bad_request(
                f"{where} lies elsewhere, and this server fetches nothing",
                "send it as data:image/png;base64,..., or start the server with --allow-image-host",
                "remote_image",
            )
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            host = (parts.hostname or "").encode("idna").decode()
        except (ValueError, KeyError):
            raise _unusable(f"{where} has a URL that cannot be read: {shown(url)}") from None
        if not url.isascii() or not url.isprintable() or " " in url or parts.username is not None:
            raise _unusable(f"{where} has a URL that cannot be read: {shown(url)}")
        if host not in self._hosts:
            raise bad_request(
                f"{where} lies at {shown(host)}, from where nothing is fetched",
                "send it as data:image/png;base64,..., or ask the operator",
                "remote_image",
            )
        return parts, port

    def _get(self, parts: SplitResult, port: int, where: str) -> bytes:
        host = parts.hostname or ""
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise _unusable(f"{where}: {host} is not known: {error}") from None
        if not addresses or not all(map(self._is_public, addresses)):
            raise bad_request(
                f"{where}: {host} is no public address", "send the picture itself", "remote_image"
            )
        try:
            with (
                _connected(parts.scheme, host, port, addresses[0]) as connection,
                _cut_after(self._seconds, connection),
            ):
                return self._received(connection, parts, where)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _unusable(f"{where} cannot be fetched from {host}: {shown(error)}") from None

    def _received(
        self, connection: http.client.HTTPConnection, parts: SplitResult, where: str
    ) -> bytes:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc, "Accept": "image/*"})
        with connection.getresponse() as answer:
            if answer.status != http.client.OK:
                raise _unusable(
                    f"{where} cannot be fetched from {parts.hostname}: status {answer.status}"
                    + (", and redirects are not followed" if 300 <= answer.status < 400 else "")
                )
            return self._read(answer, where)

    def _read(self, answer: http.client.HTTPResponse, where: str) -> bytes:
        data = bytearray()
        while chunk := answer.read1(_CHUNK):
            data += chunk
            if len(data) > self._limits.image_bytes:
                raise _unusable(f"{where} has over {self._limits.image_bytes:,} bytes")
        return bytes(data)


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, whatever the host's name resolves to by now."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=_TIMEOUT_S)
        self._address = address
        self._context = context

    def connect(self) -> None:
        """Connect; the certificate must be the host's."""
        self.sock = socket.create_connection((self._address, self.port), _TIMEOUT_S)
        if self._context is not None:
            encrypted = self._context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock = encrypted  # before its handshake, which may have to be cut off, too
            encrypted.do_handshake()

    def cut(self) -> None:
        """Wake up whoever reads from it, with nothing."""
        if self.sock is not None:
            # Of the plain socket even under TLS, whose own shutdown takes away what is read from.
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


@contextmanager
def _cut_after(seconds: float, connection: _Pinned) -> Iterator[None]:
    """Whoever waited has been told by then; this is for the thread."""
    timer = Timer(seconds, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _connected(scheme: str, host: str, port: int, address: str) -> closing[_Pinned]:
    context = ssl.create_default_context() if scheme == "https" else None
    return closing(_Pinned(host, port, address, context))


def public(address: str) -> bool:
    """An address of the internet: no loopback, private, link-local, shared or reserved one."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and not (ip in _UNICAST or ip in _NAT64):
        return False  # Python counts some forms of the past as global, ::127.0.0.1 among them
    return all(one.is_global and not one.is_multicast for one in _meant(ip))


def _meant(ip: Address) -> list[Address]:
    """The address, and the IPv4 address that an IPv6 one may stand for."""
    if isinstance(ip, IPv4Address):
        return [ip]
    inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        inner.append(IPv4Address(int(ip) & 0xFFFFFFFF))
    return [ip, *(address for address in inner if address is not None)]


def _unusable(message: str) -> Failure:
    return bad_request(
        message, "send the picture itself, as data:image/png;base64,...", "bad_image"
    )
