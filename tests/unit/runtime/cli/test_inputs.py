"""What the values of options stand for."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.cli.inputs import Inputs
from edgecritic.errors import InputError
from edgecritic.task import Rubric


def inputs(stdin: bytes = b"") -> Inputs:
    return Inputs(io.BytesIO(stdin))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_plain_text_stands_for_itself(text: str) -> None:
    escaped = "@" + text if text.startswith("@") else text
    if text != "-":
        assert inputs().text(escaped, "--response") == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff")))
def test_a_file_s_text_is_kept_but_for_one_line_break(text: str) -> None:
    assert inputs((text + "\n").encode()).text("-", "--response") == text


def test_a_byte_order_mark_and_windows_line_ends_are_dropped() -> None:
    assert inputs(b"\xef\xbb\xbfa\r\nb\r\n").text("-", "--response") == "a\nb"


def test_stdin_is_read_once() -> None:
    source = inputs(b"text")
    source.text("-", "--question")
    with pytest.raises(InputError, match="--response and --question both read stdin"):
        source.text("-", "--response")


def test_text_that_is_not_utf8_names_the_byte() -> None:
    with pytest.raises(InputError, match="byte 3 is 0xff"):
        inputs(b"abc\xff").text("-", "--response")


@pytest.mark.parametrize("name", ["", "missing.txt", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(name: str) -> None:
    with pytest.raises(InputError, match="--response names the file"):
        inputs().text(f"@{name}", "--response")


def test_pictures_are_paths_or_stdin() -> None:
    assert inputs().image("picture.png") == "picture.png"
    assert inputs(b"PNG").image("-") == b"PNG"


def test_a_rubric_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "rubric.json").write_text('{"low": 0, "high": 4, "criteria": "brevity"}\n')
    assert inputs().rubric(f"@{tmp_path}/rubric.json") == Rubric(0, 4, "brevity")
    assert inputs().rubric(" 1-5 ") == Rubric(1, 5)


def test_endless_input_ends() -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b"a" * (size or 0)

    with pytest.raises(InputError, match="over 64 MiB"):
        Inputs(Endless()).text("-", "--response")


def test_a_stdin_that_cannot_be_read_is_named() -> None:
    class WriteOnly(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(InputError, match="--response reads stdin, which cannot be read: Bad file"):
        Inputs(WriteOnly()).text("-", "--response")
