"""Generates twin items: a split, a seed and an index name one item for good.

Command line: ``edgecritic train items --assets PACK... --split T0 --n 400 --out DIR`` writes an
evaluation set, ``--sheet FILE.png`` draws a contact sheet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgecritic.cli.options import at_least
from edgecritic.errors import InputError
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.catalogue import KINDS, Kind, kinds_of
from edgecritic_train.data.dice import chance, generator, sample, shuffled, stable_seed, weighted
from edgecritic_train.data.export import export_jsonl
from edgecritic_train.data.items import TwinItem
from edgecritic_train.data.questions.draft import Draft
from edgecritic_train.data.reasons import capitalised
from edgecritic_train.data.responses import (
    Graded,
    forms_of,
    text_only_response,
    undecided_response,
    value_responses,
    with_reasons,
)
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.sheet import contact_sheet
from edgecritic_train.data.splits import SPLITS

_TEXT_ONLY = 0.75
"""Share of the items with a response that is poor whatever the image shows."""
_UNDECIDED = 0.2
"""Share of the items with a response that names both values."""


def generate(
    assets: Assets, split: str, seed: int, n: int, kinds: Sequence[str] | None = None
) -> Iterator[TwinItem]:
    """Items 0..n-1 of a split and seed.

    Args:
        assets: the packs that the split draws from (T1..T3 need the test pack as well).
        split: "train" or "T0".."T4".
        seed: names the whole series.
        n: how many items.
        kinds: question types to choose from; all of the split if not given.

    Raises:
        UnknownKindError: an unknown split, or a kind that the split does not have.
        AssetError: an asset that the split needs is in none of the packs.
    """
    for index in range(n):
        yield item_at(assets, split, seed, index, kinds)


def item_at(
    assets: Assets,
    split: str,
    seed: int,
    index: int,
    kinds: Sequence[str] | None = None,
    *,
    emphasis: Mapping[str, float] | None = None,
) -> TwinItem:
    """One item; depends on its arguments only, so workers can stride over the indices.

    Args:
        assets: the packs that the split draws from.
        split: "train" or "T0".."T4".
        seed: names the series.
        index: of the item in it.
        kinds: question types to choose from; all of the split if not given.
        emphasis: how many times as often as usual a question type comes.
    """
    item_seed = stable_seed("item", split, seed, index)
    rng = generator("item", split, seed, index)
    factors = emphasis or {}
    shares = {kind: kind.weight * factors.get(kind.name, 1) for kind in kinds_of(split, kinds)}
    kind = weighted(rng, shares)
    setting = Setting(assets, split, rng)
    return _finished(setting, kind, kind.build(setting), item_seed)


def _finished(setting: Setting, kind: Kind, draft: Draft, seed: int) -> TwinItem:
    """Chooses the responses of a draft and gives their reasons."""
    rng = setting.rng
    facts = draft.answers[0].fact, draft.answers[1].fact
    graded = shuffled(rng, _responses(setting, draft))
    return TwinItem(
        images=draft.images,
        question=draft.question,
        references=(f"{capitalised(facts[0])}.", f"{capitalised(facts[1])}."),
        responses=tuple(with_reasons(rng, one, facts) for one in graded),
        kind=kind.name,
        split=setting.split,
        seed=seed,
        labels=draft.labels,
        facts=facts,
    )


def _responses(setting: Setting, draft: Draft) -> list[Graded]:
    rng = setting.rng
    graded = list(draft.extra)
    if draft.values:
        count = 2 if draft.extra or chance(rng, 0.5) else 3
        forms = sample(rng, forms_of(setting.split), count)
        graded += value_responses(rng, draft.answers, forms)
        if chance(rng, _UNDECIDED):
            graded.append(undecided_response(rng, draft.answers))
    if chance(rng, _TEXT_ONLY):
        graded.append(text_only_response(rng, draft.question))
    return graded


def main(argv: Sequence[str]) -> int:
    """Writes an evaluation set or a contact sheet; returns the exit code."""
    options = _parser().parse_args(argv)
    if not (options.out or options.sheet):
        raise InputError("it is not said what to write", "give --out, --sheet or both")
    assets = Assets.load(*options.assets)

    def items() -> Iterator[TwinItem]:
        return generate(assets, options.split, options.seed, options.n, options.kinds)

    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(list(items())).save(options.sheet)
        sys.stdout.write(f"{options.sheet}\n")
    if options.out:
        sys.stdout.write(f"{export_jsonl(items(), options.out)}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgecritic train items")
    parser.add_argument("--assets", nargs="+", required=True, help="asset packs (.zip)")
    parser.add_argument("--split", choices=SPLITS, default="T0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=at_least(1), default=24, help="how many items")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=tuple(KINDS),
        metavar="KIND",
        help=f"only these types: {', '.join(KINDS)}",
    )
    parser.add_argument("--out", type=Path, help="folder for items.jsonl and images/")
    parser.add_argument("--sheet", type=Path, help="PNG with the items and their answers")
    return parser
