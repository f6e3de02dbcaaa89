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

HEAD_TOKENS: Final = 16
"""In front of a picture, in the dialects there are."""
QUESTION_TOKENS: Final = 34
"""Behind it: instructions and a question of twelve tokens."""
_LABEL_TOKENS: Final = 5  # what stands around a response


@dataclass(frozen=True, slots=True)
class Workload:
    """What shall be judged.

    Attributes:
        image_size: (width, height) in pixels; None for text only.
        responses: one is scored; of several all ordered pairs are judged.
        response_tokens: length of a response.
        max_tiles: see `Critic.load`.
        max_image_tokens: see `Critic.load`.
        pictures: different ones, one after another; more is kept for further questions about each
            of them, within the bounds that there are.
    """

    image_size: tuple[int, int] | None = (1024, 768)
    responses: int = 1
    response_tokens: int = 24
    max_tiles: int | None = None
    max_image_tokens: int | None = None
    pictures: int = 1

    @property
    def judgements(self) -> int:
        """Verdicts that are read."""
        return 1 if self.responses == 1 else self.responses * (self.responses - 1)

    @property
    def requests(self) -> int:
        """Judgements that are asked for; each reads the picture. A pair's two orders are one."""
        return 1 if self.responses == 1 else self.judgements // 2

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
        shared = HEAD_TOKENS + image_tokens + QUESTION_TOKENS
        if self.responses == 1:
            return shared + self.answer_tokens
        return shared + (self.responses + self.judgements) * self.answer_tokens

    @property
    def answer_tokens(self) -> int:
        """Tokens of a response and of what stands around it."""
        return self.response_tokens + _LABEL_TOKENS

    def longest(self, image_tokens: int) -> int:
        """Tokens of the longest prompt."""
        shown = 1 if self.responses == 1 else 2
        return HEAD_TOKENS + image_tokens + QUESTION_TOKENS + shown * self.answer_tokens

    def kept(self, image_tokens: int, n_cells: int) -> int:
        """Cells that are in use at the end, in an engine with so many.

        What was decoded is kept for later questions, as many prompts as the engine's cells hold
        if no two shared any; the least recently used of them give way.
        """
        before = self.pictures - 1
        prompts = min(before * self.judgements, n_cells // self.longest(image_tokens))
        seen = -(-prompts // self.judgements)
        shared = image_tokens + QUESTION_TOKENS
        earlier = seen * shared + prompts * (self.longest(0) - QUESTION_TOKENS - HEAD_TOKENS)
        return min(n_cells, earlier + self.tokens(image_tokens))


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
