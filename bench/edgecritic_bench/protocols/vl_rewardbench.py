"""VL-RewardBench: 1,250 pairs in three groups.

Source: arXiv:2411.17451; ``cal.py`` of the authors, ``vl_rewardbench/utils.py`` of lmms-eval,
``vl_rewardbench.py`` of VLMEvalKit, as of 2026-08. Three scorers, three numbers:

- official: k samples a row in random order; a row counts for the side with more than half of its
  samples, and for neither otherwise; groups are agree / (agree + reject), so unread rows vanish.
- lmms-eval: one sample, the order fixed by the length of the texts; an unread verdict is guessed.
- vlmevalkit: one sample in the same order, read by a language model; an unread verdict is wrong.
"""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from edgecritic import InputError
from edgecritic_bench.protocols.files import (
    Object,
    from_base64,
    keyed_rows,
    picture,
    text,
)
from edgecritic_bench.protocols.pairs import pair_score
from edgecritic_bench.protocols.reading import (
    named_answer,
    overall_judgment,
    shown_number,
)
from edgecritic_bench.protocols.replies import Reply, Shown
from edgecritic_bench.protocols.rows import Image, PairRow
from edgecritic_bench.protocols.scores import (
    Hit,
    Protocol,
    Score,
    by_row,
    macro,
    overall,
    refuse_protocol,
    shares,
)
from edgecritic_bench.statistics.intervals import Estimate

NAME = "vl-rewardbench"
KNOWN: tuple[Protocol, ...] = ("official", "lmms-eval", "vlmevalkit", "both-orders")
GROUPS = ("general", "hallucination", "reasoning")
SAMPLES = (1, 3, 5, 7, 9)
"""The k's of the official script, which shuffles anew for each."""
_SEED = 1234
_KIT_SEED = 0
_FILES = ("data/test-*.parquet", "*.parquet", "*.jsonl", "*.tsv")
_PREFIXES = {
    "RLAIF": "hallucination",
    "RLHF": "hallucination",
    "hallucination": "hallucination",
    "mathverse": "reasoning",
    "mmmu": "reasoning",
}
_KIT_PREFIXES = {name.lower(): group for name, group in _PREFIXES.items()}


def load(path: Path) -> tuple[PairRow, ...]:
    """Rows of the hub's Parquet, of the same as JSON Lines, or of VLMEvalKit's TSV.

    Raises:
        InputError: the file is missing or another.
    """
    return keyed_rows(path, _FILES, _name, _row)


def _name(row: Object) -> str:
    return str(row["id"] if "id" in row else row["index"])


def _row(key: str, row: Object, folder: Path) -> PairRow:
    first, second = _list(row["response"])
    ranking = [int(str(rank)) for rank in _list(row["human_ranking" if "id" in row else "answer"])]
    if sorted(ranking) != [0, 1]:
        raise ValueError(f"human_ranking is {ranking}, not 0 and 1")
    return PairRow(
        key=key,
        question=text(row, "query" if "query" in row else "question"),
        images=_images(row, folder),
        category=str(row.get("category") or group(_name(row))),
        models=tuple(str(name) for name in row.get("models") or ()),
        item=key,
        responses=(str(first), str(second)),
        gold="first" if ranking[0] == 0 else "second",
    )


def _images(row: Object, folder: Path) -> tuple[Image, ...]:
    value = row.get("image")
    if value is None:
        return ()
    # VLMEvalKit's table holds bare base64, which no path is as long as.
    if "id" not in row and isinstance(value, str):
        return (from_base64(value),)
    return (picture(value, folder, ("", "images", "..")),)


def _list(value: object) -> list[object]:
    """A list, or one that a table holds as text."""
    found = ast.literal_eval(value) if isinstance(value, str) else value
    if not isinstance(found, list | tuple):
        raise ValueError(f"{value!r} is no list")
    return list(found)


def group(name: str) -> str:
    """The official group of a row, by the beginning of its id, up to the first ``_`` or ``-``."""
    prefix = name.replace("-", "_").split("_")[0]
    return _PREFIXES.get(prefix, "general")


def kit_group(name: str) -> str:
    """lmms-eval's group: the same, but for the case of letters."""
    return _KIT_PREFIXES.get(
        name.split("-", maxsplit=1)[0].split("_", maxsplit=1)[0].lower(), "general"
    )


def kit_order(row: PairRow) -> Shown:
    """The order in which both kits show a pair."""
    return "swapped" if sum(len(response) for response in row.responses) % 2 else "given"


def score(
    rows: Sequence[PairRow],
    replies: Sequence[Reply],
    protocol: Protocol = "official",
    *,
    partial: bool = False,
    k: int | None = None,
    seed: int | None = None,
) -> Score:
    """Score one judge.

    Args:
        rows: of `load`.
        replies: of the judge.
        protocol: whose rules.
        partial: leave out rows without a reply.
        k: official: samples counted of each row; all when left out.
        seed: of the official shuffle (1234) or of lmms-eval's guesses (0) when left out.

    Raises:
        InputError: no such protocol, rows without a reply, or replies that the protocol has no use
            for.
    """
    if protocol == "official":
        return _official(rows, replies, partial, k, _SEED if seed is None else seed)
    if protocol in ("lmms-eval", "vlmevalkit"):
        rng = random.Random(_KIT_SEED if seed is None else seed)
        return _kit(rows, replies, protocol, partial, rng)
    if protocol == "both-orders":
        rules = "both orders reconciled; a tie or an unread verdict is wrong"
        return pair_score(by_row(rows, replies, partial), protocol, rules, "accuracy without ties")
    raise refuse_protocol(NAME, protocol, KNOWN)


def _official(
    rows: Sequence[PairRow], replies: Sequence[Reply], partial: bool, k: int | None, seed: int
) -> Score:
    single = [reply for reply in replies if reply.shown != "both"]
    by_row(rows, single, partial)
    if k is not None:
        single = _first_samples(single, k, seed)
    judged = by_row(rows, single, partial=True)
    hits, groups, undecided, unread = [], [], 0, 0
    for row, samples in judged:
        stances = [_stance(row, sample) for sample in samples]
        agree, reject = (stances.count(stance) for stance in (True, False))
        unread += 2 * stances.count(None) > len(stances)
        if 2 * max(agree, reject) > len(stances):
            hits.append(Hit(row.key, row.item, float(agree > reject)))
            groups.append(row.category)
        else:
            undecided += 1
    counts = sorted({len(samples) for _, samples in judged})
    rules = (
        f"{_span(counts)} samples a row, strict majority; {undecided} rows without one are dropped"
    )
    return Score(
        "official", rules, "macro", _grouped(hits, groups), len(judged), unread, tuple(hits)
    )


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _first_samples(replies: Sequence[Reply], k: int, seed: int) -> list[Reply]:
    """The first k samples of each row in the official order.

    The script draws one partner for every position, for each of its k's in turn, from one seeded
    generator, and starts each k from the file's own order.
    """
    rng = random.Random(seed)
    passes = SAMPLES[: SAMPLES.index(k) + 1] if k in SAMPLES else (k,)
    shuffled = list(replies)
    for _ in passes:
        shuffled = list(replies)
        for place in range(len(shuffled)):
            other = rng.randint(0, len(shuffled) - 1)
            shuffled[place], shuffled[other] = shuffled[other], shuffled[place]
    taken: dict[str, int] = {}
    kept = []
    for reply in shuffled:
        taken[reply.key] = taken.get(reply.key, 0) + 1
        if taken[reply.key] <= k:
            kept.append(reply)
    return kept


def _stance(row: PairRow, sample: Reply) -> bool | None:
    """Whether a sample agrees with gold; None where it says nothing.

    The script compares with the number of the rejected answer alone, so "Answer 3" agrees.
    """
    said = shown_number(sample) if sample.text is None else overall_judgment(sample.text)
    return None if said is None else said != 3 - _gold_number(row, sample.shown)


def _gold_number(row: PairRow, shown: Shown) -> int:
    return 1 if (row.gold == "first") == (shown == "given") else 2


def _kit(
    rows: Sequence[PairRow],
    replies: Sequence[Reply],
    protocol: Protocol,
    partial: bool,
    rng: random.Random,
) -> Score:
    single = [reply for reply in replies if reply.shown != "both"]
    read: Callable[[Reply], int | None] = _lmms_eval if protocol == "lmms-eval" else _vlmevalkit
    hits, groups, unread = [], [], 0
    for row, samples in by_row(rows, single, partial):
        said = read(_in_kit_order(row, samples, protocol))
        if said is None:
            unread += 1
            if protocol == "lmms-eval":
                said = rng.choice([1, 2])
        hits.append(Hit(row.key, row.item, float(said == _gold_number(row, kit_order(row)))))
        groups.append(kit_group(row.key) if protocol == "lmms-eval" else row.category)
    unread_rule = "guessed" if protocol == "lmms-eval" else "wrong"
    rules = f"one sample, order by the parity of both lengths; {unread} unread are {unread_rule}"
    metrics = _grouped(hits, groups)
    return Score(protocol, rules, "macro", metrics, len(hits), unread, tuple(hits))


def _in_kit_order(row: PairRow, samples: Sequence[Reply], protocol: str) -> Reply:
    wanted = kit_order(row)
    for sample in samples:
        if sample.shown == wanted:
            return sample
    raise InputError(
        f"{row.key} was judged in the {samples[0].shown} order, and {protocol} shows the {wanted}",
        "judge both orders, or score with --protocol official",
    )


def _lmms_eval(reply: Reply) -> int | None:
    if reply.text is None:
        return shown_number(reply)
    stated = overall_judgment(reply.text)
    return named_answer(reply.extracted or "") if stated is None else stated


def _vlmevalkit(reply: Reply) -> int | None:
    if reply.extracted is not None:
        return named_answer(reply.extracted)
    if reply.text is None:
        return shown_number(reply)
    raise InputError(
        f"vlmevalkit has a language model read each judgement, and {reply.key} has no `extracted`",
        "add what such a model answered, or score with --protocol official",
    )


def _grouped(hits: Sequence[Hit], groups: Sequence[str]) -> dict[str, Estimate]:
    return {"macro": macro(hits, groups), "overall": overall(hits), **shares(hits, groups)}


def official_key(data: Object) -> str:
    """How the authors tell rows apart, whose ids repeat."""
    return json.dumps([data["id"], data["query"], sorted(data["response"])], ensure_ascii=False)
