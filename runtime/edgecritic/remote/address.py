"""Where an endpoint is, and the key that it may be given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from edgecritic.errors import InputError, shown
from edgecritic.remote.options import RemoteOptions

_ENDPOINT = "/chat/completions"
_OPENAI = "api.openai.com"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Address:
    """One endpoint.

    Attributes:
        scheme: ``"https"`` or ``"http"``.
        host: its name or IP address.
        port: of TCP.
        target: path and query of the requests.
        name: scheme, host and path for messages, without the query.
        key: bearer token, or empty.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    name: str
    key: str = field(repr=False, default="")

    @property
    def place(self) -> str:
        """Host, and port unless it is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @classmethod
    def of(
        cls, url: str, options: RemoteOptions, environ: Mapping[str, str] = os.environ
    ) -> Address:
        """The address that a URL names.

        Args:
            url: of the API, such as ``https://host/v1``, or of its chat completions.
            options: for the key, and whether plain http is allowed.
            environ: holds keys.

        Raises:
            InputError: the URL is none, holds a password, or is not safe; or the key is no key.
        """
        parts, port = _split(url)
        host = parts.hostname or ""
        if parts.scheme == "http" and not (options.allow_http or _is_here(host)):
            raise InputError(
                f"{parts.scheme}://{host} would carry pictures and key unencrypted",
                "use https, or allow it: RemoteOptions(allow_http=True)",
            )
        path = parts.path.rstrip("/")
        if not path.endswith(_ENDPOINT):
            path = (path or "/v1") + _ENDPOINT
        return cls(
            scheme=parts.scheme,
            host=host,
            port=port or _PORTS[parts.scheme],
            target=path + (f"?{parts.query}" if parts.query else ""),
            name=f"{parts.scheme}://{parts.netloc}{path}",
            key=_checked(_key(host, options, environ)),
        )


def _split(url: str) -> tuple[SplitResult, int | None]:
    hint = "give the address of the API, such as https://example.org/v1"
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{shown(url)} is not a URL", hint)
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")  # what the look-up of the name will do
    except ValueError as error:
        raise InputError(f"the URL cannot be read: {error}", hint) from None
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "the URL holds a user name or password, which logs would show",
            "leave it out, and give the key as EDGECRITIC_API_KEY in the environment",
        )
    if parts.scheme not in _PORTS or not parts.hostname:
        raise InputError(f"{shown(url)} is not a https:// or http:// URL", hint)
    return parts, port


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _key(host: str, options: RemoteOptions, environ: Mapping[str, str]) -> str:
    """The first key that is meant for this host.

    ``OPENAI_API_KEY`` is in many environments; a critic elsewhere must not learn it by accident.
    """
    if options.api_key is not None:
        return options.api_key
    if key := environ.get("EDGECRITIC_API_KEY"):
        return key
    try:
        openai_host = urlsplit(environ.get("OPENAI_BASE_URL", "")).hostname
    except ValueError:
        openai_host = None
    return environ.get("OPENAI_API_KEY", "") if host in (_OPENAI, openai_host) else ""


def _checked(key: str) -> str:
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(
            "the API key holds blanks or characters that no key has (it is not shown)",
            "copy it again",
        )
    return key
