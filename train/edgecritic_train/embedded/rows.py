"""Twin items as packed training rows: one image, many judgements, each decoded once.

A row is ``[system, image] [judgement 1] [judgement 2] ...``. Every judgement sees the prefix and
itself only, at the positions it would have alone, so the row teaches what the runtime will ask
and pays for the image once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecritic.prompts import Control, Dialect, ImageSlot, Piece, Prompt, render
from edgecritic.scoring import OutcomeTrie
from edgecritic.task import Rubric, Task
from edgecritic.vision import ImageGeometry, pack_features, tile
from edgecritic_train.critic_data.rendering import asking
from edgecritic_train.critic_data.rows import SWAPPED
from edgecritic_train.data.dice import chance
from edgecritic_train.data.distractions import REMARKS_ON_FORM, distracted
from edgecritic_train.data.items import Pair, Response, TwinItem
from edgecritic_train.data.preferences import preferences
from edgecritic_train.embedded.config import EmbeddedConfig

IntArray = NDArray[np.int64]
Tokenize = Callable[..., tuple[int, ...]]
IMAGE = -1
"""Stands in a row's token ids where an image feature goes."""

MAX_PAIRS, MAX_SCORES = 3, 3
"""Judgements of one picture in a row: more of them would cost pictures, which teach more."""

CRITERIA = (
    "Is the answer right?",
    "correctness",
    "Does the response agree with what the image shows?",
    "accuracy and completeness",
)
TRANSCRIPT = "List what the picture shows."
LEVELS: Mapping[str, str] = {"low": "wrong or empty", "high": "right and complete"}


@dataclass(frozen=True, slots=True)
class Branch:
    """One judgement behind the shared prefix.

    Attributes:
        tokens: prompt rest, stated verdict, reason, end of turn.
        targets: (position, token, weight): the row at `position` should predict `token`.
        setting: "pointwise", "pairwise" or "answer".
    """

    tokens: tuple[int, ...]
    targets: tuple[tuple[int, int, float], ...]
    setting: str


@dataclass(frozen=True, slots=True)
class PackedImage:
    """The distinct tiles of a picture and the order in which its tokens read them.

    Attributes:
        tiles: (n, S, S, 3) uint8; equal tiles once.
        gather: (n_tokens,) index into the tiles' patches, flattened; -1 is the newline.
    """

    tiles: NDArray[np.uint8]
    gather: IntArray


def pack_image(image: Image.Image, geometry: ImageGeometry) -> PackedImage:
    """Tile a picture and derive its packing from the runtime's own, run over patch numbers."""
    tiled = tile(image, geometry)
    patches = geometry.patches_per_side**2
    same = len(tiled.tiles) == 2 and np.array_equal(tiled.tiles[0], tiled.tiles[1])
    sources = np.zeros(2, int) if same else np.arange(len(tiled.tiles))
    numbers = sources[:, None] * patches + np.arange(patches)
    packed = pack_features(
        numbers[..., None].astype(np.float32), tiled, geometry, np.array([-1.0], np.float32)
    )
    return PackedImage(tiled.tiles[:1] if same else tiled.tiles, packed[:, 0].astype(np.int64))


class RowMaker:
    """Renders and tokenizes judgements with the runtime's own prompts."""

    def __init__(self, tokenize: Tokenize, dialect: Dialect, config: EmbeddedConfig) -> None:
        self.tokenize = tokenize
        self.dialect = dialect
        self.config = config
        self._trie = lru_cache(maxsize=64)(self._build_trie)

    def _build_trie(self, answers: tuple[str, ...]) -> OutcomeTrie:
        return OutcomeTrie.build([self.tokenize(answer) for answer in answers])

    def ids(self, pieces: Sequence[Piece]) -> tuple[int, ...]:
        """Token ids of pieces without images."""
        ids: tuple[int, ...] = ()
        for piece in pieces:
            if isinstance(piece, ImageSlot):
                raise ValueError("an image has no token ids; split the prompt at its slot")
            ids += self.tokenize(piece.text, control=isinstance(piece, Control))
        return ids

    def split(self, prompt: Prompt) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids in front of the image and behind it."""
        slot = next(i for i, p in enumerate(prompt.pieces) if isinstance(p, ImageSlot))
        return self.ids(prompt.pieces[:slot]), self.ids(prompt.pieces[slot + 1 :])

    def trie(self, prompt: Prompt) -> OutcomeTrie:
        """The prompt's outcomes as token paths."""
        return self._trie(prompt.answers)

    def judgement(self, prompt: Prompt, outcome: int, reason: str) -> Branch:
        """A branch that states an outcome and its reason."""
        question = self.split(prompt)[1]
        trie = self.trie(prompt)
        stated = self.tokenize(prompt.answers[outcome])
        answer = self.tokenize(f"{prompt.answers[outcome]} {reason}") + self.ids([prompt.end])[:1]
        verdict = range(len(trie.forced), len(trie.forced) + len(trie.paths[outcome]))
        targets = []
        for k, token in enumerate(answer):
            if k in verdict:
                weight = self.config.verdict_weight
            else:
                formal = k < len(stated)
                weight = self.config.form_weight if formal else self.config.reason_weight
            targets.append((len(question) + k - 1, token, weight))
        return Branch(question + answer, tuple(targets), prompt.setting)

    def plain_answer(self, prompt: Prompt, question: str, answer: str, weight: float) -> Branch:
        """A branch that answers a question itself: reading the picture, without judging."""
        opening = self.split(asking(prompt, question, self.dialect))[1]
        tokens = self.tokenize(answer) + self.ids([prompt.end])[:1]
        share = weight / len(tokens)
        targets = tuple((len(opening) + k - 1, t, share) for k, t in enumerate(tokens))
        return Branch(opening + tokens, targets, "answer")


def training_branches(
    item: TwinItem, side: int, pairs: Sequence[Pair], maker: RowMaker, rng: np.random.Generator
) -> Iterator[Branch]:
    """What one image of an item teaches: plain answer, transcript, then pairs, then scores."""
    dialect, config = maker.dialect, maker.config
    prompt = render(Task(item.question, ("",), 1), dialect)
    yield maker.plain_answer(prompt, item.question, item.references[side], config.answer_weight)
    listed = transcript(item.labels[side])
    yield maker.plain_answer(prompt, TRANSCRIPT, listed, config.transcript_weight)
    for pair in [pair for pair in pairs if pair.side == side][:MAX_PAIRS]:
        told = (_told(pair.first, side, config, rng), _told(pair.second, side, config, rng))
        texts = told
        winner = pair.winner
        if rng.random() < 0.5:
            texts = (texts[1], texts[0])
            winner = SWAPPED[winner]
        swapped = texts[0] != told[0]
        task = Task(item.question, texts, 1, *_extras(item, side, rng, pairwise=True))
        prompt = render(task, dialect, int(rng.integers(4)))
        reason = swap_ordinals(pair.reason) if swapped else pair.reason
        yield maker.judgement(prompt, prompt.outcomes.index(winner), reason)
    for index in rng.permutation(len(item.responses))[:MAX_SCORES]:
        response = item.responses[index]
        reference, rubric = _extras(item, side, rng, pairwise=False)
        prompt = render(
            Task(item.question, (_told(response, side, config, rng),), 1, reference, rubric),
            dialect,
            int(rng.integers(4)),
        )
        level = scaled(response.scores[side], rubric)
        yield maker.judgement(prompt, level - rubric.low, response.reasons[side])


def _told(response: Response, side: int, config: EmbeddedConfig, rng: np.random.Generator) -> str:
    """A response's text, now and then with something beside its answer."""
    share = 0.0 if response.remarks[side] in REMARKS_ON_FORM else config.distractions
    return distracted(rng, response.text) if share and chance(rng, share) else response.text


def transcript(labels: Mapping[str, str]) -> str:
    """All labels of a picture as text: many tokens that only looking can tell."""
    return "; ".join(
        f"{key.replace('_', ' ')}: {values.replace('|', ', ')}" for key, values in labels.items()
    )


def swap_ordinals(reason: str) -> str:
    """A pair's reason told for the other order of presentation."""
    marks = {"first": "\0", "second": "first", "First": "\1", "Second": "First"}
    for word, replacement in marks.items():
        reason = reason.replace(word, replacement)
    return reason.replace("\0", "second").replace("\1", "Second")


def scaled(score: int, rubric: Rubric) -> int:
    """A gold score of 1..10 on another rubric's scale."""
    return rubric.low + round((score - 1) / 9 * (rubric.high - rubric.low))


_RANGES = ((1, 10), (1, 5), (0, 10), (0, 100), (1, 7), (1, 4))
_RANGE_SHARES = (0.75, 0.1, 0.05, 0.04, 0.03, 0.03)


def _extras(
    item: TwinItem, side: int, rng: np.random.Generator, *, pairwise: bool
) -> tuple[str | None, Rubric]:
    """Now and then a reference, criteria, another scale: rare, so that the picture stays needed."""
    reference = item.references[side] if rng.random() < 0.08 else None
    criteria = CRITERIA[int(rng.integers(len(CRITERIA)))] if rng.random() < 0.12 else None
    if pairwise:
        return reference, Rubric(criteria=criteria)
    low, high = _RANGES[rng.choice(len(_RANGES), p=_RANGE_SHARES)]
    levels = {low: LEVELS["low"], high: LEVELS["high"]} if rng.random() < 0.08 else {}
    return reference, Rubric(low, high, criteria, levels)


@dataclass(frozen=True, slots=True)
class Row:
    """A packed row, ready to be stacked.

    Attributes:
        tokens: (n,) ids, `IMAGE` where a feature goes.
        segments: (n,) 0 for the prefix, k for judgement k.
        positions: (n,) position ids.
        targets: (m, 2) position and token.
        weights: (m,) loss weights.
        n_judgements: branches that fitted.
        image: tiles and packing.
    """

    tokens: IntArray
    segments: IntArray
    positions: IntArray
    targets: IntArray
    weights: NDArray[np.float32]
    n_judgements: int
    image: PackedImage


def pack_row(
    prefix: Sequence[int], image: PackedImage, branches: Sequence[Branch], limit: int
) -> Row:
    """Lay the branches behind the prefix as long as they fit into `limit` tokens."""
    front = [*prefix, *[IMAGE] * len(image.gather)]
    tokens, segments, positions = list(front), [0] * len(front), list(range(len(front)))
    targets: list[tuple[int, int]] = []
    weights: list[float] = []
    n_judgements = 0
    for branch in branches:
        start = len(tokens)
        if start + len(branch.tokens) > limit:
            continue
        n_judgements += 1
        tokens += branch.tokens
        segments += [n_judgements] * len(branch.tokens)
        positions += range(len(front), len(front) + len(branch.tokens))
        targets += [(start + position, token) for position, token, _ in branch.targets]
        weights += [weight for _, _, weight in branch.targets]
    return Row(
        np.array(tokens),
        np.array(segments),
        np.array(positions),
        np.array(targets, dtype=np.int64).reshape(-1, 2),
        np.array(weights, np.float32),
        n_judgements,
        image,
    )


def item_rows(
    item: TwinItem, maker: RowMaker, geometry: ImageGeometry, *, judged: bool, limit: int
) -> list[Row]:
    """The two rows of an item: all that it teaches or, for alignment, the answers alone."""
    rng = np.random.default_rng([item.seed % 2**63, 7])
    pairs = list(preferences(item))
    prefix = maker.split(render(Task(item.question, ("",), 1), maker.dialect))[0]
    rows = []
    for side in (0, 1):
        branches = [
            branch
            for branch in training_branches(item, side, pairs, maker, rng)
            if judged or branch.setting == "answer"
        ]
        rows.append(pack_row(prefix, pack_image(item.images[side], geometry), branches, limit))
    return rows
