"""Prompts: versioned wordings, rendered the same way for training and for judging."""

from edgecritic.prompts.render import Control, ImageSlot, Piece, Prompt, Text, render
from edgecritic.prompts.template import (
    DEFAULT_DIALECT,
    Dialect,
    Setting,
    dialect_names,
    load_dialect,
)

__all__ = [
    "DEFAULT_DIALECT",
    "Control",
    "Dialect",
    "ImageSlot",
    "Piece",
    "Prompt",
    "Setting",
    "Text",
    "dialect_names",
    "load_dialect",
    "render",
]
