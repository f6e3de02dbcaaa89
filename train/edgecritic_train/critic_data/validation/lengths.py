"""How many tokens a row takes, pictures included: with the base's own tokenizer and eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecritic.prompts import Control, ImageSlot
from edgecritic.vision import Size
from edgecritic_train.critic_data.rendering import RenderedRow
from edgecritic_train.tuning.families import Eye, Folder, open_folder


@dataclass(frozen=True, slots=True)
class BaseTokens:
    """Counts tokens as training will lay them out.

    Attributes:
        folder: the base's settings and tokenizer.
        eye: how it looks at pictures.
    """

    folder: Folder
    eye: Eye

    @classmethod
    def read(cls, path: Path, max_image_tokens: int | None = None) -> BaseTokens:
        """Read a base's folder; only its small files are looked at.

        Args:
            path: a folder that transformers can load.
            max_image_tokens: the cap that training sets on a picture, as ``images.max_tokens``.

        Raises:
            ArtifactError: a file is missing or cannot be used, or the base is of another family.
            InputError: no picture has so few tokens.
            MissingExtraError: the tokenizers package is not installed.
        """
        family, folder = open_folder(path)
        return cls(folder, family.eye(folder, max_image_tokens))

    def text(self, rendered: RenderedRow) -> int:
        """Tokens of prompt and answer without pictures."""
        encode = self.folder.tokenizer.encode
        total = sum(
            len(encode(piece.text, control=isinstance(piece, Control)))
            for piece in rendered.prompt.pieces
            if not isinstance(piece, ImageSlot)
        )
        return (
            total
            + sum(len(encode(p.text, control=False)) for p in rendered.taught)
            + (
                1 if rendered.ends else 0  # of the end of the turn, the first token is learned
            )
        )

    def pictures(self, sizes: Sequence[Size]) -> int:
        """Tokens of all pictures of a row; what frames them is the dialect's, and text.

        Args:
            sizes: (height, width) of each, in pixels.

        Raises:
            ImageError: one is too thin.
        """
        single = len(sizes) > 1
        return sum(self.eye.n_tokens(size, single=single) for size in sizes)
