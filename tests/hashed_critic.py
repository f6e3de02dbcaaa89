"""A critic without a model, whose verdicts are a hash of what it was shown."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgecritic.backends.base import Append, Cancelled, CancelToken, FloatArray
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.scripted import History, Script, ScriptedBackend
from edgecritic.critic import Critic
from edgecritic.manifest import Calibration
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import FeatureCache, ImageGeometry

REASON = " The digit is a 7, as the bar across its stem shows: ½ of it is thick."
END = 258  # <|im_end|> of the scripted backend
GEOMETRY = ImageGeometry(tile_size=28, patch_size=14, pinpoints=((28, 28), (28, 56), (56, 28)))
VISION = VisionProfile(GEOMETRY, np.full(8, 0.5, dtype=np.float32), "a" * 64)
PROFILE = CriticProfile("hashed-1", load_dialect(), vision=VISION)


def words(history: History) -> bytes:
    """The text of a history, pictures as their keys, control tokens left out."""
    return b"".join(
        unit.encode() if isinstance(unit, str) else bytes([unit] if unit < 256 else [])
        for unit in history
    )


def noise(data: bytes, n: int) -> list[float]:
    """`n` logits that are a hash of `data`."""
    return [float(x) for x in np.random.default_rng(zlib.crc32(data)).normal(0, 1.5, n)]


def verdict_script(history: History) -> Mapping[int, float]:
    """Digits behind ``Score:``, first, second or tie behind ``Better:``, then `REASON`."""
    text = words(history)
    head, _, tail = text.rpartition(b"Reason:")
    if head and REASON.encode().startswith(tail):
        following = REASON.encode()[len(tail) :]
        return {following[0] if following else END: 9.0}
    answer = text.rpartition(b"assistant\n")[2]
    if answer.startswith(b"Score: "):
        # Mostly one digit: what states no level of the range must keep less than half of the mass.
        digits = {48 + k: x for k, x in enumerate(noise(text, 10))}
        return digits | ({10: 6.0} if answer[-1:].isdigit() else {48: -6.0})
    if answer == b"Better: ":
        return dict(zip(b"fst", noise(text, 3), strict=True))
    return {}


def hashed_critic(
    profile: CriticProfile = PROFILE,
    *,
    options: EngineOptions | None = None,
    calibration: Calibration | None = None,
    cache: FeatureCache | None = None,
    prefix_bytes: int | None = None,
    script: Script = verdict_script,
) -> tuple[Critic, ScriptedBackend]:
    """A critic on the scripted backend, and the backend to look into."""
    backend = ScriptedBackend(script, options=options)
    if calibration is not None:
        profile = replace(profile, calibration=calibration)
    return Critic(backend, profile, cache=cache, prefix_bytes=prefix_bytes), backend


def left_open(critic: Critic, backend: ScriptedBackend) -> int:
    """Sequences that are open although nothing is under way and nothing is to be kept."""
    critic.forget()
    return backend.open_sequences


class Stepping(ScriptedBackend):
    """Waits for a permit before each batch from the one of a number on."""

    def __init__(self, script: Script = verdict_script, freely: int = 0) -> None:
        super().__init__(script)
        self.permits = threading.Semaphore(0)
        self.reached = threading.Event()
        self.freely = freely

    def append(
        self, appends: Sequence[Append], cancel: CancelToken | None = None
    ) -> list[FloatArray | None]:
        if self.batches >= self.freely:
            self.reached.set()
            while not self.permits.acquire(timeout=0.01):
                if cancel is not None and cancel.cancelled:
                    raise Cancelled
        return super().append(appends, cancel)
