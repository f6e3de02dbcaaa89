"""`Critic`: load a critic once, judge with it from any thread, close it."""

from __future__ import annotations

import logging
import os
import weakref
from asyncio import to_thread
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from edgecritic.backends import ENGINES, load_backend, prepare
from edgecritic.backends.base import Backend, EngineInfo
from edgecritic.backends.options import Device, EngineOptions, Weights
from edgecritic.bundle import Bundle
from edgecritic.critic.asynchronous import Asynchronous
from edgecritic.errors import InputError
from edgecritic.fit.refusal import refuse_what_cannot_fit
from edgecritic.hub import find_bundle
from edgecritic.judging import EngineThread, Judging, QueueState, Work
from edgecritic.manifest import Calibration
from edgecritic.pictures import PictureEncoder
from edgecritic.profile import CriticProfile
from edgecritic.progress import OnEvent, Progress
from edgecritic.prompts import DEFAULT_DIALECT, load_dialect
from edgecritic.task import Rubric
from edgecritic.vision import FeatureCache, ImageLimits

if TYPE_CHECKING:
    from edgecritic.remote import RemoteOptions

logger = logging.getLogger(__name__)
QUEUE_LIMIT = 256
PATIENCE_SECONDS = 600.0


class Critic(Asynchronous):
    """Judges responses to questions about pictures.

    Safe to use from any thread, and from asyncio by the methods whose names begin with an ``a``.
    All calls, `submit` and the streams included, go through one bounded queue to one thread that
    the engine belongs to. What waits there is judged together: requests that begin alike are
    decoded once as far as they do, whoever made them.

    A process that was forked from the one that loaded the critic cannot judge with it, and is told
    so. Start processes by spawn, and load a critic in each.

    Args:
        backend: a loaded engine; the critic closes it.
        profile: what the critic was trained for.
        cache: features of pictures; its own of 512 MiB when left out, or one shared by critics.
        prefix_bytes: keys and values of what was decoded that are kept for further questions, the
            least recently used given up first; as many as the context holds when left out, none
            if 0. llama.cpp has them inside of its context, the other engines take memory for them.
        limits: on pictures; 40 megapixels and 20 MiB when left out.
        queue_limit: requests that may wait; more are refused at once.
        patience: seconds without a sign of life after which an engine counts as hanging.
        deterministic: see `load`.

    Raises:
        ArtifactError: engine and profile do not fit together.
    """

    def __init__(
        self,
        backend: Backend,
        profile: CriticProfile,
        *,
        cache: FeatureCache | None = None,
        prefix_bytes: int | None = None,
        limits: ImageLimits | None = None,
        queue_limit: int = QUEUE_LIMIT,
        patience: float = PATIENCE_SECONDS,
        deterministic: bool = False,
    ) -> None:
        if queue_limit < 1:
            raise InputError(f"queue_limit is {queue_limit}", "give 1 or more")
        if prefix_bytes is not None and prefix_bytes < 0:
            raise InputError(f"prefix_bytes is {prefix_bytes}", "give 0 or more")
        if deterministic:  # then there is no noise
            profile = replace(profile, calibration=replace(profile.calibration, noise=0.0))
        cache = cache if cache is not None else FeatureCache()
        pictures = PictureEncoder(backend, profile.vision, cache, limits or ImageLimits())
        judging = EngineThread(
            backend,
            Work(backend, profile, pictures),
            profile.name,
            queue_limit=queue_limit,
            patience=patience,
            deterministic=deterministic,
            prefix_bytes=prefix_bytes,
        )
        self._begin(judging, profile, cache)

    def _begin(self, judging: Judging, profile: CriticProfile, cache: FeatureCache) -> None:
        self.profile = profile
        self.cache = cache
        self._judging = judging
        self._info: EngineInfo = judging.info
        # Also runs at interpreter exit, before the engine's own.
        self._finalizer = weakref.finalize(self, judging.close)

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] | Bundle | None = None,
        *,
        backend: str = "auto",
        device: Device = "auto",
        n_ctx: int | None = None,
        threads: int | None = None,
        weights: Weights = "auto",
        max_tiles: int | None = None,
        max_image_tokens: int | None = None,
        cache: FeatureCache | None = None,
        prefix_bytes: int | None = None,
        limits: ImageLimits | None = None,
        queue_limit: int = QUEUE_LIMIT,
        deterministic: bool = False,
        on_event: OnEvent | None = None,
        memory_budget: int | None = None,
        force: bool = False,
    ) -> Self:
        """Load a critic.

        Args:
            bundle: a bundle, its folder, or the name it was pulled by (``owner/name``); the
                embedded critic when left out or ``embedded``.
            backend: ``"auto"`` or the name of an engine. For ``"onnx"`` a GGUF bundle is converted,
                once on a machine; the result is kept in the cache folder. ``"auto"`` does so
                where no other engine is installed, and where it is quicker: for the embedded
                critic on a CPU.
            device: ``"auto"``, ``"cpu"`` or ``"gpu"``.
            n_ctx: tokens of context, at most the bundle's; that when left out.
            threads: of computation; the physical cores when left out.
            weights: for ``backend="hf"`` the precision to load them in: ``"fp32"``, ``"bf16"``,
                ``"fp16"``, or by bitsandbytes ``"int8"``, ``"int4"``; as stored when left out.
            max_tiles: of a picture, the base view not counted: fewer are faster and show less.
                The critic's own when left out. Judgements say in `detail` whether it mattered.
            max_image_tokens: the same for a critic that sees pictures at their own resolution.
            cache: see `Critic`.
            prefix_bytes: see `Critic`.
            limits: see `Critic`.
            queue_limit: see `Critic`.
            deterministic: give equal requests equal bits, whatever else is asked at the same time
                or was asked before. Judgements are then made one at a time, and of what was
                decoded only the pictures of the last one are kept: that takes from a fifth more
                time to eight times as much, by how much requests would have shared.
            on_event: is told the stages of loading.
            memory_budget: bytes that weights, KV cache, activations and features of pictures may
                take together, as estimated before loading: a critic that takes more is refused,
                and what it keeps for further questions, where `cache` and `prefix_bytes` are left
                out, keeps within the rest.
            force: try even what cannot fit.

        Raises:
            DoesNotFitError: the memory that is free, or the budget, is too small.
            ArtifactError: the bundle or one of its files is missing or damaged. Where a model
                file was never fetched, the hint names the command that fetches it.
            MissingExtraError: the engine is not installed.
            BackendUnavailableError: the engine could not start.
            InputError: an option is out of range.
        """
        if bundle is None:
            bundle = Bundle.embedded()
        elif not isinstance(bundle, Bundle):
            bundle = find_bundle(bundle)
        tell = on_event or (lambda event: None)
        tell(Progress("loading", 0, 3))
        chosen, bundle = prepare(bundle, backend, device)
        n_ctx = bundle.context(n_ctx)
        options = EngineOptions(n_ctx=n_ctx, n_threads=threads, device=device, weights=weights)
        tell(Progress("loading", 1, 3))
        if bundle.manifest.verified is False:
            logger.warning(
                "%s failed the checks of its export: `edgecritic inspect` tells which",
                bundle.name,
            )
        profile = CriticProfile.of(bundle, ENGINES[chosen].format)
        profile = profile.capped(max_tiles, max_image_tokens)
        if not force:
            needed = refuse_what_cannot_fit(bundle, chosen, options, budget=memory_budget)
            if memory_budget is not None:
                rest = memory_budget - needed
                if ENGINES[chosen].format != "gguf":  # there cells are part of what is needed
                    rest //= 4  # as much for the prompt itself, and for what an answer takes
                    prefix_bytes = rest if prefix_bytes is None else prefix_bytes
                if cache is None:
                    cache = FeatureCache(min(FeatureCache().max_bytes, rest))
        tell(Progress("loading", 2, 3))
        engine = load_backend(bundle, chosen, options)
        try:
            critic = cls(
                engine,
                profile,
                cache=cache,
                prefix_bytes=prefix_bytes,
                limits=limits,
                queue_limit=queue_limit,
                deterministic=deterministic,
            )
            tell(Progress("loading", 3, 3))
        except BaseException:
            engine.close()
            raise
        return critic

    @classmethod
    def remote(
        cls,
        url: str,
        model: str,
        *,
        options: RemoteOptions | None = None,
        dialect: str = DEFAULT_DIALECT,
        rubric: Rubric | None = None,
        calibration: Calibration | None = None,
        limits: ImageLimits | None = None,
    ) -> Self:
        """A critic that runs elsewhere, behind any OpenAI-compatible chat endpoint.

        Nothing is sent before the first judgement. Pictures are decoded here, under the same
        limits, and sent anew without their metadata.

        Args:
            url: of the API, such as ``https://example.org/v1``. The key comes from the
                environment: ``EDGECRITIC_API_KEY``; see `RemoteOptions`.
            model: its name at the endpoint.
            options: timeouts, retries and more; the defaults of `RemoteOptions` when left out.
            dialect: of the prompts.
            rubric: what it is asked for when a call names none; 1 to 10 when left out.
            calibration: of its probabilities; none when left out.
            limits: see `Critic`.

        Raises:
            InputError: the address or an option cannot be used.
            ArtifactError: there is no such dialect.
        """
        from edgecritic.remote import RemoteJudge, RemoteOptions
        from edgecritic.remote.address import Address

        options = options or RemoteOptions()
        address = Address.of(url, options)
        profile = CriticProfile(
            f"{model}@{address.place}",
            load_dialect(dialect),
            rubric or Rubric(),
            calibration or Calibration(),
        )
        judge = RemoteJudge(address, model, profile, options, limits or ImageLimits())
        critic = cls.__new__(cls)
        critic._begin(judge, profile, FeatureCache())
        return critic

    @property
    def info(self) -> EngineInfo:
        """What runs the critic; a `BackendInfo` unless it is a remote endpoint."""
        return self._info

    @property
    def closed(self) -> bool:
        return not self._finalizer.alive

    @property
    def queue(self) -> QueueState:
        """How many requests wait, and how many may."""
        return self._judging.queue

    def forget(self) -> None:
        """Drop what is kept between calls: features of pictures, and what was decoded of prompts.

        Judgements do not change by that, they only take longer once. What is under way goes on.
        """
        self.cache.clear()
        self._judging.forget()

    def close(self) -> None:
        """End all judgements and free the model.

        Whoever waits for a judgement gets a `BackendUnavailableError`.
        """
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def aforget(self) -> None:
        """`forget` for asyncio."""
        await to_thread(self.forget)

    async def aclose(self) -> None:
        """`close` for asyncio; ``async with`` does so in the end, too."""
        await to_thread(self.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
