"""ONNX files of a checkpoint folder, laid out for transformers.js, written node by node.

Small on purpose: no quantization, everything float32. The runtime's tests hold the graphs in their
hands, so that they can also be damaged in every way.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

FILES = ("decoder_model_merged.onnx", "embed_tokens.onnx", "vision_encoder.onnx")
CONTRIB = "com.microsoft"


@dataclass
class Graph:
    """Nodes and weights in the making."""

    weights: Mapping[str, np.ndarray]
    nodes: list[Any] = field(default_factory=list)
    initializers: dict[str, Any] = field(default_factory=dict)

    def node(
        self,
        kind: str,
        *inputs: str,
        n: int = 1,
        domain: str = "",
        outputs: list[str] | None = None,
        **kw: Any,
    ) -> str:
        names = outputs or [f"{kind}_{len(self.nodes)}_{k}" for k in range(n)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **kw))
        return names[0]

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        tensor = np.ascontiguousarray(np.asarray(value, dtype=dtype))
        self.initializers.setdefault(name, numpy_helper.from_array(tensor, name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self.weights[name], np.float32)

    def linear(self, x: str, name: str) -> str:
        matrix = self.constant(f"{name}.T", self.weights[f"{name}.weight"].T, np.float32)
        y = self.node("MatMul", x, matrix)
        has_bias = f"{name}.bias" in self.weights
        return self.node("Add", y, self.weight(f"{name}.bias")) if has_bias else y

    def save(self, path: Path, inputs: list[Any], outputs: list[Any]) -> None:
        graph = helper.make_graph(
            self.nodes, "tiny", inputs, outputs, list(self.initializers.values())
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        large = sum(tensor.ByteSize() for tensor in self.initializers.values()) > 1 << 28
        onnx.save(
            model,
            path,
            save_as_external_data=large,
            location=f"{path.name}_data",
            all_tensors_to_one_file=True,
        )


def value(name: str, dtype: int, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def write_onnx(checkpoint: Path, folder: Path) -> None:
    """Write decoder, embeddings, vision tower, tokenizer.json and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((checkpoint / "config.json").read_text())
    tensors = {
        name.removeprefix("model."): tensor
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    language = {
        name.removeprefix("language_model.").removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if name.startswith(("language_model.", "lm_head"))
    }
    write_decoder(language, config["text_config"], folder / FILES[0])
    write_embeddings(language, folder / FILES[1])
    write_tower(tensors, config["vision_config"], folder / FILES[2])
    for name in ("tokenizer.json", "config.json", "generation_config.json"):
        if (checkpoint / name).exists():
            shutil.copy(checkpoint / name, folder / name)


def write_decoder(
    weights: Mapping[str, np.ndarray], config: Mapping[str, Any], path: Path, *, n_cos: int = 4096
) -> None:
    """A Llama or Qwen2 decoder with grouped-query attention."""
    g = Graph(weights)
    width, n_head, n_kv = (
        config[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    head_dim = config.get("head_dim") or width // n_head
    rope = config.get("rope_parameters") or config
    eps = config["rms_norm_eps"]
    frequencies = float(rope["rope_theta"]) ** (-np.arange(0, head_dim, 2) / head_dim)
    angles = np.outer(np.arange(n_cos), frequencies)
    cos = g.constant("cos", np.cos(angles), np.float32)
    sin = g.constant("sin", np.sin(angles), np.float32)
    counted = g.node("ReduceSum", "attention_mask", g.constant("axis", [1]), keepdims=0)
    last = g.node("Sub", counted, g.constant("one", [1]))
    seqlens = g.node("Cast", last, to=TensorProto.INT32)
    shape = g.node("Shape", "attention_mask", start=1, end=2)
    total = g.node("Squeeze", g.node("Cast", shape, to=TensorProto.INT32))

    x = "inputs_embeds"
    kv = ("batch", n_kv)
    inputs = [
        value("inputs_embeds", TensorProto.FLOAT, "batch", "sequence", width),
        value("attention_mask", TensorProto.INT64, "batch", "total"),
        value("num_logits_to_keep", TensorProto.INT64),
    ]
    outputs = []

    def norm(x: str, name: str) -> str:
        return g.node("SimplifiedLayerNormalization", x, g.weight(name), epsilon=eps, axis=-1)

    for layer in range(config["num_hidden_layers"]):
        pre = f"layers.{layer}"
        h = norm(x, f"{pre}.input_layernorm.weight")
        q, k, v = (g.linear(h, f"{pre}.self_attn.{p}_proj") for p in "qkv")
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        inputs += [value(name, TensorProto.FLOAT, *kv, "past", head_dim) for name in past]
        outputs += [value(name, TensorProto.FLOAT, *kv, "total", head_dim) for name in present]
        attended = g.node(
            "GroupQueryAttention",
            *(q, k, v, *past, seqlens, total, cos, sin),
            outputs=[f"attended_{layer}", *present],
            domain=CONTRIB,
            num_heads=n_head,
            kv_num_heads=n_kv,
            do_rotary=1,
            rotary_interleaved=0,
        )
        x = g.node("Add", x, g.linear(attended, f"{pre}.self_attn.o_proj"))
        h = norm(x, f"{pre}.post_attention_layernorm.weight")
        gate = g.linear(h, f"{pre}.mlp.gate_proj")
        silu = g.node("Mul", gate, g.node("Sigmoid", gate))
        up = g.node("Mul", silu, g.linear(h, f"{pre}.mlp.up_proj"))
        x = g.node("Add", x, g.linear(up, f"{pre}.mlp.down_proj"))
    x = norm(x, "norm.weight")
    keep = g.node("Neg", g.node("Reshape", "num_logits_to_keep", g.constant("vector", [1])))
    end = g.constant("end", [np.iinfo(np.int64).max])
    x = g.node("Slice", x, keep, end, g.constant("axis", [1]))
    head = weights.get("lm_head.weight", weights["embed_tokens.weight"])
    g.node("MatMul", x, g.constant("head", head.T, np.float32), outputs=["logits"])
    outputs.insert(0, value("logits", TensorProto.FLOAT, "batch", "kept", len(head)))
    g.save(path, inputs, outputs)


def write_embeddings(weights: Mapping[str, np.ndarray], path: Path) -> None:
    g = Graph(weights)
    table = weights["embed_tokens.weight"]
    g.node("Gather", g.weight("embed_tokens.weight"), "input_ids", outputs=["inputs_embeds"])
    ids = value("input_ids", TensorProto.INT64, "batch", "sequence")
    embeds = value("inputs_embeds", TensorProto.FLOAT, "batch", "sequence", table.shape[1])
    g.save(path, [ids], [embeds])


def write_tower(weights: Mapping[str, np.ndarray], config: Mapping[str, Any], path: Path) -> None:
    """SigLIP without its head and last norm, and the projector's two layers."""
    weights = {name.replace("vision_model.", ""): tensor for name, tensor in weights.items()}
    g = Graph(weights)
    side, patch, width, n_head = (
        config[key] for key in ("image_size", "patch_size", "hidden_size", "num_attention_heads")
    )
    patches, eps = (side // patch) ** 2, config["layer_norm_eps"]
    pre = "vision_tower.embeddings"
    x = g.node(
        "Conv",
        *("pixel_values", g.weight(f"{pre}.patch_embedding.weight")),
        g.weight(f"{pre}.patch_embedding.bias"),
        strides=[patch, patch],
    )
    x = g.node("Reshape", x, g.constant("grid", [0, width, patches]))
    x = g.node("Transpose", x, perm=[0, 2, 1])
    x = g.node("Add", x, g.weight(f"{pre}.position_embedding.weight"))
    heads = g.constant("heads", [0, patches, n_head, width // n_head])
    joined = g.constant("joined", [0, patches, width])
    scale = g.constant("scale", (width // n_head) ** -0.5, np.float32)

    def norm(x: str, name: str) -> str:
        parts = (g.weight(f"{name}.{part}") for part in ("weight", "bias"))
        return g.node("LayerNormalization", x, *parts, epsilon=eps, axis=-1)

    def head(x: str, name: str, perm: list[int]) -> str:
        return g.node("Transpose", g.node("Reshape", g.linear(x, name), heads), perm=perm)

    for layer in range(config["num_hidden_layers"]):
        pre = f"vision_tower.encoder.layers.{layer}"
        h = norm(x, f"{pre}.layer_norm1")
        q = head(h, f"{pre}.self_attn.q_proj", [0, 2, 1, 3])
        k = head(h, f"{pre}.self_attn.k_proj", [0, 2, 3, 1])
        v = head(h, f"{pre}.self_attn.v_proj", [0, 2, 1, 3])
        scores = g.node("Softmax", g.node("Mul", g.node("MatMul", q, k), scale), axis=-1)
        mixed = g.node("Transpose", g.node("MatMul", scores, v), perm=[0, 2, 1, 3])
        mixed = g.node("Reshape", mixed, joined)
        x = g.node("Add", x, g.linear(mixed, f"{pre}.self_attn.out_proj"))
        h = g.linear(norm(x, f"{pre}.layer_norm2"), f"{pre}.mlp.fc1")
        x = g.node("Add", x, g.linear(g.node("Gelu", h, approximate="tanh"), f"{pre}.mlp.fc2"))
    h = g.node("Gelu", g.linear(x, "multi_modal_projector.linear_1"))
    last = "multi_modal_projector.linear_2"
    matrix = g.constant(f"{last}.T", weights[f"{last}.weight"].T, np.float32)
    h = g.node("MatMul", h, matrix)
    g.node("Add", h, g.weight(f"{last}.bias"), outputs=["image_features"])
    n_embd = weights[f"{last}.weight"].shape[0]
    pixels = value("pixel_values", TensorProto.FLOAT, "tiles", 3, side, side)
    features = value("image_features", TensorProto.FLOAT, "tiles", patches, n_embd)
    g.save(path, [pixels], [features])
