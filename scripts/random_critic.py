"""A critic of 7B shape with random weights, for llama.cpp and for transformers, to be timed.

    python scripts/random_critic.py WORK [--tiny [--vocabulary 152064]]

``WORK/bundle`` is a Q4_K_M critic with its vision tower in F16, ``WORK/hf`` the same shape for
transformers, without weights: whoever loads it draws them. Values change neither speed nor memory,
but a critic that cannot be read writes no reasons: so all states lean one way, and the head leans
with them towards the tokens of verdicts. Only a few layers are really made and quantized, and the
language model's file repeats them: a layer whose values and down projections llama.cpp keeps at
more bits from one such layer, the others from another one. That takes a minute where all of it
takes four.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from measure_7b import SEVEN_B, SPECIAL, TINY, Shape, export, write_original
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from edgecritic import Bundle
from edgecritic.bundle import describe_file, write_bundle
from edgecritic_train.embedded.hf import image_settings, processor_settings

ROOT: Final = Path(__file__).parents[1]
QUANT: Final = "Q4_K_M"
MADE: Final = 4
"""Layers that are made; the last two of four get more bits."""
IMAGE: Final = "<image>"
PROJECTED: Final = "model.mm_projector.2.bias"
COMMON: Final = 4.0
"""Of all embeddings, besides noise of deviation 1; layers add about 2 each."""
SPREAD: Final = 50.0
PUSH: Final = 0.05
PUSHED: Final = "23456789"
"""Verdicts that are likely; behind a 1 there might be a 0."""
WORDS: Final = 8000
"""Of the tokenizer: enough for about as many letters a token as the real one's."""


def learn_words(folder: Path, count: int) -> None:
    """Give a checkpoint a tokenizer that has read the project's pages; no digits are merged."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))]
    old = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer(models.BPE())
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        setattr(tokenizer, part, getattr(old, part))
    trainer = trainers.BpeTrainer(
        vocab_size=count,
        special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([re.sub(r"\d", "", page) for page in pages], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["bos_token_id"], _, config["eos_token_id"] = map(tokenizer.token_to_id, SPECIAL)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def lean(folder: Path) -> None:
    """Make verdicts likely: embeddings get a common part, and the head's rows of verdicts, too."""
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, info in header.items():
            if name not in ("model.embed_tokens.weight", "lm_head.weight", PROJECTED):
                continue
            start, end = info["data_offsets"]
            bits = np.memmap(path, np.uint16, "r+", 8 + length + start, ((end - start) // 2,))
            rows = bits.reshape(info["shape"])
            if name == PROJECTED:
                rows[:] = _bfloat(np.full(rows.shape, COMMON))
            elif name == "lm_head.weight":
                for text in PUSHED:
                    rows[tokens[text]] = _bfloat(_float(rows[tokens[text]]) + PUSH)
            else:
                for at in range(0, len(rows), 4096):
                    piece = rows[at : at + 4096]
                    piece[:] = _bfloat(_float(piece) * SPREAD + COMMON)
            bits.flush()


def _float(bits: Any) -> Any:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _bfloat(values: Any) -> Any:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def more_bits(layer: int, layers: int) -> bool:
    """Whether llama.cpp's mix of Q4_K_M spends more bits on a layer (llama-quant.cpp)."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def repeat_layers(source: Path, target: Path, layers: int) -> None:
    """Write a model of `layers` layers, each a copy of one of the source's."""
    reader = GGUFReader(source)
    architecture = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = layers if key.endswith(".block_count") else field.contents()
        inner = field.types[1] if field.types[0] is GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, field.types[0], inner)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    names = {n.split(".", 2)[2] for n in tensors if n.startswith("blk.")}
    rich = next(layer for layer in range(MADE) if more_bits(layer, MADE))
    plain = next(layer for layer in range(MADE) if not more_bits(layer, MADE))
    plan = {name: name for name in tensors if not name.startswith("blk.")}
    for layer in range(layers):
        copied = rich if more_bits(layer, layers) else plain
        plan |= {f"blk.{layer}.{name}": f"blk.{copied}.{name}" for name in sorted(names)}
    for name, like in plan.items():
        data = tensors[like].data
        kind = tensors[like].tensor_type
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for like in plan.values():
        writer.write_tensor_data(np.asarray(tensors[like].data))
    writer.close()


def write_critic(work: Path, shape: Shape, layers: int) -> None:
    """Make both forms."""
    made, short = work / "imported", work / "short"
    write_original(work / "original", shape)
    learn_words(work / "original", min(WORDS, shape.vocabulary - 16))  # the import adds some
    lean(work / "original")
    _run(export("import", work / "original", "--out", made))
    shutil.rmtree(work / "original")
    _run(
        export(
            *("all", made, "--out", short, "--licence", "Apache-2.0"),
            *("--name", "seven", "--quants", QUANT),
        )
    )
    _bundle(Bundle.read(short / "gguf" / QUANT), work / "bundle", layers)
    _transformers(made, work / "hf", Bundle.read(work / "bundle"), layers)
    for folder in (short, made):
        shutil.rmtree(folder)


def _bundle(short: Bundle, folder: Path, layers: int) -> None:
    folder.mkdir()
    model = folder / short.file("language_model").name
    repeat_layers(short.file("language_model"), model, layers)
    kept = [file for file in short.manifest.files if file.role != "language_model"]
    listed = (describe_file("language_model", model, quant=QUANT), *kept)
    sources = {model.name: model} | {file.path: short.folder / file.path for file in kept}
    write_bundle(folder, replace(short.manifest, files=listed), sources)


def _transformers(made: Path, folder: Path, bundle: Bundle, layers: int) -> None:
    folder.mkdir()
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(IMAGE, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = json.loads((made / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    text["num_hidden_layers"] = layers
    text.pop("layer_types", None)
    config["image_token_index"] = config["image_token_id"] = tokenizer.token_to_id(IMAGE)
    config["dtype"] = "bfloat16"
    geometry: Any = bundle.manifest.image
    said = {
        "config.json": config,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "extra_special_tokens": {"image_token": IMAGE},
        },
        "preprocessor_config.json": image_settings(geometry),
        "processor_config.json": processor_settings(geometry),
    }
    for name, content in said.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tiny", action="store_true", help="narrow layers, to try the script")
    parser.add_argument("--vocabulary", type=int, help="tokens, where not as many as the shape has")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    shape = TINY if args.tiny else SEVEN_B
    shape = replace(shape, vocabulary=args.vocabulary or shape.vocabulary)
    write_critic(args.work.resolve(), replace(shape, layers=MADE), 8 if args.tiny else shape.layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
