"""How long judging takes: the calls that an engine gets, each at its pace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgecritic.fit.pace import Call, LayerShape, Pace, PicturePace
from edgecritic.fit.workload import HEAD_TOKENS, QUESTION_TOKENS, Picture, Workload


@dataclass(frozen=True, slots=True)
class Work:
    """What a critic computes with.

    Attributes:
        layers: of its language model, how many there are of each shape.
        n_vocab: rows of the head.
        tower: multiplications for a patch of a picture.
        patches: of a tile.
        tower_layer: a layer of the language model's width that is stored as the tower is.
        n_batch: tokens in one call at most.
        together: several answers are computed in one call.
        apart: pictures are computed apart from text.
    """

    layers: Mapping[LayerShape, float]
    n_vocab: int
    tower: int
    patches: int
    tower_layer: LayerShape
    n_batch: int
    together: bool
    apart: bool


def calls(work: Work, workload: Workload, picture: Picture) -> Iterator[Call]:
    """What the engine is asked for one judging of the workload."""
    shared = HEAD_TOKENS + picture.tokens + QUESTION_TOKENS
    answer = workload.answer_tokens
    if workload.responses == 1:
        spans = [HEAD_TOKENS, picture.tokens, QUESTION_TOKENS + answer]
        yield from _in_order(work, spans, rows=1)
        yield Call(1, shared + answer, 1)  # between the levels 1 and 10
        return
    yield from _in_order(work, [HEAD_TOKENS, picture.tokens, QUESTION_TOKENS], rows=0)
    n_first, n_pairs = workload.responses, workload.judgements
    if not work.together:
        yield from [Call(answer, shared, 1)] * n_first  # it computes a row with each call
        yield from [Call(answer, shared + answer, 1)] * n_pairs
        return
    past = shared
    for n_answers, rows in ((n_first, 0), (n_pairs, 1)):
        at_once = max(1, work.n_batch // answer)
        for begun in range(0, n_answers, at_once):
            n = min(at_once, n_answers - begun)
            yield Call(n * answer, past, n * rows)
            past += n * answer


def _in_order(work: Work, spans: list[int], rows: int) -> Iterator[Call]:
    """A prompt, span by span or as a whole."""
    past = 0
    for span in spans if work.apart else [sum(spans)]:
        end = past + span
        while past < end:
            n = min(work.n_batch, end - past)
            yield Call(n, past)
            past += n
    if rows:
        yield Call(0, past, rows)


def seconds(
    work: Work,
    workload: Workload,
    picture: Picture,
    pace: Callable[[LayerShape], Pace],
    pictures: PicturePace,
) -> float:
    """How long one judging takes.

    Args:
        work: what is computed with.
        workload: what is judged.
        picture: what the picture becomes.
        pace: of layers on this machine.
        pictures: what reading one takes.
    """
    main = max(work.layers, key=lambda shape: work.layers[shape])
    total = workload.pixels * (pictures.first + (workload.requests - 1) * pictures.again)
    for call in calls(work, workload, picture):
        if call.n_tokens:
            total += pace(main).of_the_rest(call)
            total += sum(n * pace(shape).of_layer(call) for shape, n in work.layers.items())
        if call.rows:
            head = Call(call.rows, 0)
            total += pace(main).of_layer(head) * work.n_vocab * main.n_embd / main.products
    if picture.tiles:
        tile = pace(work.tower_layer).of_layer(Call(work.patches, 0))
        total += picture.tiles * tile * work.tower / work.tower_layer.products
    return total
