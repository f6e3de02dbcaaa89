"""Qwen2 and Llama decoders as ONNX graphs, written while their weights are read.

The graph is the one that transformers.js runs: embeddings in, logits out, keys and values in and
out. Attention is ONNX Runtime's GroupQueryAttention, which turns queries and keys itself.

What GroupQueryAttention's CPU kernel asks of its caller, each shown by a test:

* rows of a batch are padded on the right; padding on the left gives wrong logits without a word;
* several tokens are appended to a past only with a batch of one;
* a past that is cut short continues exactly as if the rest had never been decoded;
* positions given to it count behind a past only: without one it counts them from 0 itself.

CUDA's kernel takes float16 only, and so needs a decoder with such activations. Qwen2's feed-forward
layers and residual stream leave float16's range, so the stream stays in float32 and the gated
values, which are what grows most, are held at a fraction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgecritic.errors import ArtifactError
from edgecritic.graphs.linear import halved, write_linear
from edgecritic.graphs.model_file import CONTRIB, ModelFile
from edgecritic.graphs.precision import DecoderPrecision, FloatPrecision, Importance, Precision
from edgecritic.graphs.rope import rotary_tables
from edgecritic.graphs.weights import LanguageModel, Matrix
from edgecritic.graphs.wire import DType

DECODER: Final = "decoder_model_merged"
EMBED_TOKENS: Final = "embed_tokens"
"""File names of transformers.js, without what stands for the type."""
HEAD: Final = "lm_head"

_TO_THE_END: Final = (1 << 63) - 1
_GATED_PART: Final = 64
"""By what gated values are divided in half precision: 4.2 million is then the largest."""


def write_decoder(
    weights: LanguageModel,
    path: Path,
    precision: DecoderPrecision,
    *,
    importance: Importance | None = None,
    external: bool | None = None,
    branching: bool = False,
) -> tuple[Path, ...]:
    """Write a language model without its embeddings.

    Inputs: ``inputs_embeds`` (batch, sequence, n_embd) float32, ``attention_mask`` (batch, total)
    int64, ``past_key_values.<layer>.key|value`` (batch, n_head_kv, past, head_dim) of the
    activations' type and ``num_logits_to_keep``, an int64 scalar: logits of so many last
    positions, 0 for all. Outputs: ``logits`` (batch, kept, n_vocab) float32 and
    ``present.<layer>.key|value``, of the type of the past.

    With `branching`, two more inputs let cells of several sequences lie behind each other and be
    computed at once: ``position_ids`` (batch, sequence) int64, and ``attention_bias`` (batch, 1,
    sequence, total) float32, which is added to scores. transformers.js feeds no such bias, and
    CUDA's attention takes none.

    Args:
        weights: of a Qwen2 or Llama language model.
        path: the file to make.
        precision: of the matrices.
        importance: of the inputs of those in four bits: the mean square of each, by matrix.
        external: see `ModelFile`.
        branching: for activations in float32.

    Returns:
        The files written, the model first.

    Raises:
        ArtifactError: a weight is not finite in its precision.
    """
    with ModelFile(path, external=external) as model:
        _Decoder(weights, model, precision, importance or {}, branching=branching).write()
        return model.finish()


def write_embed_tokens(
    weights: LanguageModel,
    path: Path,
    precision: FloatPrecision,
    *,
    external: bool | None = None,
) -> tuple[Path, ...]:
    """Write the table of token embeddings.

    Input: ``input_ids`` (batch, sequence) int64. Output: ``inputs_embeds`` (batch, sequence,
    n_embd) float32.
    """
    table = Matrix(weights, ("model.embed_tokens.weight",))
    with ModelFile(path, external=external) as model:
        ids = model.input("input_ids", "int64", "batch_size", "sequence_length")
        out = model.output(
            "inputs_embeds", "float32", "batch_size", "sequence_length", table.shape[1]
        )
        if precision == "fp16":
            weight = model.weight_parts("embed_tokens", table.shape, map(halved, table.rows()))
            model.cast(model.node("Gather", [weight, ids], ["gathered"]), "float32", out)
        else:
            weight = model.weight_parts("embed_tokens", table.shape, table.rows())
            model.node("Gather", [weight, ids], [out])
        return model.finish()


class _Decoder:
    """The graph of one decoder."""

    def __init__(
        self,
        weights: LanguageModel,
        model: ModelFile,
        precision: DecoderPrecision,
        importance: Importance,
        *,
        branching: bool,
    ) -> None:
        self._text = weights.text
        self._weights = weights
        self._model = model
        self._precision = precision
        self._importance = importance
        self._half = precision.activations == "fp16"
        self._cache_type: DType = "float16" if self._half else "float32"
        self._branching = branching
        if branching and self._half:
            raise ArtifactError(
                "a decoder with activations in half precision cannot have branches",
                "choose a precision with activations in float32",
            )
        if len(precision.layers) != weights.text.n_layers:
            raise ArtifactError(
                f"{len(precision.layers)} layers have a precision, the decoder has "
                f"{self._text.n_layers}",
                "choose the precisions again for this checkpoint",
            )

    def write(self) -> None:
        """Add all nodes and weights."""
        model, text = self._model, self._text
        hidden = model.input(
            "inputs_embeds", "float32", "batch_size", "sequence_length", text.n_embd
        )
        model.output("logits", "float32", "batch_size", "kept_length", text.n_vocab)
        self._write_lengths()
        self._write_rotary()
        if self._branching:
            size = ("batch_size", "sequence_length")
            model.input("position_ids", "int64", *size)
            mask = (size[0], 1, size[1], "total_sequence_length")
            model.input("attention_bias", "float32", *mask)
        normed = model.node(
            "SimplifiedLayerNormalization",
            [hidden, self._vector("model.layers.0.input_layernorm.weight")],
            ["model.layers.0.normed"],
            axis=-1,
            epsilon=text.rms_eps,
            stash_type=1,
        )
        for layer in range(text.n_layers):
            normed, hidden = self._write_layer(layer, normed, hidden)
        self._write_head(normed)

    def _write_lengths(self) -> None:
        """From the mask: tokens of each row, less one, and the longest row's length."""
        model = self._model
        mask = model.input("attention_mask", "int64", "batch_size", "total_sequence_length")
        axis, one = model.constant("axis_1", [1]), model.constant("one", [1])
        counts = model.node("ReduceSum", [mask, axis], ["lengths"], keepdims=0)
        model.cast(model.node("Sub", [counts, one], ["lengths_less_one"]), "int32", "seqlens_k")
        shape = model.node("Shape", [mask], ["mask_shape"])
        total = model.node("Gather", [shape, model.constant("second", 1)], ["total_length"], axis=0)
        model.cast(total, "int32", "total_sequence_length_int32")

    def _write_rotary(self) -> None:
        text = self._text
        tables = rotary_tables(
            self._weights.rope_scaling,
            theta=text.rope_theta,
            head_dim=text.head_dim,
            n_positions=text.n_ctx,
        )
        for name, table in (("cos_cache", tables.cos), ("sin_cache", tables.sin)):
            self._model.weight(name, halved(table) if self._half else table)

    def _write_layer(self, layer: int, normed: str, hidden: str) -> tuple[str, str]:
        """One layer; returns its normed output, for the next one, and the residual stream."""
        prefix = f"model.layers.{layer}"
        precision = self._precision.layers[layer]
        attended = self._write_attention(layer, self._narrowed(normed), precision)
        normed, hidden = self._add_and_norm(
            f"{prefix}.mlp.input", attended, hidden, f"{prefix}.post_attention_layernorm.weight"
        )
        made = self._write_mlp(f"{prefix}.mlp", self._narrowed(normed), precision)
        last = layer + 1 == self._text.n_layers
        following = "model.norm" if last else f"model.layers.{layer + 1}.input_layernorm"
        return self._add_and_norm(f"{prefix}.output", made, hidden, f"{following}.weight")

    def _write_attention(self, layer: int, x: str, precision: Precision) -> str:
        model, text = self._model, self._text
        prefix = f"model.layers.{layer}.self_attn"
        projections = tuple(f"{prefix}.{part}_proj" for part in "qkv")
        packed = self._linear(f"{prefix}.qkv_proj", projections, x, precision, half=self._half)
        cache = (text.n_head_kv, "past_sequence_length", text.head_dim)
        grown = (text.n_head_kv, "total_sequence_length", text.head_dim)
        for part in ("key", "value"):
            dtype = self._cache_type
            model.input(f"past_key_values.{layer}.{part}", dtype, "batch_size", *cache)
            model.output(f"present.{layer}.{part}", dtype, "batch_size", *grown)
        attended = model.node(
            "GroupQueryAttention",
            [
                packed,
                "",
                "",
                f"past_key_values.{layer}.key",
                f"past_key_values.{layer}.value",
                "seqlens_k",
                "total_sequence_length_int32",
                "cos_cache",
                "sin_cache",
                *(("position_ids", "attention_bias") if self._branching else ()),
            ],
            [f"{prefix}.attended", f"present.{layer}.key", f"present.{layer}.value"],
            domain=CONTRIB,
            num_heads=text.n_head,
            kv_num_heads=text.n_head_kv,
            do_rotary=1,
            rotary_interleaved=0,
        )
        return self._widened(self._product(f"{prefix}.o_proj", attended, precision))

    def _write_mlp(self, prefix: str, x: str, precision: Precision) -> str:
        model = self._model
        gate, up = (self._product(f"{prefix}.{part}_proj", x, precision) for part in ("gate", "up"))
        if self._half:
            part = model.constant("gated_part", _GATED_PART, "float16")
            up = model.node("Div", [up, part], [f"{prefix}.up_part"])
        sigmoid = model.node("Sigmoid", [gate], [f"{prefix}.sigmoid"])
        silu = model.node("Mul", [gate, sigmoid], [f"{prefix}.silu"])
        gated = model.node("Mul", [silu, up], [f"{prefix}.gated"])
        made = self._widened(self._product(f"{prefix}.down_proj", gated, precision))
        if not self._half:
            return made
        whole = model.constant("gated_whole", _GATED_PART, "float32")
        return model.node("Mul", [made, whole], [f"{prefix}.made"])

    def _write_head(self, normed: str) -> None:
        """Logits of the last positions that were asked for: -0 starts at the beginning."""
        model = self._model
        keep = model.input("num_logits_to_keep", "int64")
        start = model.node(
            "Neg", [model.node("Reshape", [keep, model.constant("one", [1])], ["keep"])], ["start"]
        )
        kept = model.node(
            "Slice",
            [normed, start, model.constant("end", [_TO_THE_END]), model.constant("axis_1", [1])],
            ["kept"],
        )
        source = "model.embed_tokens" if self._text.tied else HEAD
        logits = self._linear(HEAD, (source,), kept, self._precision.head, half=False)
        model.node("Identity", [logits], ["logits"])

    def _product(self, name: str, x: str, precision: Precision) -> str:
        """A linear layer in the activations' type."""
        return self._linear(name, (name,), x, precision, half=self._half)

    def _linear(
        self, name: str, modules: tuple[str, ...], x: str, precision: Precision, *, half: bool
    ) -> str:
        """A linear layer, or several of the same input as one."""
        matrix = Matrix(self._weights, tuple(f"{module}.weight" for module in modules))
        importance = self._importance.get(name)
        product = write_linear(
            self._model, matrix, x, name, precision, half=half, importance=importance
        )
        names = [f"{module}.bias" for module in modules]
        biases = [self._weights.read(name) for name in names if self._weights.has(name)]
        if not biases:
            return product
        bias = self._model.weight_parts(
            f"{name}.bias",
            (matrix.shape[0],),
            [halved(bias) if half else bias for bias in biases],
        )
        return self._model.node("Add", [product, bias], [f"{name}.output"])

    def _add_and_norm(self, name: str, x: str, hidden: str, weight: str) -> tuple[str, str]:
        """The sum of both, normed and as it is."""
        normed, total = f"{name}.normed", f"{name}.residual"
        self._model.node(
            "SkipSimplifiedLayerNormalization",
            [hidden, x, self._vector(weight)],
            [normed, "", "", total],
            domain=CONTRIB,
            epsilon=self._text.rms_eps,
        )
        return normed, total

    def _narrowed(self, name: str) -> str:
        """A float32 value in the activations' type."""
        return self._model.cast(name, "float16", f"{name}_half") if self._half else name

    def _widened(self, name: str) -> str:
        """The way back."""
        return self._model.cast(name, "float32", f"{name}_float") if self._half else name

    def _vector(self, name: str) -> str:
        return self._model.weight(name, self._weights.read(name))
