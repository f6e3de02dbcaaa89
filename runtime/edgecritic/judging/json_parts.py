"""What JSON is made of, as parts of a grammar: one blank behind ``:`` and ``,``, no exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgecritic.judging.grammar import Later, OneOf, Part, Repeated, either, in_turn, literal

DEPTH: Final = 4  # of what no schema describes
# Small critics repeat themselves: what no schema bounds ends some time.
_MOST_MEMBERS: Final = 32
_MOST_ITEMS: Final = 64


def _bytes(first: int, last: int) -> OneOf:
    return OneOf(range(first, last + 1))


DIGIT = _bytes(0x30, 0x39)
NONZERO = _bytes(0x31, 0x39)
_HEX = OneOf(b"0123456789abcdefABCDEF")
_MORE = _bytes(0x80, 0xBF)
# Source: the well-formed UTF-8 of Unicode 15, table 3-7.
CHARACTER = either(
    [
        OneOf(frozenset(range(0x20, 0x80)) - frozenset(b'"\\')),
        in_turn(b"\\", OneOf(b'"\\/bfnrt')),
        in_turn(b"\\u", OneOf(b"0123456789abcefABCEF"), _HEX, _HEX, _HEX),
        in_turn(_bytes(0xC2, 0xDF), _MORE),
        in_turn(b"\xe0", _bytes(0xA0, 0xBF), _MORE),
        in_turn(_bytes(0xE1, 0xEC), _MORE, _MORE),
        in_turn(b"\xed", _bytes(0x80, 0x9F), _MORE),
        in_turn(_bytes(0xEE, 0xEF), _MORE, _MORE),
        in_turn(b"\xf0", _bytes(0x90, 0xBF), _MORE, _MORE),
        in_turn(_bytes(0xF1, 0xF3), _MORE, _MORE, _MORE),
        in_turn(b"\xf4", _bytes(0x80, 0x8F), _MORE, _MORE),
    ]
)
WHOLE = either([b"0", in_turn(NONZERO, Repeated(DIGIT, 0, 14))])
SIGN = Repeated(literal(b"-"), 0, 1)
FRACTION = Repeated(in_turn(b".", Repeated(DIGIT, 1, 6)), 0, 1)
BOOLEAN = either([b"true", b"false"])
ANY_STRING = in_turn(b'"', Repeated(CHARACTER), b'"')
ANY_NUMBER = in_turn(SIGN, WHOLE, FRACTION)


def json_object() -> Part:
    """Any JSON object that is not empty: whoever asks for one wants something in it."""
    return _filled(Later(lambda: anything(DEPTH - 1), b"0"))


def object_of(members: Sequence[tuple[Part, bool]]) -> Part:
    """An object of these members in their order; those that are required must be there."""
    begun = unbegun = literal(b"")  # what may follow, behind a member and before any
    for member, required in reversed(members):
        more, first = in_turn(b", ", member, begun), in_turn(member, begun)
        begun, unbegun = (
            (more, first) if required else (either([more, begun]), either([first, unbegun]))
        )
    return in_turn(b"{", unbegun, b"}")


def array_of(item: Part, low: int, high: int | None) -> Part:
    """An array of at least `low` items, and at most `high`."""
    if high == 0:
        return literal(b"[]")
    rest = Repeated(in_turn(b", ", item), max(0, low - 1), None if high is None else high - 1)
    some = in_turn(b"[", item, rest, b"]")
    return some if low else either([b"[]", some])


def any_members(value: Part) -> Part:
    """An object of any names."""
    return either([b"{}", _filled(value)])


def _filled(value: Part) -> Part:
    member = in_turn(ANY_STRING, b": ", value)
    return in_turn(b"{", member, Repeated(in_turn(b", ", member), 0, _MOST_MEMBERS - 1), b"}")


def any_object(depth: int = DEPTH) -> Part:
    """An object of any values, nested no deeper than that."""
    return any_members(Later(lambda: anything(depth - 1), b"0"))


def anything(depth: int = DEPTH) -> Part:
    """Any value, nested no deeper than that."""
    plain = [ANY_STRING, ANY_NUMBER, BOOLEAN, literal(b"null")]
    if not depth:
        return either(plain)
    items = array_of(Later(lambda: anything(depth - 1), b"0"), 0, _MOST_ITEMS)
    return either([*plain, items, any_object(depth)])
