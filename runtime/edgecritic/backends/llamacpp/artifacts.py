"""What each GGUF file must look like before llama.cpp may open it.

llama.cpp's loader reports most defects of a language model as errors, but its image loader and
its compute graphs assert: a tensor of the wrong shape ends the process. So architectures and
projector types are allow-listed, and everything that an assertion would test is tested here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgecritic.errors import ArtifactError, shown
from edgecritic.gguf_header import GgufHeader, read_header

GRID_LANGUAGE_MODEL: Final = "qwen2vl"
"""The architecture whose positions have rows and columns (M-RoPE)."""
LANGUAGE_MODELS: Final = ("llama", "qwen2", GRID_LANGUAGE_MODEL)
TOKENIZER: Final = "gpt2"  # byte-level BPE, of SmolLM2 and Qwen2
NORMALIZER: Final = "edgecritic.tokenizer.normalizer"
"""A key of our own, since llama.cpp does not normalise text: ``NFC``, or left out for nothing."""

WRONG_FILE: Final = "check the bundle's files: this one has another role"
"""What mends a file that is none of the expected kind."""
_MAX_LAYERS: Final = 256
_MAX_WIDTH: Final = 1 << 16
_EPSILON: Final = (0.0, 0.1)


@dataclass(frozen=True, slots=True)
class LanguageModelFacts:
    """What the header of a language model says.

    Attributes:
        path: the file.
        architecture: of `LANGUAGE_MODELS`.
        n_embd: width of the embeddings.
        n_vocab: tokens.
        cell_values: keys and values of one cell, as numbers.
        normalizer: what a text must be normalised by before it is tokenized.
    """

    path: Path
    architecture: str
    n_embd: int
    n_vocab: int
    cell_values: int
    normalizer: Literal["NFC"] | None

    @property
    def grid_positions(self) -> bool:
        """Positions of pictures have rows and columns."""
        return self.architecture == GRID_LANGUAGE_MODEL


def check_language_model(path: Path) -> LanguageModelFacts:
    """Check the header of a language model.

    Raises:
        ArtifactError: it is none, of an architecture that is not allow-listed, or inconsistent.
    """
    header = read_header(path)
    architecture = header.text("general.architecture")
    if architecture not in LANGUAGE_MODELS or header.metadata.get("general.type") == "adapter":
        raise ArtifactError(
            f"{path} is no language model of a supported architecture: it is "
            f"{shown(architecture)}, supported are {', '.join(LANGUAGE_MODELS)}",
            WRONG_FILE,
        )
    if "split.count" in header.metadata:
        raise ArtifactError(f"{path} is one part of a split model", "merge its parts into one file")
    n_embd = header.count(f"{architecture}.embedding_length", limit=_MAX_WIDTH)
    n_head = header.count(f"{architecture}.attention.head_count", limit=_MAX_WIDTH)
    n_head_kv = header.count(
        f"{architecture}.attention.head_count_kv", default=n_head, limit=n_head
    )
    n_layers = header.count(f"{architecture}.block_count", limit=_MAX_LAYERS)
    header.number(f"{architecture}.attention.layer_norm_rms_epsilon", *_EPSILON)
    head_dim = n_embd // n_head
    rotated = header.count(
        f"{architecture}.rope.dimension_count", default=head_dim, limit=_MAX_WIDTH
    )
    if n_embd % n_head or n_head % n_head_kv or rotated > head_dim or rotated % 2:
        raise ArtifactError(
            f"{path}: width {n_embd} with {n_head} heads, {n_head_kv} key heads and "
            f"{rotated} rotated dimensions is impossible",
            WRONG_FILE,
        )
    if architecture == GRID_LANGUAGE_MODEL:
        _check_sections(header, head_dim, rotated)
    n_vocab = _check_vocabulary(header, n_embd)
    _check_vectors(header)
    cell_values = 2 * n_layers * n_head_kv * head_dim
    return LanguageModelFacts(path, architecture, n_embd, n_vocab, cell_values, _normalizer(header))


def _check_sections(header: GgufHeader, head_dim: int, rotated: int) -> None:
    """Time, row and column share the pairs of a head; llama.cpp has room for a fourth axis."""
    key = f"{GRID_LANGUAGE_MODEL}.rope.dimension_sections"
    sections = header.array(key, "int32").items or ()
    pairs = [section for section in sections if isinstance(section, int) and section >= 0]
    if len(sections) != 4 or len(pairs) != 4 or pairs[3] or {2 * sum(pairs), rotated} != {head_dim}:
        raise ArtifactError(
            f"{header.path}: {key} is {shown(sections)}, for heads of width {head_dim} of which "
            f"{rotated} are rotated",
            WRONG_FILE,
        )


def _check_vectors(header: GgufHeader) -> None:
    """Norms and biases are added and multiplied, for which ggml wants F32 and else aborts."""
    for claim in header.tensors.values():
        if len(claim.shape) == 1 and claim.type_name != "F32":
            raise ArtifactError(
                f"{header.path}: the vector {shown(claim.name)} is {claim.type_name}, not F32",
                "export or quantize the model again",
            )


def _check_vocabulary(header: GgufHeader, n_embd: int) -> int:
    tokenizer = header.text("tokenizer.ggml.model")
    if tokenizer != TOKENIZER:
        raise ArtifactError(
            f"{header.path}: tokenizer {shown(tokenizer)} is not supported, only {TOKENIZER!r} is",
            WRONG_FILE,
        )
    tokens = header.array("tokenizer.ggml.tokens", "string")
    n_vocab = tokens.length
    if tokens.distinct != n_vocab:
        raise ArtifactError(
            f"{header.path}: {n_vocab - tokens.distinct} tokens appear twice", WRONG_FILE
        )
    for key, item_type in (("token_type", "int32"), ("scores", "float32")):
        full_key = f"tokenizer.ggml.{key}"
        if full_key in header.metadata and header.array(full_key, item_type).length != n_vocab:
            raise ArtifactError(
                f"{header.path}: {full_key} is not as long as the {n_vocab} tokens", WRONG_FILE
            )
    if "tokenizer.ggml.merges" in header.metadata:
        header.array("tokenizer.ggml.merges", "string")
    embeddings = header.tensor("token_embd.weight").shape
    if embeddings != (n_embd, n_vocab):
        raise ArtifactError(
            f"{header.path}: token_embd.weight is {embeddings}, expected {(n_embd, n_vocab)}",
            WRONG_FILE,
        )
    return n_vocab


def _normalizer(header: GgufHeader) -> Literal["NFC"] | None:
    if NORMALIZER not in header.metadata:
        return None
    if header.metadata[NORMALIZER] == "NFC":
        return "NFC"
    raise ArtifactError(
        f"{header.path}: its text is normalised by {shown(header.metadata[NORMALIZER])}, "
        "which this runtime does not know",
        "upgrade edgecritic, or export the critic again",
    )


def check_adapter(path: Path, language_model: LanguageModelFacts) -> None:
    """Check the header of a LoRA adapter.

    That its tensors fit the language model is checked by llama.cpp, which reports it.

    Raises:
        ArtifactError: it is none, or for another architecture.
    """
    header = read_header(path)
    role = (header.metadata.get("general.type"), header.metadata.get("adapter.type"))
    if role != ("adapter", "lora") or header.types.get("adapter.lora.alpha") != "float32":
        raise ArtifactError(f"{path} is no LoRA adapter", WRONG_FILE)
    architecture = header.text("general.architecture")
    if architecture != language_model.architecture:
        raise ArtifactError(
            f"{path} adapts {shown(architecture)}, "
            f"{language_model.path} is {shown(language_model.architecture)}",
            "use the adapter that was exported for this language model",
        )
