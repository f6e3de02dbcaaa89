"""The published set of LLaVA-Critic, 113k judgements in two configurations.

Source: https://huggingface.co/datasets/lmms-lab/llava-critic-113k, Apache-2.0; arXiv:2410.02712.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from edgecritic.errors import ArtifactError, CriticError
from edgecritic.tables import Record, read_records
from edgecritic_train.critic_data.pictures import PictureStore
from edgecritic_train.critic_data.rows import CriticRow, ImageFile
from edgecritic_train.critic_data.sources.hub import fetch_set
from edgecritic_train.critic_data.sources.images import image_refs
from edgecritic_train.critic_data.sources.intake import Intake
from edgecritic_train.critic_data.sources.llava_formats import Judgement, Unread, read_judgement
from edgecritic_train.critic_data.templates import PAIRWISE, POINTWISE, stable_choice

REPOSITORY = "lmms-lab/llava-critic-113k"
Config: TypeAlias = Literal["pairwise", "pointwise"]
CONFIGS: tuple[Config, ...] = get_args(Config)
# The preferences came from three other sets, of people and of GPT-4V; their reasons from GPT-4o.
_JUDGES: dict[Config, str] = {"pairwise": "published preference", "pointwise": "gpt-4o"}


def find_tables(
    configs: Sequence[Config], folder: Path | None = None, revision: str | None = None
) -> dict[Config, list[Path]]:
    """The Parquet files of the configurations, from the hub unless a folder is named.

    Args:
        configs: which of the two.
        folder: a copy of the repository on this machine.
        revision: on the hub.

    Raises:
        ArtifactError: there are none, or the hub cannot be used.
    """
    if folder is None:
        patterns = tuple(f"{config}/*.parquet" for config in configs)
        folder = fetch_set(REPOSITORY, patterns, revision).folder
    tables = {config: sorted(folder.glob(f"{config}/*.parquet")) for config in configs}
    for config, files in tables.items():
        if not files:
            raise ArtifactError(
                f"{folder} holds no {config}/*.parquet", "name a copy of the whole repository"
            )
    return tables


def llava_critic_rows(
    tables: dict[Config, list[Path]], store: PictureStore, intake: Intake
) -> Iterator[CriticRow]:
    """The rows of the set; conversations that cannot be read are dropped and counted.

    Rows that share a picture are one group. Their wordings are drawn anew, since the critic is to
    be asked in this project's words: an instruction's own layout is not kept.
    """
    for config, files in tables.items():
        for place, record in chain.from_iterable(map(read_records, files)):
            source = str(record.get("source") or config)
            try:
                row = _row(record, config, source, store)
            except Unread as unread:
                intake.drop(source, str(unread), place)
            except CriticError as error:
                intake.drop(source, "not a row", place, error)
            else:
                yield from intake.take([row])


def _row(record: Record, config: Config, source: str, store: PictureStore) -> CriticRow:
    instruction, answer = _turns(record.get("conversations"))
    found: Judgement = read_judgement(instruction, answer)
    images = image_refs(record.get("image"), Path(), store)
    if not images:
        raise Unread("no picture")
    name = f"{config}/{record.get('id')}"
    pairwise = len(found.responses) == 2
    return CriticRow(
        id=name,
        setting="pairwise" if pairwise else "pointwise",
        question=found.question,
        responses=found.responses,
        verdict=found.verdict,
        images=images,
        reference=found.reference,
        rubric=found.rubric,
        wording=stable_choice(PAIRWISE if pairwise else POINTWISE, name).wording,
        reason=found.reason,
        source=source,
        judge=_JUDGES[config],
        group=images[0].path.stem if isinstance(images[0], ImageFile) else name,
    )


def _turns(conversations: Any) -> tuple[str, str]:
    """Instruction and answer of a conversation of one turn each."""
    turns = list(conversations or ())
    if [turn.get("from") for turn in turns] != ["human", "gpt"]:
        raise Unread("not one turn of each side")
    return str(turns[0].get("value") or ""), str(turns[1].get("value") or "")
