"""Model families that can be tuned: one module each, named like a ``config.json``'s model type."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from numpy.typing import NDArray
from PIL import Image

from edgecritic.backends.tokens import JsonTokenizer, read_settings
from edgecritic.errors import ArtifactError, shown

if TYPE_CHECKING:
    import torch

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture as its family's vision tower takes it; still on the CPU, and small.

    It is no tensor on purpose: trainers move all tensors of a whole accumulated step to the GPU at
    once, and pictures may have gigabytes there.

    Attributes:
        values: tiles (n, S, S, 3) uint8, or patches (n, d) float32.
        shape: what the model must be told of it: (height, width), or the grid (t, h, w).
    """

    values: NDArray[Any]
    shape: tuple[int, ...]


class Eye(Protocol):
    """How a base looks at pictures.

    Attributes:
        framed: control tokens stand in front of each picture and behind it, which the dialect
            has to bring.
    """

    framed: bool

    def n_tokens(self, size: Size, *, single: bool) -> int:
        """Image tokens of a picture, before it is decoded.

        Args:
            size: upright.
            single: the row has several pictures.

        Raises:
            ImageError: it is too thin.
        """
        ...

    def look(self, image: Image.Image, *, single: bool) -> Picture:
        """Prepare an RGB picture.

        Raises:
            ImageError: it is too thin.
        """
        ...

    def span(self, n_tokens: int) -> tuple[int, ...]:
        """The ids that stand for a picture of so many tokens in a row."""
        ...

    def inputs(
        self,
        pictures: Sequence[Sequence[Picture]],
        input_ids: torch.Tensor,
        dtype: torch.dtype,
    ) -> dict[str, torch.Tensor]:
        """What the model's forward takes besides tokens, on the tokens' device.

        Args:
            pictures: of each row.
            input_ids: (n_rows, length) int64.
            dtype: of the vision tower.
        """
        ...

    def positions(
        self,
        model: Any,
        input_ids: torch.Tensor,
        inputs: Mapping[str, Any],
        mask: torch.Tensor | None = None,
    ) -> Any:
        """Position ids of whole rows, (..., n_rows, length) int64.

        The positions behind a row go on from its largest one, in steps of one.

        Args:
            model: without its adapter's wrapping.
            input_ids: (n_rows, length) int64.
            inputs: what `inputs` made of them.
            mask: (n_rows, length), 0 where padding stands, whose positions mean nothing; None
                where there is none, or where it stands behind the rows.
        """
        ...

    def record(self) -> dict[str, Any]:
        """The numbers that decide what it sees, for the run's summary."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A base's folder.

    Attributes:
        path: with ``config.json``, ``tokenizer.json`` and weights.
        config: ``config.json``.
        processor: settings of its image processor; empty where there are none.
        tokenizer: of its language model.
        image_token: id that stands for one token of a picture.
    """

    path: Path
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    tokenizer: JsonTokenizer
    image_token: int

    @property
    def context(self) -> int | None:
        """Positions that the language model was made for; None where its settings do not say."""
        text = self.config.get("text_config") or self.config
        stated = text.get("max_position_embeddings")
        return stated if isinstance(stated, int) else None


class Family(Protocol):
    """One family of models.

    Attributes:
        model_class: name in transformers.
        tower: path of the vision tower in a loaded model.
        projector: path of the projector.
        tower_layers: regular expression of the tower's linear layers, below `tower`.
        image_token_keys: keys of ``config.json`` that may name the image token.
    """

    model_class: str
    tower: str
    projector: str
    tower_layers: str
    image_token_keys: tuple[str, ...]

    def eye(self, folder: Folder, max_tokens: int | None) -> Eye:
        """How a base of this family looks at pictures, none of more than `max_tokens` tokens.

        Raises:
            ArtifactError: its settings cannot be used.
            InputError: no picture has so few tokens.
        """
        ...

    def adjust(self, model_config: Any, eye: Eye) -> None:
        """Tell the model what the eye knows of the limits."""
        ...


LANGUAGE: Final = "model.language_model"
HEAD: Final = "lm_head"
NAMES: Final = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load_family(model_type: object) -> Family:
    """The family of a ``config.json``.

    Raises:
        ArtifactError: it is not known.
    """
    if model_type not in NAMES:
        raise ArtifactError(
            f"the base is of model type {shown(model_type)}",
            f"tune a model of {', '.join(NAMES)}; original LLaVA-NeXT checkpoints are brought "
            "into that layout by `edgecritic export import`",
        )
    family: Family = import_module(f"{__name__}.{model_type}").FAMILY
    return family


def open_folder(path: Path) -> tuple[Family, Folder]:
    """Read a base's settings and tokenizer; no weights.

    Raises:
        ArtifactError: a file is missing or of another kind, or the base has no image token.
    """
    config = read_settings(path / "config.json")
    family = load_family(config.get("model_type"))
    text = config.get("text_config") or config
    rows = text.get("vocab_size")
    if not isinstance(rows, int):
        raise ArtifactError(f"{path / 'config.json'} states no vocab_size", "fetch the base again")
    tokenizer = JsonTokenizer(path / "tokenizer.json", rows, extra="edgecritic[train]")
    named = (config.get(key) for key in family.image_token_keys)
    token = next((value for value in named if isinstance(value, int)), -1)
    if not 0 <= token < rows or token not in tokenizer.control_tokens.values():
        raise ArtifactError(
            f"{path} has no image token: {token} is no control token of its tokenizer",
            "use a multimodal base, or take config.json and tokenizer.json from one checkpoint",
        )
    return family, Folder(path, config, _processor_settings(path), tokenizer, token)


def _processor_settings(path: Path) -> Mapping[str, Any]:
    if (path / "preprocessor_config.json").is_file():
        return read_settings(path / "preprocessor_config.json")
    if (path / "processor_config.json").is_file():  # transformers 5 keeps all settings there
        inner = read_settings(path / "processor_config.json").get("image_processor")
        return inner if isinstance(inner, dict) else {}
    return {}
