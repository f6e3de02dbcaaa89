"""LLaVA-NeXT's original checkpoints to transformers' layout, tensor by tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgecritic.errors import ArtifactError
from edgecritic.staging import staged_folder, write_text
from edgecritic_export.checkpoints.folder import CONFIG, Checkpoint, read_json
from edgecritic_export.checkpoints.llava_next.names import tower_layers, transformers_names
from edgecritic_export.checkpoints.llava_next.settings import (
    TOWERS,
    SiglipShape,
    check_supported,
    processor_files,
    tower_shape,
    transformers_config,
)
from edgecritic_export.checkpoints.llava_next.tokenizer import (
    CHAT_TEMPLATE,
    MEDIA_TOKENS,
    imported_tokenizer,
    token_ids,
    tokenizer_settings,
)
from edgecritic_export.checkpoints.provenance import (
    check_disk,
    fingerprint,
    finished,
    write_record,
)
from edgecritic_export.checkpoints.store import ShardWriter, TensorStore
from edgecritic_export.progress import SILENCE, Progress

_HEAD: Final = "lm_head.weight"
_EMBEDDING: Final = "model.embed_tokens.weight"
_TORCH_TYPES: Final = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        folder: of the checkpoint in transformers' layout.
        written: False where it was there already.
        tensors: of the checkpoint.
        nbytes: of its tensors.
        dropped: original tensors that no computation reads.
    """

    folder: Path
    written: bool
    tensors: int
    nbytes: int
    dropped: tuple[str, ...]


def import_checkpoint(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    origin: str = "",
    towers: Mapping[str, SiglipShape] = TOWERS,
    shard_bytes: int = 5_000_000_000,
    progress: Progress = SILENCE,
) -> Imported:
    """Write an original LLaVA-NeXT checkpoint as one that transformers loads.

    Numbers are not changed. `out` appears when it is complete; if it was made from this source
    before, nothing is done.

    Args:
        source: folder with safetensors of ``LlavaQwenForCausalLM`` (lmms-lab/llava-critic-7b,
            lmms-lab/llava-onevision-qwen2-*), its configuration and tokenizer.
        out: folder to make.
        origin: ``owner/name@commit`` on the hub, kept in the folder's record.
        towers: shapes of vision towers by the name that the configuration has for them.
        shard_bytes: of tensors in one file.
        progress: is shown how much is written.

    Raises:
        ArtifactError: the checkpoint is damaged or of another kind, `out` holds something else, or
            the disk is too small.
    """
    folder, target = Path(source), Path(out)
    config = read_json(folder / CONFIG)
    check_supported(config)
    with TensorStore.open(folder) as store:
        renamed, dropped = transformers_names(store.names)
        dropped += _tied_head(folder, config, store, renamed)
        plan = {renamed[name]: store.info(name) for name in store.names if name in renamed}
        nbytes = sum(info.nbytes for info in plan.values())
        inputs = {"made_by": "import", "schema": 1, "source": fingerprint(folder)}
        if finished(target, inputs) is not None:
            return Imported(target, False, len(plan), nbytes, dropped)
        settings = _settings(folder, config, store, towers)
        check_disk(target, nbytes)
        with staged_folder(target) as staged:
            for name, content in settings.items():
                text = content if isinstance(content, str) else _json(content)
                write_text(staged / name, text)
            with (
                ShardWriter(staged, plan, shard_bytes=shard_bytes) as writer,
                progress.measured(target.name, nbytes, lambda: writer.written),
            ):
                for name, new_name in renamed.items():
                    writer.write(new_name, *store.read_raw(name))
                writer.finish()
            Checkpoint.open(staged).close()
            write_record(staged, inputs, {"origin": origin, "dropped": list(dropped)})
    return Imported(target, True, len(plan), nbytes, dropped)


def _tied_head(
    folder: Path, config: Mapping[str, Any], store: TensorStore, renamed: dict[str, str]
) -> tuple[str, ...]:
    """Take out a head that is stored although it is the token embedding."""
    if not config.get("tie_word_embeddings") or _HEAD not in renamed:
        return ()
    if not store.same(_HEAD, _EMBEDDING):
        raise ArtifactError(
            f"{folder}: config.json ties {_HEAD} to {_EMBEDDING}, but they differ",
            "set tie_word_embeddings to false in config.json if the head was trained",
        )
    del renamed[_HEAD]
    return (_HEAD,)


def _settings(
    folder: Path,
    config: Mapping[str, Any],
    store: TensorStore,
    towers: Mapping[str, SiglipShape],
) -> dict[str, object]:
    """All files but the weights, by name; texts as they are, the rest as JSON."""
    tower = tower_shape(config, towers)
    qwen2 = config["architectures"] == ["LlavaQwenForCausalLM"]
    tokenizer = imported_tokenizer(folder, qwen2=qwen2)
    ids = token_ids(tokenizer)
    rows = store.shape(_EMBEDDING)[0]
    if (last := max(ids[token] for token in MEDIA_TOKENS)) >= rows:
        raise ArtifactError(
            f"{folder}: {_EMBEDDING} has {rows} rows, <image> and <video> need {last + 1}",
            "take the tokenizer and the weights from one checkpoint",
        )
    made = transformers_config(
        {**config, "vocab_size": rows},
        tower,
        tower_layers(store.names),
        ids,
        _TORCH_TYPES.get(store.dtype(_EMBEDDING), "float32"),
    )
    return {
        CONFIG: made,
        "generation_config.json": _generation(folder, config, ids),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": tokenizer_settings(folder, qwen2=qwen2),
        "chat_template.jinja": CHAT_TEMPLATE,
        **processor_files(made, tower),
    }


def _generation(
    folder: Path, config: Mapping[str, Any], ids: Mapping[str, int]
) -> dict[str, object]:
    """Ids that begin, end and pad a text; a turn's end also ends an answer."""
    path = folder / "generation_config.json"
    original = {**config, **(read_json(path) if path.is_file() else {})}
    ends = original.get("eos_token_id")
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    turn_end = ids.get("<|im_end|>")
    if turn_end is not None and turn_end not in ends:
        ends = [turn_end, *ends]
    return {
        "bos_token_id": original.get("bos_token_id"),
        "eos_token_id": ends,
        "pad_token_id": original.get("pad_token_id", original.get("bos_token_id")),
    }


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
