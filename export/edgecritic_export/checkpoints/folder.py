"""A checkpoint folder in transformers' layout, checked as a whole when it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from edgecritic.errors import ArtifactError, shown
from edgecritic.strict_json import decode
from edgecritic.text_shape import Shape, TextShape
from edgecritic.vision import Geometry
from edgecritic_export.checkpoints.families import Numbers, Part, load_family
from edgecritic_export.checkpoints.store import FloatArray, TensorStore

__all__ = ["ADAPTER_CONFIG", "Checkpoint", "TextShape", "read_json", "read_processor"]

CONFIG: Final = "config.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
_FETCH: Final = "fetch the checkpoint again"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One critic's weights and settings.

    Attributes:
        folder: where it lies.
        config: parsed ``config.json``.
        processor: settings of its image processor; empty where the folder has none.
        family: name of its family.
        store: all tensors, by stored names.
        text: numbers of the language model.
        geometry: how pictures become what the vision tower takes.
    """

    folder: Path
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    family: str
    store: TensorStore
    text: TextShape
    geometry: Geometry
    _names: Mapping[Part, Mapping[str, str]]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Self:
        """Open a folder, and check that every tensor is there, and no other.

        Raises:
            ArtifactError: the family is not known, settings ask for something that no engine here
                computes, a file is damaged, or tensors are missing, left over or misshapen.
        """
        where = Path(folder)
        if (where / ADAPTER_CONFIG).is_file() and not (where / CONFIG).is_file():
            raise ArtifactError(
                f"{where} holds an adapter, no checkpoint",
                "merge it into its base: edgecritic export merge BASE ADAPTER --out MERGED",
            )
        config, processor = read_json(where / CONFIG), read_processor(where)
        if "quantization_config" in config:
            raise ArtifactError(
                f"{where / CONFIG}: the weights are already quantised",
                "name the full-precision checkpoint; export quantises from that",
            )
        family = load_family(config.get("model_type"))
        numbers = family.read(config, processor)
        store = TensorStore.open(where)
        try:
            names: dict[Part, dict[str, str]] = {}
            for stored in store.names:
                part, short = family.place(stored) or _unknown(where, stored)
                if short in names.setdefault(part, {}):
                    raise ArtifactError(f"{where}: {stored} is there under two names", _FETCH)
                names[part][short] = stored
            _drop_tied_head(store, names, numbers)
            _check(where, store, names, numbers)
        except ArtifactError:
            store.close()
            raise
        kind = str(config["model_type"])
        return cls(where, config, processor, kind, store, numbers.text, numbers.geometry, names)

    def language_tensors(self) -> Mapping[str, str]:
        """Stored names by short names: ``model.layers.0.mlp.up_proj.weight``, ``lm_head.weight``.

        A tied language model has no ``lm_head.weight``.
        """
        return self._names.get("language", {})

    def vision_tensors(self) -> Mapping[str, str]:
        """Stored names by names inside the vision tower: ``encoder.layers.0.mlp.fc1.weight``."""
        return self._names.get("vision", {})

    def projector_tensors(self) -> Mapping[str, str]:
        """Stored names by names inside the projector: ``linear_1.weight``."""
        return self._names.get("projector", {})

    def stored_name(self, foreign: str) -> str | None:
        """The stored name of a tensor that any layout of the family names; None if unknown."""
        place = load_family(self.family).place(foreign)
        return None if place is None else self._names.get(place[0], {}).get(place[1])

    @property
    def image_newline(self) -> FloatArray | None:
        """(n_embd,) float32, the learned separator of rows; None where the family has none."""
        stored = self._names.get("newline", {}).get("")
        return None if stored is None else np.array(self.store.read(stored))

    def close(self) -> None:
        """Close the weights' files."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def read_json(path: Path) -> dict[str, Any]:
    """A settings file of a checkpoint.

    Raises:
        ArtifactError: it is missing, unreadable, or no JSON object.
    """
    try:
        settings = decode(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", _FETCH) from error
    if not isinstance(settings, dict):
        raise ArtifactError(f"{path} is {shown(settings)}, not an object", _FETCH)
    return settings


def read_processor(folder: Path) -> dict[str, Any]:
    """The image processor's settings, wherever a version of transformers puts them.

    5.x nests them in ``processor_config.json``, 4.x has ``preprocessor_config.json``.
    """
    if (folder / "processor_config.json").is_file():
        nested = read_json(folder / "processor_config.json").get("image_processor")
        if isinstance(nested, dict):
            return nested
    plain = folder / "preprocessor_config.json"
    return read_json(plain) if plain.is_file() else {}


def _unknown(where: Path, stored: str) -> tuple[Part, str]:
    hint = "save adapters apart, or merge them with `edgecritic export merge`"
    raise ArtifactError(
        f"{where}: tensor {stored} is no part of this family's critics",
        hint if ".lora_" in stored or stored.startswith("base_model.") else _FETCH,
    )


def _drop_tied_head(
    store: TensorStore, names: Mapping[Part, dict[str, str]], numbers: Numbers
) -> None:
    """Forget a head that is stored although it is the token embedding."""
    language = names.get("language", {})
    head, embedding = language.get("lm_head.weight"), language.get("model.embed_tokens.weight")
    if not numbers.text.tied or head is None or embedding is None:
        return
    if not store.same(head, embedding):
        raise ArtifactError(
            f"{store.where}: config.json ties the head to the token embedding, but {head} differs "
            f"from {embedding}",
            "set tie_word_embeddings to false in config.json if the head was trained",
        )
    del language["lm_head.weight"]


def _check(
    where: Path,
    store: TensorStore,
    names: Mapping[Part, Mapping[str, str]],
    numbers: Numbers,
) -> None:
    expected: dict[Part, Mapping[str, Shape]] = {
        "language": numbers.text.tensor_shapes(),
        **numbers.shapes,
    }
    for part in expected.keys() | names.keys():
        found = {short: store.shape(name) for short, name in names.get(part, {}).items()}
        for fault in _faults(expected.get(part, {}), found, numbers.unused):
            raise ArtifactError(f"{where}: {part} tensor {fault}", _FETCH)


def _faults(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], unused: tuple[str, ...]
) -> Iterator[str]:
    for short in sorted(expected.keys() | found.keys()):
        if short not in found:
            yield f"{short} is missing"
        elif short not in expected and not (unused and short.startswith(unused)):
            yield f"{short} is not part of the model that config.json describes"
        elif short in expected and found[short] != expected[short]:
            yield f"{short} is {found[short]}, by config.json it is {expected[short]}"
