"""`Critic`: load a critic once, judge with it from any thread."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import combinations
from threading import Lock, Thread, current_thread
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypeVar, get_args

from edgecritic.backends import ENGINES, choose_backend, in_engines_form, load_backend
from edgecritic.backends.base import Backend, CancelToken, EngineInfo
from edgecritic.backends.options import Device, EngineOptions, Weights
from edgecritic.bundle import Bundle
from edgecritic.errors import BackendUnavailableError, InputError, VerdictParseError
from edgecritic.judging import Judge, Judging, Options, Orders
from edgecritic.judging.chat import Chat, ChatUsage
from edgecritic.judging.generation import Sampling
from edgecritic.judging.writing import ChatOptions, ChatPiece
from edgecritic.manifest import Calibration
from edgecritic.pictures import ImageInput, PictureEncoder, as_images
from edgecritic.profile import CriticProfile
from edgecritic.prompts import DEFAULT_DIALECT, load_dialect
from edgecritic.prompts.conversation import Turn
from edgecritic.task import Rubric, Task
from edgecritic.verdict import Preference, Ranking, Verdict
from edgecritic.vision import FeatureCache, ImageLimits

if TYPE_CHECKING:
    from edgecritic.remote import RemoteOptions

logger = logging.getLogger(__name__)
Judged = TypeVar("Judged", Verdict, Preference)
Method: TypeAlias = Literal["pairwise", "adaptive", "pointwise"]
Item = TypeVar("Item")


class Critic:
    """Judges responses to questions about pictures.

    Calls from several threads take turns; only a remote critic judges for several at once. A
    stream holds its turn until it is used up or closed, and may be handed on to another thread.

    Args:
        backend: a loaded engine; the critic closes it.
        profile: what the critic was trained for.
        cache: features of pictures; its own of 512 MiB when left out, or one shared by critics.
        limits: on pictures; 40 megapixels and 20 MiB when left out.

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
    ) -> None:
        cache = cache if cache is not None else FeatureCache()
        pictures = PictureEncoder(backend, profile.vision, cache, limits or ImageLimits())
        chat = Chat(backend, profile.dialect, pictures)
        self._begin(Judge(backend, profile, pictures), profile, cache, chat)

    def _begin(
        self, judge: Judging, profile: CriticProfile, cache: FeatureCache, chat: Chat | None = None
    ) -> None:
        self._chat = chat
        self.profile = profile
        self.cache = cache
        self._judge = judge
        self._info: EngineInfo = judge.info
        self._lock = Lock()
        self._holder: Thread | None = None
        self._stream: Generator[object, None, None] | None = None
        self._closed = False

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
    ) -> Self:
        """Load a critic.

        Args:
            bundle: a bundle or its folder; the embedded critic when left out.
            backend: ``"auto"`` or the name of an engine. For ``"onnx"`` a GGUF bundle is converted,
                once on a machine; the result is kept in the cache folder.
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

        Raises:
            ArtifactError: the bundle or one of its files is missing or damaged. Where a model
                file was never fetched, the hint names the command that fetches it.
            MissingExtraError: the engine is not installed.
            BackendUnavailableError: the engine could not start.
            InputError: an option is out of range.
        """
        if bundle is None:
            bundle = Bundle.embedded()
        elif not isinstance(bundle, Bundle):
            bundle = Bundle.read(bundle)
        longest = bundle.manifest.n_ctx
        if n_ctx is not None and n_ctx > longest:
            raise InputError(
                f"n_ctx is {n_ctx}, and {bundle.name} was made for at most {longest} tokens",
                f"give at most {longest}",
            )
        n_ctx = longest if n_ctx is None else n_ctx
        options = EngineOptions(n_ctx=n_ctx, n_threads=threads, device=device, weights=weights)
        chosen = choose_backend(bundle, backend)
        bundle = in_engines_form(bundle, chosen)
        if bundle.manifest.verified is False:
            logger.warning(
                "%s failed the checks of its export: `edgecritic inspect` tells which",
                bundle.name,
            )
        profile = CriticProfile.of(bundle, ENGINES[chosen].format)
        profile = profile.capped(max_tiles, max_image_tokens)
        engine = load_backend(bundle, chosen, options)
        try:
            return cls(engine, profile, cache=cache, limits=limits)
        except BaseException:
            engine.close()
            raise

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
        return self._closed

    def score(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        reference: str | None = None,
        rubric: Rubric | None = None,
        rationale: bool = True,
        wording: int = 0,
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        max_rationale_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Verdict:
        """Score one response.

        Args:
            image: a path, encoded bytes, a PIL image, a list of them, or None for text only.
            question: what was asked.
            response: what was answered; empty is legal.
            reference: a right answer, if there is one.
            rubric: range and criteria; the critic's own range when left out.
            rationale: also say why.
            wording: number of the prompt's wording.
            on_text: is given the rationale's pieces as they are generated.
            cancel: may stop the judgement from another thread; then its status says so.
            max_rationale_tokens: most tokens of the rationale.
            temperature: of the rationale's sampling; 0 is greedy. The verdict is never sampled.
            seed: of the rationale's sampling.

        Raises:
            InputError: the question, a picture (`ImageError`) or an option cannot be used, or all
                together is too long (`ContextOverflowError`).
            BackendUnavailableError: the critic is closed, or its engine failed.
        """
        stream = self.score_stream(
            image,
            question,
            response,
            reference=reference,
            rubric=rubric,
            rationale=rationale,
            wording=wording,
            cancel=cancel,
            max_rationale_tokens=max_rationale_tokens,
            temperature=temperature,
            seed=seed,
        )
        return _last(stream, on_text)

    def score_stream(
        self,
        image: ImageInput,
        question: str,
        response: str,
        *,
        reference: str | None = None,
        rubric: Rubric | None = None,
        rationale: bool = True,
        wording: int = 0,
        cancel: CancelToken | None = None,
        max_rationale_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Generator[Verdict | str, None, None]:
        """`score` as it happens: the verdict, the rationale's pieces, the verdict with all of it.

        Without a rationale the verdict comes once. Where the critic's prompts let it reason
        first, the pieces come first and the verdict once behind them.

        Raises:
            InputError: as for `score`; when the first item is asked for.
            BackendUnavailableError: as for `score`.
        """
        sampling = Sampling(max_rationale_tokens, temperature, seed)
        options = Options(rationale, wording, sampling, cancel)
        task = self._task(image, question, (response,), reference, rubric)
        return self._turn(self._judge.pointwise(image, task, options))

    def compare(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        reference: str | None = None,
        rubric: Rubric | None = None,
        rationale: bool = True,
        wording: int = 0,
        on_text: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
        max_rationale_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Preference:
        """Say which of two responses is better.

        Args:
            image: as for `score`.
            question: what was asked.
            first: one response.
            second: the other one.
            orders: ``"both"`` shows the responses in both orders, which cancels a bias towards a
                position; ``"given"`` and ``"swapped"`` show them in one.
            reference: a right answer, if there is one.
            rubric: its criteria are used.
            rationale: also say why, with the responses in the given order.
            wording: as for `score`, like all that follow.
            on_text: see `score`.
            cancel: see `score`.
            max_rationale_tokens: see `score`.
            temperature: see `score`.
            seed: see `score`.

        Raises:
            InputError: as for `score`.
            BackendUnavailableError: as for `score`.
        """
        stream = self.compare_stream(
            image,
            question,
            first,
            second,
            orders=orders,
            reference=reference,
            rubric=rubric,
            rationale=rationale,
            wording=wording,
            cancel=cancel,
            max_rationale_tokens=max_rationale_tokens,
            temperature=temperature,
            seed=seed,
        )
        return _last(stream, on_text)

    def compare_stream(
        self,
        image: ImageInput,
        question: str,
        first: str,
        second: str,
        *,
        orders: Orders = "both",
        reference: str | None = None,
        rubric: Rubric | None = None,
        rationale: bool = True,
        wording: int = 0,
        cancel: CancelToken | None = None,
        max_rationale_tokens: int = 96,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Generator[Preference | str, None, None]:
        """`compare` as it happens; see `score_stream`."""
        if orders not in get_args(Orders):
            raise InputError(f"orders is {orders!r}", f"give one of {', '.join(get_args(Orders))}")
        sampling = Sampling(max_rationale_tokens, temperature, seed)
        options = Options(rationale, wording, sampling, cancel)
        task = self._task(image, question, (first, second), reference, rubric)
        return self._turn(self._judge.pairwise(image, task, orders, options))

    def rank(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        reference: str | None = None,
        rubric: Rubric | None = None,
        wording: int = 0,
        cancel: CancelToken | None = None,
        pairs: Sequence[tuple[int, int]] | None = None,
    ) -> Ranking:
        """Order several responses, best first; without rationales.

        Args:
            image: as for `score`.
            question: what was asked.
            responses: at least two.
            method: ``"pairwise"`` compares all of them in both orders; ``"adaptive"`` compares
                only those pairs that still can change the order, mostly under half of them;
                ``"pointwise"`` scores each. All decode what the prompts share once.
            reference: a right answer, if there is one.
            rubric: as for `score` and `compare`.
            wording: number of the prompt's wording.
            cancel: may stop the ranking from another thread.
            pairs: indices of the responses to compare with each other, each pair in both orders;
                every pair when left out. A response that is in none has the reward 0.

        Raises:
            InputError: fewer than two responses, a pair that is none, or as for `score`.
            BackendUnavailableError: as for `score`.
        """
        if isinstance(responses, str) or len(responses) < 2:
            raise InputError(
                "a ranking takes a list of at least two responses", "use score() for a single one"
            )
        if method not in get_args(Method):
            raise InputError(f"method is {method!r}", f"give one of {', '.join(get_args(Method))}")
        if method != "pairwise" and pairs is not None:
            raise InputError("pairs are for the pairwise method", "leave them out")
        task = self._task(image, question, responses, reference, rubric)
        options = Options(False, wording, cancel=cancel)
        chosen = _pairs(pairs, len(responses))
        with self._exclusive():
            if method == "pointwise":
                return self._judge.rank_pointwise(image, task, responses, options)
            if method == "adaptive":
                return self._judge.rank_adaptive(image, task, responses, options)
            return self._judge.rank_pairwise(image, task, responses, options, chosen)

    def best_of_n(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        *,
        method: Method = "pairwise",
        reference: str | None = None,
        rubric: Rubric | None = None,
        wording: int = 0,
    ) -> int:
        """Index of the best response, as `rank` finds it.

        Raises:
            InputError: as for `rank`.
            VerdictParseError: a judgement could not be read; an index cannot say so.
            BackendUnavailableError: as for `score`.
        """
        ranking = self.rank(
            image,
            question,
            responses,
            method=method,
            reference=reference,
            rubric=rubric,
            wording=wording,
        )
        if ranking.best is None:
            raise VerdictParseError(
                f"no best of {len(responses)} responses: a judgement could not be read",
                "see rank() for which one, or try another wording",
            )
        return ranking.best

    def chat_stream(
        self, image: ImageInput, turns: Sequence[Turn], options: ChatOptions
    ) -> Generator[ChatPiece | ChatUsage, None, None]:
        """Answer a conversation as a chat model would; see `Chat.answer`.

        What it says is no judgement: only `score`, `compare` and `rank` read the critic's logits.

        Args:
            image: the pictures that the turns show.
            turns: the conversation.
            options: how to answer.

        Raises:
            InputError: the conversation cannot be answered, or the critic is a remote one.
            BackendUnavailableError: as for `score`.
        """
        if self._chat is None:
            raise InputError(
                f"{self.profile.name} runs elsewhere", "ask its endpoint itself for free text"
            )
        return self._turn(self._chat.answer(image, turns, options))

    def close(self) -> None:
        """Free the model. A stream that this thread left open ends; other threads' are awaited."""
        if self._holder is current_thread() and self._stream is not None:
            self._stream.close()
            self._shut()
            return
        with self._lock:
            self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _task(
        self,
        image: ImageInput,
        question: str,
        responses: Sequence[str],
        reference: str | None,
        rubric: Rubric | None,
    ) -> Task:
        """The task of a call, by the critic's own rubric where the caller names none."""
        rubric = self.profile.rubric if rubric is None else rubric
        return Task(question, tuple(responses), len(as_images(image)), reference, rubric)

    def _shut(self) -> None:
        self._closed = True
        self._judge.close()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if self._judge.concurrent:
            self._check_open()
            yield
            return
        if self._holder is current_thread() and self._stream is not None:
            raise InputError(
                "a stream of this critic is still open in this thread",
                "use it up or close() it before the next judgement",
            )
        with self._lock:
            self._check_open()
            self._holder = current_thread()
            try:
                yield
            finally:
                self._holder = None

    def _check_open(self) -> None:
        if self._closed:
            raise BackendUnavailableError(
                f"the critic {self.profile.name} is closed", "load it again"
            )

    def _turn(self, stream: Generator[Item, None, None]) -> Generator[Item, None, None]:
        with self._exclusive(), closing(stream):
            self._stream = stream
            try:
                for item in stream:
                    yield item
                    # Whoever asks for the next item has the turn: a pool may hand a stream on.
                    if self._holder is not None:
                        self._holder = current_thread()
            finally:
                self._stream = None


def _pairs(pairs: Sequence[tuple[int, int]] | None, n_responses: int) -> Sequence[tuple[int, int]]:
    """The pairs that were asked for, checked; every pair where none were."""
    if pairs is None:
        return tuple(combinations(range(n_responses), 2))
    if not pairs:
        raise InputError("there are no pairs to compare", "leave pairs out to compare all")
    for i, j in pairs:
        if not (0 <= i < n_responses and 0 <= j < n_responses and i != j):
            raise InputError(
                f"({i}, {j}) is no pair of {n_responses} responses",
                f"give two different indices from 0 to {n_responses - 1}",
            )
    return pairs


def _last(
    stream: Generator[Judged | str, None, None], on_text: Callable[[str], None] | None
) -> Judged:
    """The final judgement of a stream, whose text goes to `on_text`."""
    judged: Judged | None = None
    with closing(stream):
        for item in stream:
            if not isinstance(item, str):
                judged = item
            elif on_text is not None:
                on_text(item)
    if judged is None:
        raise BackendUnavailableError("the critic was closed while it judged", "load it again")
    return judged
