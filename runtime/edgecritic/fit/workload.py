"""How many tiles, image tokens and text tokens some judgements take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgecritic.vision import (
    Geometry,
    ImageGeometry,
    Size,
    capped,
    fitted_size,
    select_best_resolution,
    token_count,
    token_grid,
)

_QUESTION_TOKENS: Final = 60  # instructions and a short question, in the dialects there are
_LABEL_TOKENS: Final = 8  # what stands around a response


@dataclass(frozen=True, slots=True)
class Workload:
    """What shall be judged.

    Attributes:
        image_size: (width, height) in pixels; None for text only.
        responses: one is scored; of several all ordered pairs are judged.
        response_tokens: length of a response.
        max_tiles: see `Critic.load`.
        max_image_tokens: see `Critic.load`.
    """

    image_size: tuple[int, int] | None = (1024, 768)
    responses: int = 1
    response_tokens: int = 24
    max_tiles: int | None = None
    max_image_tokens: int | None = None

    @property
    def judgements(self) -> int:
        """Verdicts that are read."""
        return 1 if self.responses == 1 else self.responses * (self.responses - 1)

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return 0 if self.image_size is None else self.image_size[0] * self.image_size[1]

    def picture(self, geometry: Geometry | None) -> Picture:
        """What the picture becomes.

        Raises:
            ImageError: it is too thin for the critic.
            InputError: a cap does not fit the critic.
        """
        if geometry is None or self.image_size is None:
            return Picture(0, (0, 0), 0)
        width, height = self.image_size
        size: Size = (height, width)
        used = capped(geometry, self.max_tiles, self.max_image_tokens)
        if isinstance(used, ImageGeometry):
            canvas = select_best_resolution(size, used.pinpoints)
            tiles = 1 + canvas[0] * canvas[1] // used.tile_size**2
            return Picture(tiles, (used.tile_size, used.tile_size), token_count(size, used))
        rows, columns = token_grid(size, used)
        return Picture(1, fitted_size(size, used), rows * columns)

    def tokens(self, image_tokens: int) -> int:
        """Tokens that are computed, what prompts share once."""
        shared = image_tokens + _QUESTION_TOKENS
        response = self.response_tokens + _LABEL_TOKENS
        if self.responses == 1:
            return shared + response
        return shared + self.responses * response + self.judgements * response

    def longest(self, image_tokens: int) -> int:
        """Tokens of the longest prompt."""
        shown = 1 if self.responses == 1 else 2
        return image_tokens + _QUESTION_TOKENS + shown * (self.response_tokens + _LABEL_TOKENS)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the vision tower and the language model see it.

    Attributes:
        tiles: that are encoded, the base view included.
        tile: (height, width) of one, in pixels.
        tokens: that the language model reads.
    """

    tiles: int
    tile: Size
    tokens: int
