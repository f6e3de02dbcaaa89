"""`Critic`: load a critic once, judge with it from any thread."""

from __future__ import annotations

import logging
import os
import weakref
from asyncio import wrap_future
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue
from time import perf_counter
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    Unpack,
    cast,
    get_args,
    overload,
)

from edgecritic.backends import ENGINES, load_backend, prepare
from edgecritic.backends.base import Backend, CancelToken, EngineInfo
from edgecritic.backends.options import Device, EngineOptions, Weights
from edgecritic.bundle import Bundle
from edgecritic.errors import InputError, VerdictParseError
from edgecritic.fit.refusal import refuse_what_cannot_fit
from edgecritic.hub import find_bundle
from edgecritic.judging import EngineThread, Job, JudgementJob, Judging, QueueState, Work
from edgecritic.judging.chat import ChatJob, ChatUsage
from edgecritic.judging.generation import Sampling
from edgecritic.judging.results import pairwise_ranking, pointwise_ranking, summed
from edgecritic.judging.rounds import rank_in_rounds
from edgecritic.judging.waiting import last, results, told
from edgecritic.judging.writing import ChatOptions, ChatPiece
from edgecritic.manifest import Calibration
from edgecritic.pictures import ImageInput, PictureEncoder, as_images
from edgecritic.profile import CriticProfile
from edgecritic.progress import OnEvent, Progress
from edgecritic.prompts import DEFAULT_DIALECT, load_dialect
from edgecritic.prompts.conversation import Turn
from edgecritic.requests import (
    Asked,
    Asking,
    CompareRequest,
    Orders,
    Prompting,
    Request,
    ScoreRequest,
    Sharing,
    listed,
    pairs_of,
)
from edgecritic.task import Rubric, Task
from edgecritic.verdict import Preference, Ranking, Verdict
from edgecritic.vision import FeatureCache, ImageLimits

if TYPE_CHECKING:
    from edgecritic.remote import RemoteOptions

logger = logging.getLogger(__name__)
Judged = TypeVar("Judged", bound=Verdict | Preference)
Method: TypeAlias = Literal["pairwise", "adaptive", "pointwise"]
QUEUE_LIMIT = 256
PATIENCE_SECONDS = 600.0


class Critic:
    """Judges responses to questions about pictures.

    Safe to use from any thread. All calls, `submit` and the streams included, go through one
    bounded queue to one thread that the engine belongs to. What waits there is judged together:
    requests that begin alike are decoded once as far as they do, whoever made them.

    A process that was forked from the one that loaded the critic cannot judge with it, and is told
    so. Start processes by spawn, and load a critic in each.

    Args:
        backend: a loaded engine; the critic closes it.
        profile: what the critic was trained for.
        cache: features of pictures; its own of 512 MiB when left out, or one shared by critics.
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
        limits: ImageLimits | None = None,
        queue_limit: int = QUEUE_LIMIT,
        patience: float = PATIENCE_SECONDS,
        deterministic: bool = False,
    ) -> None:
        if queue_limit < 1:
            raise InputError(f"queue_limit is {queue_limit}", "give 1 or more")
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
            limits: see `Critic`.
            queue_limit: see `Critic`.
            deterministic: give equal requests equal bits, whatever else is asked at the same time
                or was asked before. Judgements are then made one at a time, and of what was
                decoded only the pictures of the last one are kept.
            on_event: is told the stages of loading.
            memory_budget: bytes that weights, KV cache, activations and features of pictures may
                take together, as estimated before loading: a critic that takes more is refused,
                and its cache of features, where `cache` is left out, keeps within the rest.
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
        longest = bundle.manifest.n_ctx
        if n_ctx is not None and n_ctx > longest:
            raise InputError(
                f"n_ctx is {n_ctx}, and {bundle.name} was made for at most {longest} tokens",
                f"give at most {longest}",
            )
        n_ctx = longest if n_ctx is None else n_ctx
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
            if memory_budget is not None and cache is None:
                cache = FeatureCache(min(FeatureCache().max_bytes, memory_budget - needed))
        tell(Progress("loading", 2, 3))
        engine = load_backend(bundle, chosen, options)
        try:
            critic = cls(
                engine,
                profile,
                cache=cache,
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

    # --- any request ---

    def submit(
        self,
        request: Asked[Judged],
        *,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
    ) -> Future[Judged]:
        """Ask, and go on; safe from any thread.

        Args:
            request: what to judge.
            on_event: is told what happens, on another thread, which it must not hold up. If it
                raises, that is logged, and the judgement goes on.
            cancel: may stop the judgement, whose result then holds what was known.

        Returns:
            The judgement to come, or the `CriticError` that keeps it from being made. Its own
            ``cancel()`` stops the judgement, too, and whoever waits for it gets a
            `CancelledError`.

        Raises:
            InputError: question, responses or an option cannot be used. What is wrong with a
                picture, or too long, the future tells.
            QueueFullError: too many requests wait.
            BackendUnavailableError: the critic is closed, its engine hangs, or this process is a
                fork of the one that loaded it.
        """
        return self._submitted([self._job(request, cancel, on_event)])[0]

    @overload
    def submit_many(
        self, requests: Sequence[ScoreRequest], *, cancel: CancelToken | None = None
    ) -> list[Future[Verdict]]: ...

    @overload
    def submit_many(
        self, requests: Sequence[CompareRequest], *, cancel: CancelToken | None = None
    ) -> list[Future[Preference]]: ...

    @overload
    def submit_many(
        self, requests: Sequence[Request], *, cancel: CancelToken | None = None
    ) -> list[Future[Any]]: ...

    def submit_many(
        self, requests: Sequence[Request], *, cancel: CancelToken | None = None
    ) -> list[Future[Any]]:
        """`submit` for several requests, of which all are taken or none.

        Raises:
            InputError: see `submit`.
            QueueFullError: see `submit`; an empty queue takes any number.
            BackendUnavailableError: see `submit`.
        """
        return self._submitted([self._job(request, cancel) for request in requests])

    async def ask(
        self,
        request: Asked[Judged],
        *,
        on_event: OnEvent | None = None,
        cancel: CancelToken | None = None,
    ) -> Judged:
        """`submit` for asyncio: cancelling the task that awaits it stops the judgement.

        `on_event` is still told on another thread; ``loop.call_soon_threadsafe`` brings events
        back.
        """
        return await wrap_future(self.submit(request, on_event=on_event, cancel=cancel))

    def _job(
        self, asked: Asked[Any], cancel: CancelToken | None, on_event: OnEvent | None = None
    ) -> JudgementJob:
        """The request, checked, by the critic's own rubric where it names none."""
        request = cast(Request, asked)
        sampling = Sampling(request.max_rationale_tokens, request.temperature, request.seed)
        rubric = self.profile.rubric if request.rubric is None else request.rubric
        n_images = len(as_images(request.image))
        return JudgementJob(
            request=request,
            task=Task(request.question, request.responses, n_images, request.reference, rubric),
            sampling=sampling,
            cancel=cancel,
            on_event=on_event,
        )

    def _submitted(self, jobs: Sequence[Job]) -> list[Future[Any]]:
        for job in jobs:
            job.owner = self
        if jobs:
            self._judging.submit(jobs)
        return [job.future for job in jobs]

    def _stream(self, make: Callable[[], Job]) -> Generator[Any, None, None]:
        """What a job tells, and its result; nothing begins before the first item is asked for."""
        job = make()
        items: SimpleQueue[object] = SimpleQueue()
        job.on_event = items.put
        (future,) = self._submitted([job])
        yield from told(items, future)

    # --- one judgement ---

    def score(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Verdict:
        """Score one response.

        Args:
            image: a path, encoded bytes, a PIL image, a list of them, or None for text only.
            question: what was asked.
            response: what was answered; empty is legal.
            on_text: is given the rationale's pieces as they are generated.
            cancel: may stop the judgement from another thread; then its status says so.
            **asking: ``reference``, ``rubric``, ``wording``, ``rationale``,
                ``max_rationale_tokens``, ``temperature``, ``seed``; see `Asking`.

        Raises:
            InputError: the question, a picture (`ImageError`) or an option cannot be used, or all
                together is too long (`ContextOverflowError`).
            BackendUnavailableError: the critic is closed, or its engine failed.
        """
        stream = self.score_stream(image, question, response, cancel=cancel, **asking)
        return cast(Verdict, last(stream, on_text))

    def score_stream(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Generator[Verdict | str, None, None]:
        """`score` as it happens: the verdict, the rationale's pieces, the verdict with all of it.

        Without a rationale the verdict comes once. Where the critic's prompts let it reason
        first, the pieces come first and the verdict once behind them.

        Raises:
            InputError: as for `score`; when the first item is asked for.
            BackendUnavailableError: as for `score`.
        """
        request = ScoreRequest(image, question, response, **asking)
        return self._stream(lambda: self._job(request, cancel))

    def compare(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Preference:
        """Say which of two responses is better.

        Args:
            image: as for `score`.
            question: what was asked.
            first: one response.
            second: the other one.
            orders: ``"both"`` shows the responses in both orders, which cancels a bias towards a
                position; ``"given"`` and ``"swapped"`` show them in one.
            on_text: see `score`.
            cancel: see `score`.
            **asking: see `score`.

        Raises:
            InputError: as for `score`.
            BackendUnavailableError: as for `score`.
        """
        stream = self.compare_stream(
            image, question, first, second, orders=orders, cancel=cancel, **asking
        )
        return cast(Preference, last(stream, on_text))

    def compare_stream(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        cancel: CancelToken | None = None,
        **asking: Unpack[Asking],
    ) -> Generator[Preference | str, None, None]:
        """`compare` as it happens; see `score_stream`."""
        request = CompareRequest(image, question, first, second, orders=orders, **asking)
        return self._stream(lambda: self._job(request, cancel))

    # --- many judgements about one picture ---

    def score_many(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        rationale: bool = False,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> list[Verdict]:
        """Score several responses, each by itself; what their prompts share is decoded once.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: what was answered.
            rationale: also say why; the texts are generated together.
            cancel: may stop all of it.
            **prompting: ``reference``, ``rubric``, ``wording``; see `Prompting`.

        Returns:
            A verdict for each response.

        Raises:
            InputError: as for `score`.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        requests = [
            ScoreRequest(image, question, response, rationale=rationale, **prompting)
            for response in listed(responses, 1)
        ]
        return results(self.submit_many(requests, cancel=cancel))

    def compare_all(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        pairs: Sequence[tuple[int, int]] | None = None,
        orders: Orders = "both",
        rationale: bool = False,
        cancel: CancelToken | None = None,
        **prompting: Unpack[Prompting],
    ) -> list[tuple[int, int, Preference]]:
        """Compare responses with each other; what their prompts share is decoded once.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: at least two.
            pairs: indices of the responses to compare; every pair when left out, which makes
                K(K-1) ordered ones of K responses.
            orders: as for `compare`.
            rationale: also say why; the texts are generated together.
            cancel: may stop all of it.
            **prompting: as for `score_many`.

        Returns:
            (i, j, preference of i over j) for each pair.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        chosen = pairs_of(listed(responses, 2), pairs)
        requests = [
            CompareRequest(
                image,
                question,
                responses[i],
                responses[j],
                orders=orders,
                rationale=rationale,
                **prompting,
            )
            for i, j in chosen
        ]
        found = results(self.submit_many(requests, cancel=cancel))
        return [(i, j, one) for (i, j), one in zip(chosen, found, strict=True)]

    def rank(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        pairs: Sequence[tuple[int, int]] | None = None,
        **sharing: Unpack[Sharing],
    ) -> Ranking:
        """Order several responses, best first; without rationales.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: at least two.
            method: ``"pairwise"`` compares all of them in both orders; ``"adaptive"`` compares
                only those pairs that still can change the order, mostly under half of them;
                ``"pointwise"`` scores each. All decode what the prompts share once.
            pairs: indices of the responses to compare with each other, each pair in both orders;
                every pair when left out. A response that is in none has the reward 0.
            **sharing: ``reference``, ``rubric``, ``wording``, ``cancel``; see `Sharing`.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            BackendUnavailableError: as for `score`.
        """
        if method not in get_args(Method):
            raise InputError(f"method is {method!r}", f"give one of {', '.join(get_args(Method))}")
        if method != "pairwise" and pairs is not None:
            raise InputError("pairs are for the pairwise method", "leave them out")
        responses = listed(responses, 2)
        started = perf_counter()

        def in_one_order(pairs: Sequence[tuple[int, int]]) -> list[Preference]:
            found = self.compare_all(
                image, question, responses, pairs=pairs, orders="given", **sharing
            )
            return [preference for _, _, preference in found]

        if method == "pointwise":
            ranking = pointwise_ranking(self.score_many(image, question, responses, **sharing))
        elif method == "adaptive":
            ranking = rank_in_rounds(responses, in_one_order, self.profile.calibration)
        else:
            found = self.compare_all(image, question, responses, pairs=pairs, **sharing)
            ranking = pairwise_ranking(len(responses), found)
        return summed(ranking, perf_counter() - started)

    def best_of_n(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        **sharing: Unpack[Sharing],
    ) -> int:
        """Index of the best response, as `rank` finds it.

        Raises:
            InputError: as for `rank`.
            VerdictParseError: a judgement could not be read; an index cannot say so.
            BackendUnavailableError: as for `score`.
        """
        ranking = self.rank(image, question, responses, method=method, **sharing)
        if ranking.best is None:
            raise VerdictParseError(
                f"no best of {len(responses)} responses: a judgement could not be read",
                "see rank() for which one, or try another wording",
            )
        return ranking.best

    def chat_stream(
        self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions
    ) -> Generator[ChatPiece | ChatUsage, None, None]:
        """Answer a conversation as a chat model would; see `Chat.steps`.

        What it says is no judgement: only `score`, `compare` and `rank` read the critic's logits.

        Args:
            image: the pictures that the turns show.
            turns: the conversation.
            options: how to answer.

        Raises:
            InputError: the conversation cannot be answered, or the critic is a remote one.
            QueueFullError: too many requests wait.
            BackendUnavailableError: as for `score`.
        """
        if isinstance(self._judging, EngineThread):
            return self._stream(
                lambda: ChatJob(image=image, turns=turns, options=options, cancel=options.cancel)
            )
        raise InputError(
            f"{self.profile.name} runs elsewhere", "ask its endpoint itself for free text"
        )

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
