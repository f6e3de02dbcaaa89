"""A 7B critic's way from LLaVA-NeXT's checkpoint to a verdict: seconds, sizes, peak memory.

    python scripts/measure_7b.py WORK [--steps original,import,merge,gguf,onnx,judge] [--tiny]

The checkpoint has the shape of lmms-lab/llava-onevision-qwen2-7b-ov and random weights: what it
costs does not depend on their values, and what it says means nothing. Every step is a process of
its own. What a step has read and no later one needs is removed, so that 60 GB of disk are enough.
A step that ``WORK/steps.jsonl`` has is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from edgecritic_export.checkpoints.shard_writer import ShardWriter
from edgecritic_export.checkpoints.tensors import TensorInfo

STEPS = ("original", "import", "merge", "gguf", "onnx", "judge")
EXPORT = "import sys; from edgecritic_export.cli import main; sys.exit(main(sys.argv[1:]))"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
RANK = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the language model; the tower is SigLIP so400m at 384 px, without its last layer."""

    layers: int = 28
    width: int = 3584
    inner: int = 18944
    heads: int = 28
    kv_heads: int = 4
    vocabulary: int = 152_064


SEVEN_B, TINY = Shape(), Shape(2, 256, 512, 4, 2, 512)
TOWER_LAYERS, TOWER_WIDTH, TOWER_INNER = 26, 1152, 4304


@dataclass(frozen=True, slots=True)
class Step:
    """What a step took.

    Attributes:
        name: of the step.
        seconds: of wall time.
        ram_gb: greatest resident memory of its process, mapped files included.
        vram_gb: greatest memory of the GPU above what it held before; 0 without one.
        gb: of the files that it left.
        said: last line of its output.
    """

    name: str
    seconds: float
    ram_gb: float
    vram_gb: float
    gb: float
    said: str


# --- the checkpoint ------------------------------------------------------------------------------


def matrices(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """LLaVA-NeXT's names and the shapes of their tensors."""
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.width)
    head = shape.width // shape.heads
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        for name, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            yield f"{at}.self_attn.{name}_proj.weight", (heads * head, shape.width)
            yield f"{at}.self_attn.{name}_proj.bias", (heads * head,)
        yield f"{at}.self_attn.o_proj.weight", (shape.width, shape.width)
        yield f"{at}.mlp.gate_proj.weight", (shape.inner, shape.width)
        yield f"{at}.mlp.up_proj.weight", (shape.inner, shape.width)
        yield f"{at}.mlp.down_proj.weight", (shape.width, shape.inner)
        yield f"{at}.input_layernorm.weight", (shape.width,)
        yield f"{at}.post_attention_layernorm.weight", (shape.width,)
    yield "model.norm.weight", (shape.width,)
    yield "lm_head.weight", (shape.vocabulary, shape.width)
    yield "model.image_newline", (shape.width,)
    yield "model.mm_projector.0.weight", (shape.width, TOWER_WIDTH)
    yield "model.mm_projector.0.bias", (shape.width,)
    yield "model.mm_projector.2.weight", (shape.width, shape.width)
    yield "model.mm_projector.2.bias", (shape.width,)
    yield from _tower()


def _tower() -> Iterator[tuple[str, tuple[int, ...]]]:
    at = "model.vision_tower.vision_tower.vision_model"
    width, inner = TOWER_WIDTH, TOWER_INNER
    yield f"{at}.embeddings.patch_embedding.weight", (width, 3, 14, 14)
    yield f"{at}.embeddings.patch_embedding.bias", (width,)
    yield f"{at}.embeddings.position_embedding.weight", (27 * 27, width)
    for layer in range(TOWER_LAYERS):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{at}.encoder.layers.{layer}.self_attn.{name}.weight", (width, width)
            yield f"{at}.encoder.layers.{layer}.self_attn.{name}.bias", (width,)
        for name, wide, narrow in (("fc1", inner, width), ("fc2", width, inner)):
            yield f"{at}.encoder.layers.{layer}.mlp.{name}.weight", (wide, narrow)
            yield f"{at}.encoder.layers.{layer}.mlp.{name}.bias", (wide,)
        for name in ("layer_norm1", "layer_norm2"):
            yield f"{at}.encoder.layers.{layer}.{name}.weight", (width,)
            yield f"{at}.encoder.layers.{layer}.{name}.bias", (width,)


def write_original(folder: Path, shape: Shape) -> None:
    """Write the checkpoint: bfloat16, norms of one, everything else normal with 0.02."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(1 << 24, dtype=np.float32) * np.float32(0.02)
    stored = (noise.view(np.uint32) >> 16).astype(np.uint16)
    one = np.uint16(0x3F80)
    plan = {name: TensorInfo("BF16", size) for name, size in matrices(shape)}
    with ShardWriter(folder, plan) as writer:
        for name, info in plan.items():
            count = int(np.prod(info.shape))
            if "norm" in name and name.endswith("weight"):
                bits = np.full(count, one)
            else:
                bits = np.resize(stored[len(name) :], count)
            writer.write(name, "BF16", bits.reshape(info.shape))
        writer.finish()
    settings = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava",
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 32_768,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 257,
        "eos_token_id": 259,
        "image_aspect_ratio": "anyres_max_9",
        "image_grid_pinpoints": [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)],
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
    }
    _json(folder / "config.json", settings)
    _tokenizer(folder)


def _tokenizer(folder: Path) -> None:
    """About a token a byte: Qwen2's own vocabulary is not needed to measure."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]  # llama.cpp wants a merge
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [("t", "h")]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": 32_768}
    _json(folder / "tokenizer_config.json", settings)


def write_adapter(folder: Path, shape: Shape) -> None:
    """A LoRA adapter over all matrices of the language model's layers."""
    folder.mkdir(parents=True)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    noise = np.random.default_rng(1).standard_normal(1 << 22, dtype=np.float32) * np.float32(0.01)
    plan = {}
    for name, size in matrices(shape):
        if name.startswith("model.layers.") and len(size) == 2:
            inside = name.removeprefix("model.").removesuffix(".weight")
            at = f"base_model.model.model.language_model.{inside}"
            plan[f"{at}.lora_A.weight"] = TensorInfo("F32", (RANK, size[1]))
            plan[f"{at}.lora_B.weight"] = TensorInfo("F32", (size[0], RANK))
    with ShardWriter(folder, plan) as writer:
        for name, info in plan.items():
            count = int(np.prod(info.shape))
            writer.write(name, "F32", np.resize(noise, count).reshape(info.shape))
        writer.finish()
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": targets,
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    _json(folder / "adapter_config.json", settings)


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


# --- running and watching ------------------------------------------------------------------------


@contextmanager
def watched() -> Iterator[list[float]]:
    """GB of GPU memory above what was used before: ``[peak]`` when the block is left."""
    peak, before, done = [0.0], _vram(), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], _vram() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield peak
    done.set()
    watcher.join()


def _vram() -> float:
    if shutil.which("nvidia-smi") is None:
        return 0.0
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0]) * (1 << 20) / 1e9


def run(name: str, command: Sequence[str], left: Path, work: Path) -> Step:
    """Run one step; its output goes to ``WORK/NAME.log``.

    Raises:
        SystemExit: it failed.
    """
    log = work / f"{name}.log"
    begun = time.monotonic()
    with log.open("w") as output, watched() as peak:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    text = log.read_text(errors="replace").strip()
    if status:
        raise SystemExit(f"{name} failed with {os.waitstatus_to_exitcode(status)}:\n{text[-3000:]}")
    size = sum(path.stat().st_size for path in left.rglob("*") if path.is_file()) / 1e9
    last = text.splitlines()[-1] if text else ""
    return Step(
        name, time.monotonic() - begun, usage.ru_maxrss * 1024 / 1e9, peak[0], size, last[:400]
    )


def export(*words: object) -> list[str]:
    """The command ``edgecritic export``, which need not be installed."""
    return [sys.executable, "-c", EXPORT, *map(str, words)]


def judged(bundle: Path, device: str, picture: Path) -> list[str]:
    """The command that scores one answer about a 1080p picture."""
    asked = ["--question", "What is shown?", "--response", "A gradient.", "--json"]
    where = ["--bundle", str(bundle), "--device", device, "--image", str(picture)]
    return [sys.executable, "-m", "edgecritic", "score", *asked, *where, "--no-rationale"]


def steps(work: Path, shape: Shape) -> Mapping[str, Callable[[], list[Step]]]:
    """What each step does, by its name."""
    made, bundles, picture = work / "merged", work / "bundles", work / "picture.png"
    plain = ("--out", bundles, "--licence", "Apache-2.0", "--name", "seven")

    def original() -> list[Step]:
        write_adapter(work / "adapter", shape)
        begun = time.monotonic()
        write_original(work / "original", shape)
        size = sum(path.stat().st_size for path in (work / "original").iterdir()) / 1e9
        return [Step("original", time.monotonic() - begun, 0.0, 0.0, size, "")]

    def imported() -> list[Step]:
        command = export("import", work / "original", "--out", work / "imported")
        step = run("import", command, work / "imported", work)
        shutil.rmtree(work / "original")
        return [step]

    def merged() -> list[Step]:
        command = export("merge", work / "imported", work / "adapter", "--out", made)
        step = run("merge", command, made, work)
        shutil.rmtree(work / "imported")
        return [step]

    def gguf() -> list[Step]:
        found = []
        for quant in ("F16", "Q4_K_M"):
            command = export("all", made, *plain, "--quants", quant)
            found.append(run(f"gguf {quant}", command, bundles / "gguf" / quant, work))
        return found

    def onnx() -> list[Step]:
        shutil.rmtree(bundles / "gguf" / "F16", ignore_errors=True)
        command = export("all", made, *plain, "--quants", "", "--onnx", "q4")
        return [run("onnx q4", command, bundles / "onnx", work)]

    def judge() -> list[Step]:
        ramp = np.linspace(0, 255, 1920, dtype=np.uint8)
        Image.fromarray(np.broadcast_to(ramp, (1080, 1920)).copy()).convert("RGB").save(picture)
        found = []
        for bundle in sorted(path.parent for path in bundles.rglob("critic.json")):
            device = "gpu" if "gguf" in bundle.parts and _vram() else "cpu"
            name = f"judge {bundle.name} {device}"
            found.append(run(name, judged(bundle, device, picture), work / "judged", work))
        return found

    return dict(zip(STEPS, (original, imported, merged, gguf, onnx, judge), strict=True))


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--tiny", action="store_true", help="two narrow layers, to try the script")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "steps.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    done = {json.loads(line)["step"] for line in lines}
    actions = steps(args.work.resolve(), TINY if args.tiny else SEVEN_B)
    for name in args.steps.split(","):
        if name in done:
            continue
        for step in actions[name]():
            with log.open("a") as output:
                output.write(json.dumps({"step": name, **asdict(step)}) + "\n")
            sys.stdout.write(
                f"| {step.name} | {step.seconds:.0f} s | {step.ram_gb:.2f} GB RAM "
                f"| {step.vram_gb:.2f} GB VRAM | {step.gb:.2f} GB of files | {step.said[:300]}\n"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
