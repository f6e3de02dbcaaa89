"""Addresses, and who is given which key."""

from __future__ import annotations

import pytest

from edgecritic import InputError
from edgecritic.remote import RemoteOptions
from edgecritic.remote.address import Address

BOTH = {"EDGECRITIC_API_KEY": "ours", "OPENAI_API_KEY": "theirs"}
OPENAI = {"OPENAI_API_KEY": "theirs"}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.org", "/v1/chat/completions"),
        ("https://example.org/", "/v1/chat/completions"),
        ("https://example.org/v1", "/v1/chat/completions"),
        ("https://example.org/v1/", "/v1/chat/completions"),
        ("https://example.org/api/v1/chat/completions", "/api/v1/chat/completions"),
        (
            "https://example.org/openai/v1?api-version=2",
            "/openai/v1/chat/completions?api-version=2",
        ),
    ],
)
def test_base_and_full_addresses_are_understood(url: str, target: str) -> None:
    assert Address.of(url, RemoteOptions(), {}).target == target


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://Example.org/v1", "example.org"),
        ("https://example.org:8443", "example.org:8443"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://[::1]:8080/v1", "[::1]:8080"),
    ],
)
def test_the_place_is_host_and_port(url: str, place: str) -> None:
    assert Address.of(url, RemoteOptions(), {}).place == place


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/v1",
        "ftp://example.org",
        "file:///etc/passwd",
        "https://",
        "https://example.org:99999",
        "https://exa mple.org",
        "https://example.org/\r\nX: y",
        "https://ex\u00e4mple.org",
        f"https://{'a' * 64}.org",
        "https://[::1",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Address.of(url, RemoteOptions(), {})


def test_a_password_in_an_address_is_refused_and_not_told() -> None:
    with pytest.raises(InputError) as caught:
        Address.of("https://user:hunter2@example.org", RemoteOptions(), {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["example.org", "192.168.1.5", "localhost.example.org"])
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(InputError, match="unencrypted"):
        Address.of(f"http://{host}/v1", RemoteOptions(), {})
    assert Address.of(f"http://{host}/v1", RemoteOptions(allow_http=True), {}).port == 80


@pytest.mark.parametrize(
    ("url", "environ", "key"),
    [
        ("https://example.org", BOTH, "ours"),
        ("https://example.org", OPENAI, ""),
        ("https://api.openai.com/v1", OPENAI, "theirs"),
        ("https://api.openai.com.example.org/v1", OPENAI, ""),
        ("https://example.org", OPENAI | {"OPENAI_BASE_URL": "https://example.org/v1"}, "theirs"),
        ("https://example.org", OPENAI | {"OPENAI_BASE_URL": "https://[bad"}, ""),
        ("https://example.org", {}, ""),
    ],
)
def test_a_key_is_given_to_whom_it_is_meant_for(
    url: str, environ: dict[str, str], key: str
) -> None:
    assert Address.of(url, RemoteOptions(), environ).key == key


def test_a_key_that_is_given_goes_first() -> None:
    assert Address.of("https://example.org", RemoteOptions(api_key=" mine "), BOTH).key == "mine"
    assert Address.of("https://example.org", RemoteOptions(api_key=""), BOTH).key == ""


@pytest.mark.parametrize("key", ["two words", "line\r\nX: y", "schl\u00fcssel"])
def test_what_is_no_key_is_refused_and_not_told(key: str) -> None:
    with pytest.raises(InputError) as caught:
        Address.of("https://example.org", RemoteOptions(api_key=key), {})
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"prefill": "perhaps"},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"retries": -1},
        {"retries": 11},
        {"parallel": 0},
        {"longest_side": 8},
        {"max_verdict_tokens": 0},
    ],
)
def test_options_have_ranges(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        RemoteOptions(**options)
