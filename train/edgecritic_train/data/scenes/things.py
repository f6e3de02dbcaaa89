"""Things that can stand in a scene: coloured shapes and sprites, under one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgecritic_train.data.assets import AssetError, Concept
from edgecritic_train.data.dice import chance, pick, spread
from edgecritic_train.data.scenes.backgrounds import (
    DRAWN_GROUNDS,
    HELD_OUT_GROUNDS,
    PLAIN_GROUNDS,
    ground,
)
from edgecritic_train.data.scenes.layout import Place, Size
from edgecritic_train.data.scenes.palette import COLOUR_NAMES, COLOURS, Rgb, paper_for
from edgecritic_train.data.scenes.shapes import FILLS, HELD_OUT_FILLS, SHAPES, draw_shape
from edgecritic_train.data.scenes.sprites import draw_sprite, mean_colour
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import combination_allowed, novel_look, photographs_only
from edgecritic_train.data.wording import with_article


@dataclass(frozen=True, slots=True)
class Thing:
    """Something with a name that can be drawn.

    Attributes:
        name: singular ("red circle", "dog").
        plural: plural ("red circles", "dogs").
        phrase: with its article ("a red circle"), or bare for nouns without one ("grapes").
        colour: of a shape, else "".
        shape: of a shape, else "".
        concept: of a sprite, else None.
    """

    name: str
    plural: str
    phrase: str
    colour: str = ""
    shape: str = ""
    concept: Concept | None = None

    @property
    def is_are(self) -> str:
        """The verb that goes with it: "are" for nouns like "grapes" alone."""
        return "are" if self.phrase == self.name and self.name.endswith("s") else "is"


def shape_thing(colour: str, shape: str) -> Thing:
    """A coloured shape."""
    name = f"{colour} {shape}"
    plural = f"{name}es" if shape == "cross" else f"{name}s"
    return Thing(name, plural, with_article(name), colour, shape)


def concept_thing(concept: Concept) -> Thing:
    """A concept drawn as a sprite."""
    phrase = f"{concept.article} {concept.name}" if concept.article else concept.name
    return Thing(concept.name, concept.plural, phrase, concept=concept)


def draw_shape_things(
    setting: Setting, count: int, colours: Sequence[str] = COLOUR_NAMES, same_shape: bool = False
) -> list[Thing]:
    """Shapes of different colours and, unless asked otherwise, different forms."""
    found: list[Thing] = []
    shape = pick(setting.rng, SHAPES)
    while len(found) < count:
        colour = pick(setting.rng, colours)
        shape = shape if same_shape else pick(setting.rng, SHAPES)
        if any(colour == other.colour for other in found):
            continue
        if not same_shape and any(shape == other.shape for other in found):
            continue
        if shape_allowed(setting, colour, shape):
            found.append(shape_thing(colour, shape))
    return found


def shape_allowed(setting: Setting, colour: str, shape: str) -> bool:
    """Whether the split may show this combination."""
    return combination_allowed(COLOUR_NAMES.index(colour), SHAPES.index(shape), setting.split)


def draw_concepts(setting: Setting, count: int, near: bool = False) -> list[Concept]:
    """Concepts that a person would not mistake for one another.

    Args:
        setting: assets, split and generator.
        count: how many.
        near: all of one category, where it has enough; else of any.

    Raises:
        AssetError: the split has too few concepts.
    """
    pool = setting.concepts()
    if near:
        category = pick(setting.rng, pool).category
        found = _unlike(setting, [c for c in pool if c.category == category], count)
        if len(found) == count:
            return found
    found = _unlike(setting, pool, count)
    if len(found) < count:
        raise AssetError(
            f"split {setting.split} has {len(pool)} concepts, too few to draw {count} unlike ones",
            hint="load a pack with more concepts",
        )
    return found


def _unlike(setting: Setting, pool: Sequence[Concept], count: int) -> list[Concept]:
    """As many concepts as can be found in a bounded number of draws, none confusable."""
    found: list[Concept] = []
    for _ in range(40 * count):
        candidate = pick(setting.rng, pool)
        if not any(_confusable(candidate, other) for other in found):
            found.append(candidate)
        if len(found) == count:
            break
    return found


def draw_things(
    setting: Setting, count: int, near: bool = False, shapes: float = 0.4
) -> list[Thing]:
    """Different things: all shapes with the given probability, else all sprites.

    The split of photographs has sprites only.
    """
    if not photographs_only(setting.split) and chance(setting.rng, shapes):
        return draw_shape_things(setting, count)
    return [concept_thing(concept) for concept in draw_concepts(setting, count, near)]


def render(setting: Setting, thing: Thing) -> Image.Image:
    """A thing as an RGBA picture."""
    if thing.concept is not None:
        return draw_sprite(setting.rng, setting.assets, thing.concept, setting.split)
    fills = HELD_OUT_FILLS if novel_look(setting.split) else FILLS
    return draw_shape(setting.rng, thing.shape, thing.colour, fills)


def compose(setting: Setting, size: Size, placed: Sequence[tuple[Thing, Place]]) -> Image.Image:
    """A scene: things at their places on a background that they stand out from."""
    rng = setting.rng
    pictures = [render(setting, thing) for thing, _ in placed]
    colours: list[Rgb] = [
        COLOURS[thing.colour] if thing.colour else mean_colour(picture)
        for (thing, _), picture in zip(placed, pictures, strict=True)
    ]
    base = paper_for(rng, colours)
    scene = ground(rng, size, _grounds(setting, placed, base), base)
    for (thing, place), picture in zip(placed, pictures, strict=True):
        turn = 20.0 if thing.concept is not None and chance(rng, 0.4) else 0.0
        _paste(rng, scene, picture, place, turn)
    return scene


def _grounds(setting: Setting, placed: Sequence[tuple[Thing, Place]], base: Rgb) -> tuple[str, ...]:
    if novel_look(setting.split):
        return (*HELD_OUT_GROUNDS, "plain")
    sprites_only = all(thing.concept is not None for thing, _ in placed)
    if sprites_only and sum(base) > 560 and chance(setting.rng, 0.35):
        return DRAWN_GROUNDS
    return PLAIN_GROUNDS


def _paste(
    rng: np.random.Generator, scene: Image.Image, picture: Image.Image, place: Place, turn: float
) -> None:
    if turn:
        angle = spread(rng, -turn, turn)
        picture = picture.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    scale = place.side / max(picture.size)
    width, height = (max(1, round(edge * scale)) for edge in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    corner = (round(place.x - width / 2), round(place.y - height / 2))
    scene.paste(picture, corner, picture)


def _confusable(one: Concept, other: Concept) -> bool:
    """Of one fine group, or with a word in common ("green apple" and "apple")."""
    same_group = one.group == other.group and one.category == other.category
    return same_group or bool(set(one.name.split()) & set(other.name.split()))
