"""The models that a server offers: their names, and how a worker process loads each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from edgecritic.backends.options import Device
from edgecritic.bundle import Bundle

if TYPE_CHECKING:
    from edgecritic.critic import Critic

CriticSource: TypeAlias = "Callable[[], Critic]"
"""Loads a critic; it is pickled and called in the worker process."""

# Evaluation kits change their requests for models whose names hold one of these: they drop the
# temperature, or send another body altogether. Source: VLMEvalKit, vlmeval/api/gpt.py.
_MISLEADING = (
    "step",
    "grok",
    "ernie",
    "moonshot",
    "gemini",
    "abab",
    "yi-vision",
    "internvl2-pro",
    "o1",
    "o3",
    "o4",
    "gpt-5",
)
_UNUSUAL = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class BundleSource:
    """Loads a bundle.

    Attributes:
        folder: of the bundle; the embedded critic's when None.
        backend: see `Critic.load`.
        device: see `Critic.load`.
        threads: see `Critic.load`.
    """

    folder: str | None = None
    backend: str = "auto"
    device: Device = "auto"
    threads: int | None = None

    def __call__(self) -> Critic:
        from edgecritic.critic import Critic

        return Critic.load(
            self.folder, backend=self.backend, device=self.device, threads=self.threads
        )


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model on offer.

    Attributes:
        id: what requests name it by.
        name: of its bundle.
        quant: of its language model; empty if the bundle does not say.
        low: lowest level of its own rubric.
        high: highest level of it.
        good_for: what its bundle says that it can judge.
        bad_for: what its bundle says that it cannot.
        created: seconds since 1970.
        source: loads it.
    """

    id: str
    name: str
    source: CriticSource
    quant: str = ""
    low: int = 1
    high: int = 10
    good_for: tuple[str, ...] = ()
    bad_for: tuple[str, ...] = ()
    created: int = 0


def model_id(name: str) -> str:
    """A name that no evaluation kit takes for something else."""
    plain = _UNUSUAL.sub("-", name.lower()).strip("-.") or "critic"
    while found := next((word for word in _MISLEADING if word in plain), None):
        plain = plain.replace(found, f"{found[0]}_{found[1:]}")
    return plain


def catalogue(bundles: Sequence[tuple[Bundle, CriticSource]]) -> tuple[ServedModel, ...]:
    """The bundles as models; where several have one name, their quant tells them apart."""
    names = [bundle.manifest.name for bundle, _ in bundles]
    models: list[ServedModel] = []
    for bundle, source in bundles:
        manifest = bundle.manifest
        quant = _quant(bundle)
        several = names.count(manifest.name) > 1
        wanted = model_id(f"{manifest.name}-{quant}" if several and quant else manifest.name)
        taken = {model.id for model in models}
        number = 2
        chosen = wanted
        while chosen in taken:
            chosen, number = f"{wanted}-{number}", number + 1
        models.append(
            ServedModel(
                id=chosen,
                name=manifest.name,
                source=source,
                quant=quant,
                low=manifest.rubric.low,
                high=manifest.rubric.high,
                good_for=tuple(manifest.good_for),
                bad_for=tuple(manifest.bad_for),
                created=_seconds(manifest.created),
            )
        )
    return tuple(models)


def _quant(bundle: Bundle) -> str:
    """Of the language model, or of whichever file states one."""
    files = bundle.manifest.files
    stated = [file.quant for file in files if file.role == "language_model" and file.quant]
    return next(iter([*stated, *(file.quant for file in files if file.quant)]), "")


def _seconds(date: str) -> int:
    """Since 1970; the manifest's reader has made sure that it is a date."""
    moment = datetime.fromisoformat(date)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
