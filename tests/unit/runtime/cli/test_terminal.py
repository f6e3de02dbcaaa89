"""Text for terminals: columns, wrapping, and nothing that could drive the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.cli.terminal import Style, Wrapper, clean, clipped, display_width, wrapped

anything = st.text(st.characters(codec=None))


@given(anything)
def test_clean_text_cannot_drive_a_terminal(text: str) -> None:
    for char in clean(text):
        harmless = char == "\n" or char in "\u200c\u200d\u00ad"
        assert harmless or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\x07b\x7fc\x9bd", "a\\x07b\\x7fc\\x9bd"),
        ("evil\u202etxt", "evil\\u202etxt"),
        ("one\r\ntwo\u2028three", "one\ntwo\nthree"),
        ("over\rwritten", "over\\x0dwritten"),
        ("a\tb", "a    b"),
        ("七 and 👩\u200d🔬", "七 and 👩\u200d🔬"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_clean_shows(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert display_width("七a") == 3
    assert display_width("e\u0301") == 1


@given(anything, st.integers(2, 60))
def test_wrapped_lines_fit_and_keep_every_word(text: str, width: int) -> None:
    lines = wrapped(text, width).split("\n")
    assert all(display_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


@given(st.lists(st.text("ab c\n七", max_size=8), max_size=12), st.integers(4, 20))
def test_text_in_pieces_wraps_as_the_whole_does(pieces: list[str], width: int) -> None:
    wrapper = Wrapper(width, "  ")
    in_pieces = "".join(map(wrapper.feed, pieces)) + wrapper.finish()
    whole = Wrapper(width, "  ")
    assert in_pieces == whole.feed("".join(pieces)) + whole.finish()


@given(anything, st.integers(4, 40))
def test_clipped_text_is_one_line_that_fits(text: str, width: int) -> None:
    line = clipped(text, width)
    assert "\n" not in line
    assert display_width(line) <= width


@given(st.floats(0, 1), st.integers(1, 40), st.booleans())
def test_a_bar_fills_its_cells(share: float, cells: int, unicode: bool) -> None:
    assert len(Style(unicode=unicode).bar(share, cells)) == cells


def test_bars_resolve_eighths_of_a_cell_where_they_can() -> None:
    assert Style(unicode=True).bar(0.5 + 1 / 16, 2) == "█▏"
    assert Style(unicode=False).bar(0.5, 4) == "##.."


def test_colours_only_where_there_are_any() -> None:
    assert Style(colour=False).paint("x", "red") == "x"
    assert Style(colour=True).paint("x", "bold", "red") == "\x1b[1;31mx\x1b[0m"
