"""Other people's verdicts as replies: the files that scorers and evaluation kits leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgecritic import InputError
from edgecritic_bench.protocols import mllm_judge, vl_rewardbench
from edgecritic_bench.protocols.files import Object, made, read_objects, text
from edgecritic_bench.protocols.reading import in_order
from edgecritic_bench.protocols.replies import Reply, Shown, finite
from edgecritic_bench.protocols.rows import AnyRow, OrderRow, PairRow, ScoreRow
from edgecritic_bench.records import Winner

Rows = Sequence[AnyRow]
_LETTERS: Mapping[str, Winner] = {"A": "first", "B": "second", "C": "tie"}


def import_replies(kind: str, rows: Rows, path: Path) -> tuple[Reply, ...]:
    """Read a file that something else wrote.

    Args:
        kind: one of `FORMATS`.
        rows: of the benchmark that was judged.
        path: the file.

    Raises:
        InputError: no such format, the file is another, or it judges what is no row.
    """
    if kind not in FORMATS:
        raise InputError(f"there is no format {kind!r}", f"known are {', '.join(FORMATS)}")
    reader = FORMATS[kind](rows)
    return tuple(
        reply
        for number, (where, data) in enumerate(read_objects(path))
        for reply in made(where, _listed, reader, number, data)
    )


Reader = Callable[[int, Object], Iterator[Reply]]


def _listed(reader: Reader, number: int, data: Object) -> list[Reply]:
    return list(reader(number, data))


def _vl_rewardbench(rows: Rows) -> Reader:
    """Lines of ``inference_hf.py``: a sample each, with the order it was shown in."""
    keys = {_pair_identity(row): row.key for row in rows if isinstance(row, PairRow)}

    def read(_: int, found: Object) -> Iterator[Reply]:
        data = found.get("0", found)
        identity = (data["query"], tuple(sorted(data["response"])))
        if identity not in keys:
            raise ValueError(f"{data['id']!r} is no row of the benchmark")
        meta = data["meta"]
        shown: Shown = "swapped" if meta["random_number"] else "given"
        yield Reply(keys[identity], shown, text=text(meta, "filter_choice"))

    return read


def _pair_identity(row: PairRow) -> tuple[str, tuple[str, ...]]:
    return row.question, tuple(sorted(row.responses))


def _multimodal_rewardbench(rows: Rows) -> Reader:
    """Lines of ``1_run_model_as_judge_gpt4o.py``, or a submission to its leaderboard."""
    known = _Numbered(rows)

    def read(_: int, data: Object) -> Iterator[Reply]:
        outputs = data["outputs"] if "outputs" in data else [data["output"]]
        key = known.next_key(text(data, "ID"))
        for output in outputs:
            yield Reply(key, text=str(output))

    return read


def _mm_rlhf(rows: Rows) -> Reader:
    """Lines of ``eval_mm_reward_bench.py``: rewards of the chosen and the rejected response."""
    known = _Numbered(rows)

    def read(_: int, data: Object) -> Iterator[Reply]:
        chosen, rejected = data["rewards"]
        key = known.next_key(str(data["id"]))
        yield Reply(key, rewards=(finite(chosen), finite(rejected)))

    return read


class _Numbered:
    """Keys of rows whose names repeat, in the order of the file."""

    def __init__(self, rows: Rows) -> None:
        self._known = {row.key for row in rows}
        self._seen: dict[str, int] = {}

    def next_key(self, name: str) -> str:
        self._seen[name] = self._seen.get(name, 0) + 1
        key = name if self._seen[name] == 1 else f"{name}~{self._seen[name]}"
        if key not in self._known:
            raise ValueError(f"{key!r} is no row of the benchmark")
        return key


def _mllm_judge(rows: Rows) -> Reader:
    """Lines of ``api_benchmark.py``: the rows themselves, with a ``mllm_judge``, in their order."""

    def read(number: int, data: Object) -> Iterator[Reply]:
        row, said = _at(rows, number), data["mllm_judge"]
        if isinstance(row, ScoreRow):
            level = _level(said, row)
            yield Reply(row.key, level=level, text=str(said))
        elif isinstance(row, PairRow):
            letter = str(said).strip().strip("[]").upper()
            yield Reply(row.key, winner=_LETTERS.get(letter), text=str(said))
        else:
            yield Reply(row.key, order=_order(said, row), text=str(said))

    return read


def _level(said: object, row: ScoreRow) -> float | None:
    """A number within the rubric; everything else is unread."""
    try:
        level = finite(said)
    except ValueError:
        return None
    return level if row.rubric.low <= level <= row.rubric.high else None


def _order(said: object, row: OrderRow) -> tuple[int, ...] | None:
    try:
        order = mllm_judge.letters_to_order(str(said).strip().strip("[]").upper())
    except ValueError:
        return None
    return order if len(order) == len(row.responses) else None


def _lmms_eval(rows: Rows) -> Reader:
    """Lines of ``--log_samples``: ``doc_id`` counts the rows, ``filtered_resps`` holds the text."""

    def read(_: int, data: Object) -> Iterator[Reply]:
        row = _at(rows, int(data["doc_id"]))
        said = data["filtered_resps"][0]
        said = said[0] if isinstance(said, list) else said
        yield Reply(row.key, _kit_shown(row, data), text=str(said))

    return read


def _kit_shown(row: AnyRow, data: Object) -> Shown:
    # Of the pairs that lmms-eval judges, only VL-RewardBench's are shown in an order of its own.
    ours = isinstance(row, PairRow) and "human_ranking" in (data.get("doc") or {})
    return vl_rewardbench.kit_order(row) if ours and isinstance(row, PairRow) else "given"


def _vlmevalkit(rows: Rows) -> Reader:
    """VLMEvalKit's table of predictions, saved as TSV or CSV, in the rows' order.

    Where the kit's own scoring has run, `extracted` or a column ``log`` has what the language model
    read; otherwise the score 1 or 0 of its table stands for it.
    """

    def read(number: int, data: Object) -> Iterator[Reply]:
        row = _at(rows, number)
        if not isinstance(row, PairRow):
            raise ValueError("VLMEvalKit's tables are read for pairs alone")
        shown = vl_rewardbench.kit_order(row)
        score = str(data.get("score") or "")
        extracted = data.get("extracted") or data.get("log") or _from_score(score, row)
        yield Reply(row.key, shown, text=str(data["prediction"]), extracted=extracted)

    return read


def _from_score(score: str, row: PairRow) -> str | None:
    """The answer that the kit must have read to give that score."""
    if score not in ("0", "1", "0.0", "1.0"):
        return None
    gold = in_order(row.gold, vl_rewardbench.kit_order(row))
    right = float(score) == 1
    return "Answer 1" if (gold == "first") == right else "Answer 2"


def _at(rows: Rows, number: int) -> AnyRow:
    if not 0 <= number < len(rows):
        raise ValueError(f"it is of row {number}, and the benchmark has {len(rows)}")
    return rows[number]


FORMATS: Mapping[str, Callable[[Rows], Reader]] = {
    "vl-rewardbench": _vl_rewardbench,
    "multimodal-rewardbench": _multimodal_rewardbench,
    "mm-rlhf": _mm_rlhf,
    "mllm-judge": _mllm_judge,
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
}


def bench_labels(path: Path) -> list[tuple[str, list[str | None]]]:
    """WildVision-Bench's published judgements of one model, for `wildvision.score_bench`.

    Raises:
        InputError: the file is another.
    """
    return [made(where, _labels, data) for where, data in read_objects(path)]


def _labels(data: Object) -> tuple[str, list[str | None]]:
    return text(data, "question_id"), [game["score"] for game in data["games"]]
