"""Judges an evaluation set with a trained checkpoint in torch, for training's own feedback.

Writes the records that the benches read: the same rows, prompts and verdict code as the runtime,
with transformers' modules as the engine.

Command line: ``edgecritic train judge --checkpoint RUN/critic.safetensors|FOLDER
--language-model GGUF --set FOLDER... --out RECORDS.jsonl [--limit N] [--float32]``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgecritic.cli.options import at_least
from edgecritic.debias import relabelled
from edgecritic.errors import ArtifactError, InputError
from edgecritic.prompts import load_dialect, render
from edgecritic.scoring import OutcomeTrie, normalise
from edgecritic.task import Task
from edgecritic.vision import ImageGeometry
from edgecritic_train.embedded.config import EmbeddedConfig, embedded_geometry
from edgecritic_train.embedded.language_model import PieceTokenizer
from edgecritic_train.embedded.model import Parts, parts
from edgecritic_train.embedded.rows import Branch, Row, RowMaker, pack_image, pack_row
from edgecritic_train.embedded.sft import hidden_states, stack_rows
from edgecritic_train.embedded.train import load_critic

CONDITIONS = ("right", "blank")
_ROW_LIMIT = 8192


@dataclass(frozen=True)
class Query:
    """One verdict to read: a judgement's branch and what its record says besides.

    Attributes:
        trie: the outcomes.
        branches: one per node of the trie; the logits are read at each one's last position.
        record: the record without probabilities.
        swapped: a pair shown in the other order.
    """

    trie: OutcomeTrie
    branches: tuple[Branch, ...]
    record: Mapping[str, Any]
    swapped: bool = False


@dataclass
class _Rows:
    """Rows of one batch with the queries that live on them."""

    rows: list[Row] = field(default_factory=list)
    queries: list[list[Query]] = field(default_factory=list)


def queries_of(item: Mapping[str, Any], side: int, maker: RowMaker) -> Iterator[Query]:
    """All judgements of one picture: every response, every pair of that side in both orders."""
    texts = [response["text"] for response in item["responses"]]
    common = {"id": item["id"], "kind": item["kind"], "split": item["split"], "side": side}
    for index, response in enumerate(item["responses"]):
        record = {
            **common,
            "setting": "pointwise",
            "response": index,
            "family": response["families"][side],
            "gold": response["scores"][side],
        }
        yield _query(Task(item["question"], (texts[index],), 1), maker, record, swapped=False)
    for pair in (pair for pair in item["pairs"] if pair["side"] == side):
        names = ("first", "second", "winner", "image_decided")
        record = {**common, "setting": "pairwise", **{name: pair[name] for name in names}}
        task = Task(item["question"], (texts[pair["first"]], texts[pair["second"]]), 1)
        yield _query(task, maker, record, swapped=False)
        yield _query(task.swapped(), maker, record, swapped=True)


def _query(task: Task, maker: RowMaker, record: Mapping[str, Any], *, swapped: bool) -> Query:
    prompt = render(task, maker.dialect)
    trie = maker.trie(prompt)
    opening = maker.split(prompt)[1] + trie.forced
    branches = tuple(Branch(opening + node, (), prompt.setting) for node in trie.nodes)
    return Query(trie, branches, record, swapped)


def blank_like(image: Image.Image) -> Image.Image:
    """A mid-grey picture of the same size."""
    return Image.new("RGB", image.size, (128, 128, 128))


class TorchJudge:
    """Reads verdicts from a checkpoint.

    Args:
        model: its parts, on the device to use.
        maker: renders and tokenizes.
        geometry: of the pictures.
        autocast: compute in bfloat16.
    """

    def __init__(
        self, model: Parts, maker: RowMaker, geometry: ImageGeometry, *, autocast: bool
    ) -> None:
        self.model, self.maker, self.geometry, self.autocast = model, maker, geometry, autocast

    def records(
        self, folder: Path, conditions: Sequence[str], limit: int | None, batch: int
    ) -> Iterator[dict[str, Any]]:
        """The records of an evaluation set, `batch` pictures at a time."""
        pending = _Rows()
        with (folder / "items.jsonl").open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if limit is not None and number >= limit:
                    break
                item = json.loads(line)
                for side in (0, 1):
                    for condition in conditions:
                        self._add(pending, folder, item, side, condition)
                if len(pending.rows) >= batch:
                    yield from self._read(pending)
                    pending = _Rows()
        if pending.rows:
            yield from self._read(pending)

    def _add(
        self, pending: _Rows, folder: Path, item: Mapping[str, Any], side: int, condition: str
    ) -> None:
        with Image.open(folder / item["images"][side]) as opened:
            image = opened.convert("RGB")
        if condition == "blank":
            image = blank_like(image)
        queries = [
            Query(q.trie, q.branches, {**q.record, "condition": condition}, q.swapped)
            for q in queries_of(item, side, self.maker)
        ]
        prefix = self.maker.split(render(Task("?", ("",), 1), self.maker.dialect))[0]
        branches = [branch for query in queries for branch in query.branches]
        row = pack_row(prefix, pack_image(image, self.geometry), branches, _ROW_LIMIT)
        pending.rows.append(row)
        pending.queries.append(queries)

    @torch.no_grad()
    def _read(self, pending: _Rows) -> Iterator[dict[str, Any]]:
        device = self.model.newline.device
        longest = max(len(row.tokens) for row in pending.rows)
        length = -(-longest // 64) * 64
        batch = stack_rows(pending.rows, length, self.geometry.patches_per_side**2).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            hidden = hidden_states(self.model, batch).view(len(pending.rows), length, -1)
        for row, states, queries in zip(pending.rows, hidden, pending.queries, strict=True):
            yield from self._verdicts(row, states, queries)

    def _verdicts(
        self, row: Row, states: Tensor, queries: Sequence[Query]
    ) -> Iterator[dict[str, Any]]:
        segments = row.segments
        ends = np.flatnonzero(np.append(segments[1:] != segments[:-1], True))[1:]
        head = self.model.head.weight
        logits = (states[torch.from_numpy(ends).to(states.device)].to(head.dtype) @ head.T).float()
        table = logits.cpu().numpy()
        start = 0
        given = normalise(np.zeros(1))
        for query in queries:
            rows = table[start : start + len(query.branches)]
            start += len(query.branches)
            read = normalise(query.trie.log_probs(list(rows)))
            if query.record["setting"] == "pointwise":
                yield {**query.record, "log_probs": read.log_probs.tolist(), "mass": read.mass}
            elif not query.swapped:
                given = read
            else:
                orders = [given.log_probs.tolist(), relabelled(read.log_probs).tolist()]
                yield {**query.record, "orders": orders, "mass": [given.mass, read.mass]}


def load_judge(checkpoint: Path, language_model: Path, *, float32: bool) -> TorchJudge:
    """A judge from a training run's weights.

    Args:
        checkpoint: ``critic.safetensors`` with its ``training.json`` beside it, or a folder for
            transformers, such as `edgecritic export merge` writes after `edgecritic train sft`.
        language_model: the GGUF file that it was trained over.
        float32: compute in it, on a GPU as well.

    Raises:
        CriticError: one of both cannot be read, or the folder holds an adapter alone.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not checkpoint.exists():
        raise ArtifactError(
            f"there is no checkpoint at {checkpoint}",
            "name the critic.safetensors of a run, or a folder for transformers",
        )
    tokenizer = PieceTokenizer.from_gguf(language_model)
    if checkpoint.is_dir():
        model = _from_folder(checkpoint)
    else:
        model = load_critic(checkpoint, language_model).base_model.model
    model.to(device).eval()
    maker = RowMaker(tokenizer, load_dialect(), EmbeddedConfig())
    autocast = device.type == "cuda" and not float32
    return TorchJudge(parts(model), maker, embedded_geometry(), autocast=autocast)


def _from_folder(folder: Path) -> Any:
    from transformers import LlavaOnevisionForConditionalGeneration

    # transformers would look for an adapter's base on the hub.
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise ArtifactError(
            f"{folder} holds {'an adapter, no checkpoint' if adapter else 'no config.json'}",
            "merge it into its base: edgecritic export merge BASE ADAPTER --out MERGED"
            if adapter
            else "name a folder for transformers, such as edgecritic export merge writes",
        )
    try:
        return LlavaOnevisionForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{folder}: {reason}", "name the folder of a whole checkpoint"
        ) from error


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(argv)
    conditions = options.conditions.split(",")
    if not set(conditions) <= set(CONDITIONS):
        raise InputError(
            f"--conditions is {options.conditions!r}", f"give some of {','.join(CONDITIONS)}"
        )
    for folder in options.sets:
        if not (folder / "items.jsonl").is_file():
            raise InputError(
                f"{folder} has no items.jsonl", "write a set with: edgecritic train items"
            )
    judge = load_judge(options.checkpoint, options.language_model, float32=options.float32)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    part = options.out.with_name(f"{options.out.name}.part")
    with part.open("w", encoding="utf-8") as out:
        for folder in options.sets:
            for record in judge.records(folder, conditions, options.limit, options.batch):
                out.write(json.dumps(record) + "\n")
    part.replace(options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgecritic train judge",
        description="Judges evaluation sets with a trained checkpoint in torch, and writes the "
        "records that edgecritic bench report and parity read.",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="critic.safetensors of a run, or a folder for transformers",
    )
    parser.add_argument(
        "--language-model",
        type=Path,
        required=True,
        metavar="GGUF",
        help="that it was trained over, as edgecritic models pull names it",
    )
    parser.add_argument(
        "--set",
        type=Path,
        nargs="+",
        required=True,
        dest="sets",
        metavar="SET",
        help="folders that edgecritic train items wrote",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSONL of verdicts")
    parser.add_argument("--limit", type=at_least(1), help="items of each set; all when left out")
    parser.add_argument("--batch", type=at_least(1), default=16, help="rows at a time; default: 16")
    parser.add_argument(
        "--conditions",
        default=",".join(CONDITIONS),
        help=f"what is shown, of {','.join(CONDITIONS)}; both when left out",
    )
    parser.add_argument("--float32", action="store_true", help="on a GPU as well")
    return parser
