"""A 7B critic's way from LLaVA-NeXT's checkpoint to a verdict: seconds, sizes, peak memory.

    python scripts/measure_7b.py WORK [--steps original,import,...] [--picture 1920x1080]

The checkpoint has the shape of lmms-lab/llava-onevision-qwen2-7b-ov and random weights: what it
costs does not depend on their values, and what it says means nothing. Every step is a process of
its own, and judges on a GPU where nvidia-smi finds one. What a step has read and no later one needs
is removed, so that 55 GB of disk are enough.

Steps that ``WORK/steps.jsonl`` has are not repeated: a machine that is lent for some minutes at a
time runs this several times, with ``--stop-after SECONDS`` to begin no step later than that. The
table of all steps so far is printed at the end. It needs the extras llama, onnx and export, and
no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from edgecritic_export.checkpoints.shard_writer import ShardWriter
from edgecritic_export.checkpoints.tensors import TensorInfo

STEPS = (
    *("original", "import", "merge", "gguf F16", "gguf Q4_K_M", "onnx q4"),
    *("judge gguf Q4_K_M", "judge onnx q4"),
)
NEEDED = (
    *("numpy", "PIL", "platformdirs", "tokenizers", "safetensors", "gguf"),
    *("llama_cpp", "torch", "transformers", "onnx", "onnxscript", "onnxruntime"),
)
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
        cpu_seconds: of all its threads.
        own_gb: greatest memory that its process had to itself; what no other can have meanwhile.
        ram_gb: greatest resident memory, the pages of mapped files included that the system may
            drop whenever it needs them.
        vram_gb: greatest memory of the GPU above what it held before; 0 without one.
        gb: of the files that it left.
        said: last line of its output.
    """

    name: str
    seconds: float
    cpu_seconds: float
    own_gb: float
    ram_gb: float
    vram_gb: float
    gb: float
    said: str

    def row(self) -> str:
        """Its line of the table."""
        return (
            f"| {self.name} | {self.seconds:,.0f} | {self.cpu_seconds:,.0f} | {self.own_gb:.2f} "
            f"| {self.ram_gb:.2f} | {self.vram_gb:.2f} | {self.gb:.2f} |"
        )


HEAD = (
    "| step | seconds | CPU seconds | own RAM, GB | with files, GB | VRAM, GB | files, GB |\n"
    "| :--- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


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


class Watcher:
    """Samples what a process holds while it runs.

    Attributes:
        own_gb, vram_gb: see `Step`.
    """

    def __init__(self, pid: int) -> None:
        self.own_gb = self.vram_gb = 0.0
        self._pid, self._before = pid, _vram()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more samples."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self.own_gb = max(self.own_gb, _own(self._pid))
            self.vram_gb = max(self.vram_gb, _vram() - self._before)


def _own(pid: int) -> float:
    """GB of a process's memory that are no pages of files; 0 where Linux does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    lines = (line.split() for line in status.splitlines())
    return sum(float(line[1]) for line in lines if line[0] in ("RssAnon:", "RssShmem:")) / 1e6


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _vram() -> float:
    if not _has_gpu():
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
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        watcher = Watcher(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        watcher.stop()
    text = log.read_text(errors="replace").strip()
    if status:
        raise SystemExit(f"{name} failed with {os.waitstatus_to_exitcode(status)}:\n{text[-3000:]}")
    return Step(
        name,
        time.monotonic() - begun,
        usage.ru_utime + usage.ru_stime,
        watcher.own_gb,
        usage.ru_maxrss * 1024 / 1e9,
        watcher.vram_gb,
        _gigabytes(left),
        text.splitlines()[-1] if text else "",
    )


def _gigabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def export(*words: object) -> list[str]:
    """The command ``edgecritic export``, which need not be installed."""
    return [sys.executable, "-c", EXPORT, *map(str, words)]


def judged(bundle: Path, picture: Path) -> list[str]:
    """The command that scores one answer about a picture; ONNX Runtime here is that of the CPU."""
    asked = ["--question", "What is shown?", "--response", "A gradient.", "--json"]
    device = "gpu" if "gguf" in bundle.parts and _has_gpu() else "cpu"
    where = ["--bundle", str(bundle), "--device", device, "--image", str(picture)]
    return [sys.executable, "-m", "edgecritic", "score", *asked, *where, "--no-rationale"]


def steps(work: Path, shape: Shape, size: tuple[int, int]) -> Mapping[str, Callable[[], Step]]:
    """What each step does, by its name; `size` is the picture's, (width, height) in pixels."""
    made, bundles = work / "merged", work / "bundles"
    gguf, onnx = bundles / "gguf", bundles / "onnx"
    plain = ("--out", bundles, "--licence", "Apache-2.0", "--name", "seven")

    def original() -> Step:
        for folder in (work / "adapter", work / "original"):
            shutil.rmtree(folder, ignore_errors=True)
        write_adapter(work / "adapter", shape)
        begun, cpu = time.monotonic(), time.process_time()
        write_original(work / "original", shape)
        took = time.monotonic() - begun, time.process_time() - cpu
        return Step("original", *took, 0.0, 0.0, 0.0, _gigabytes(work / "original"), "")

    def imported() -> Step:
        command = export("import", work / "original", "--out", work / "imported")
        step = run("import", command, work / "imported", work)
        shutil.rmtree(work / "original")
        return step

    def merged() -> Step:
        command = export("merge", work / "imported", work / "adapter", "--out", made)
        step = run("merge", command, made, work)
        shutil.rmtree(work / "imported")
        return step

    def quantized(quant: str) -> Callable[[], Step]:
        command = export("all", made, *plain, "--quants", quant)
        return lambda: run(f"gguf {quant}", command, gguf / quant, work)

    def exported() -> Step:
        shutil.rmtree(gguf / "F16", ignore_errors=True)
        return run("onnx q4", export("all", made, *plain, "--onnx", "q4"), onnx / "onnx", work)

    def judge(name: str, bundle: Path) -> Callable[[], Step]:
        def act() -> Step:
            picture = work / "picture.png"
            ramp = np.linspace(0, 255, size[0], dtype=np.uint8)
            Image.fromarray(np.broadcast_to(ramp, size[::-1]).copy()).convert("RGB").save(picture)
            step = run(name, judged(bundle, picture), work / "no files", work)
            return replace(step, name=f"{name}, {size[0]}x{size[1]}")

        return act

    actions = (
        *(original, imported, merged, quantized("F16"), quantized("Q4_K_M"), exported),
        *(judge(STEPS[-2], gguf / "Q4_K_M"), judge(STEPS[-1], onnx / "variants" / "q4")),
    )
    return dict(zip(STEPS, actions, strict=True))


def main() -> int:
    """Run the command line; returns the exit code."""
    begun = time.monotonic()
    args = _parse()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        sys.stderr.write(f"not installed: {', '.join(missing)}\n")
        return 1
    args.work.mkdir(parents=True, exist_ok=True)
    log = args.work / "steps.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    width, height = map(int, args.picture.split("x"))
    shape = TINY if args.tiny else replace(SEVEN_B, layers=args.layers)
    actions = steps(args.work.resolve(), shape, (width, height))
    for name in args.steps.split(","):
        if name in {entry["step"] for entry in done}:
            continue
        if time.monotonic() - begun > args.stop_after:
            sys.stderr.write(f"{name} and what follows is left for another run\n")
            break
        done.append({"step": name, **asdict(actions[name]())})
        with log.open("a") as output:
            output.write(json.dumps(done[-1]) + "\n")
        sys.stderr.write(f"{name}: {done[-1]['seconds']:.0f} s; {done[-1]['said'][:400]}\n")
    rows = (Step(**{k: v for k, v in entry.items() if k != "step"}).row() for entry in done)
    sys.stdout.write("\n".join((HEAD, *rows)) + "\n")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", default=",".join(STEPS), help="in this order")
    parser.add_argument("--picture", default="1920x1080", help="of the judgement, in pixels")
    parser.add_argument("--layers", type=int, default=SEVEN_B.layers, help="of the language model")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers, to try the script")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
