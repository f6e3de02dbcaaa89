"""The table of question types: builder, weight, and the splits where each is defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecritic.errors import CriticError
from edgecritic_train.data.questions import (
    chart,
    colour_shape,
    count,
    digit,
    garment,
    listing,
    number,
    objects,
    panel,
    photo,
    puzzle,
    relation,
    word,
)
from edgecritic_train.data.questions.draft import Builder

_SEEN = ("train", "T0", "T4")
"""Where the assets and values of training are used (T4 with other wordings and families)."""
_STYLES = (*_SEEN, "T1")
_VALUES = (*_SEEN, "T2")
_BOTH = (*_SEEN, "T1", "T2")


@dataclass(frozen=True, slots=True)
class Kind:
    """A question type.

    Attributes:
        name: as `TwinItem.kind` has it.
        build: makes a draft for a setting.
        weight: its share among the kinds of a split, in arbitrary units.
        splits: where it is defined, by what the split can hold out for it.
    """

    name: str
    build: Builder
    weight: float
    splits: tuple[str, ...]


class UnknownKindError(CriticError):
    """A kind or split that does not exist, or a kind that the split does not have."""


# Objects weigh most: naming things in a drawing style never seen is what the critic finds
# hardest, while digits, counts and colours are learnt from few examples.
_TABLE: tuple[Kind, ...] = (
    Kind("digit", digit.build, 5, (*_STYLES, "T3")),
    Kind("number", number.build_handwritten, 4, _BOTH),
    Kind("sign_number", number.build_printed, 3, _BOTH),
    Kind("price", number.build_price, 3, _BOTH),
    Kind("word", word.build, 6, _STYLES),
    Kind("count", count.build, 7, _BOTH),
    Kind("colour", colour_shape.build_colour, 4, _BOTH),
    Kind("shape", colour_shape.build_shape, 4, _BOTH),
    Kind("describe", colour_shape.build_describe, 4, _BOTH),
    Kind("position", relation.build_position, 5, _BOTH),
    Kind("which_side", relation.build_which, 4, _BOTH),
    Kind("size", relation.build_size, 4, _BOTH),
    Kind("object", objects.build_naming, 15, (*_BOTH, "T3")),
    Kind("category", objects.build_category, 5, (*_BOTH, "T3")),
    Kind("presence", objects.build_presence, 10, (*_BOTH, "T3")),
    Kind("list", listing.build, 11, (*_BOTH, "T3")),
    Kind("garment", garment.build, 3, _STYLES),
    Kind("chart_value", chart.build_value, 6, _BOTH),
    Kind("chart_extreme", chart.build_extreme, 5, _STYLES),
    Kind("chart_trend", chart.build_trend, 2, _STYLES),
    Kind("chart_slice", chart.build_slice, 2, _STYLES),
    Kind("card", panel.build_card, 3, _STYLES),
    Kind("card_suit", panel.build_suit, 2, _STYLES),
    Kind("flag", panel.build_flag, 3, _BOTH),
    Kind("photo", photo.build, 10, ("T3",)),
    Kind("odd_one_out", puzzle.build_odd, 12, ("T4",)),
    Kind("how_many_more", puzzle.build_more, 12, ("T4",)),
    Kind("second_highest", puzzle.build_second, 12, ("T4",)),
    Kind("middle", puzzle.build_middle, 12, ("T4",)),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}


def kinds_of(split: str, names: Sequence[str] | None = None) -> tuple[Kind, ...]:
    """The question types of a split, or those of the given names.

    Raises:
        UnknownKindError: a name is unknown, or the split does not have that kind.
    """
    found = tuple(kind for kind in _TABLE if split in kind.splits)
    if not found:
        raise UnknownKindError(f"unknown split {split!r}", hint="use train, T0, T1, T2, T3 or T4")
    if names is None:
        return found
    available = {kind.name: kind for kind in found}
    for name in names:
        if name not in available:
            raise UnknownKindError(
                f"split {split} has no question type {name!r}",
                hint=f"it has {', '.join(available)}",
            )
    return tuple(available[name] for name in names)
