"""Smaller files by llama.cpp's own quantizer, and what became of each tensor.

The quantizer mixes types: it gives sensitive matrices more bits, and a matrix whose rows do not
fit a type's blocks another type. So what a file holds is read back from it.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgecritic.backends.llamacpp.native import Native, load_native
from edgecritic.backends.threads import default_threads
from edgecritic.errors import ArtifactError, InputError
from edgecritic.gguf_header import GgufHeader, read_header
from edgecritic_export.gguf.file import unfinished
from edgecritic_export.gguf.imatrix import ImportanceMatrix
from edgecritic_export.gguf.mix import TensorMix

LADDER: Final = (
    *("F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K"),
)
"""Quant types of a language model that are exported and measured, large to small."""
PROJECTOR_LADDER: Final = ("F16", "Q8_0")
"""Those of a vision tower: below, its features turn too far (a cosine of 0.93 in Q4_0)."""
_FILE_TYPES: Final[Mapping[str, int]] = {  # LLAMA_FTYPE_*
    "F16": 1,
    "BF16": 32,
    "Q8_0": 7,
    "Q6_K": 18,
    "Q5_K_M": 17,
    "Q4_K_M": 15,
    "Q4_0": 2,
    "IQ4_XS": 30,
    "Q3_K_M": 12,
    "Q2_K": 10,
    "IQ3_XXS": 23,
    "IQ2_XS": 20,
}
_NEED_IMPORTANCE: Final = ("IQ3_XXS", "IQ2_XS")
UNQUANTIZED: Final = ("F32", "F16", "BF16")
# Types that a tensor can be given: ggml's number, and the values in a block.
_TENSOR_TYPES: Final[Mapping[str, tuple[int, int]]] = {
    "F32": (0, 1),
    "F16": (1, 1),
    "BF16": (30, 1),
    "Q4_0": (2, 32),
    "Q4_1": (3, 32),
    "Q5_0": (6, 32),
    "Q5_1": (7, 32),
    "Q8_0": (8, 32),
    "IQ4_NL": (20, 32),
    "Q2_K": (10, 256),
    "Q3_K": (11, 256),
    "Q4_K": (12, 256),
    "Q5_K": (13, 256),
    "Q6_K": (14, 256),
    "IQ4_XS": (23, 256),
}


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    r"""How to quantize.

    Attributes:
        overrides: pairs of a regular expression, searched in tensor names, and the type of those
            that it is found in, such as ``(r"blk\.0\..*ffn_down", "Q8_0")``; the first wins.
        importance: how much each input of a matrix matters; None weighs all alike.
        n_threads: the physical cores when left out.
        buffer_bytes: rows held at once.
    """

    overrides: Sequence[tuple[str, str]] = ()
    importance: ImportanceMatrix | None = None
    n_threads: int | None = None
    buffer_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Quantized:
    """What came of it.

    Attributes:
        path: the new file.
        quant: what was asked for.
        mix: what it is made of.
        fallbacks: matrices that stayed unquantized although the file's type is a quantized one.
    """

    path: Path
    quant: str
    mix: TensorMix
    fallbacks: tuple[str, ...]


def quantize(
    source: Path, target: Path, quant: str, options: QuantizeOptions | None = None
) -> Quantized:
    """Write a file in another type; vision towers (mmproj) and language models alike.

    Args:
        source: GGUF in F32, F16 or BF16.
        target: the file to make; it appears only when it is complete.
        quant: of `LADDER`, or ``IQ3_XXS`` or ``IQ2_XS``, which need an importance matrix.
        options: the rest.

    Raises:
        InputError: an unknown type, or an override that cannot be followed.
        ArtifactError: the source is quantized already or damaged, the importance matrix is
            missing or of another model, no matrix fits the type, or the quantizer gave up.
        MissingExtraError: llama-cpp-python is not installed.
    """
    options = options or QuantizeOptions()
    if quant not in _FILE_TYPES:
        raise InputError(
            f"quant type {quant!r} is not known", f"known types: {', '.join(_FILE_TYPES)}"
        )
    header = read_header(source)
    _check_source(header)
    overrides = _resolve(options.overrides, header, quant)
    if quant in _NEED_IMPORTANCE and options.importance is None:
        raise ArtifactError(
            f"{quant} is garbage without an importance matrix",
            "compute one on calibration rows, or use Q2_K",
        )
    if options.importance is not None:
        options.importance.check(header)
    with unfinished(target) as partial:
        _run(load_native(), (source, partial), quant, overrides, options)
        quantized = Quantized(target, quant, TensorMix.of(partial), _unquantized(partial, quant))
        _check_result(quantized, partial, overrides)
    return quantized


def _check_source(header: GgufHeader) -> None:
    for claim in header.tensors.values():
        if claim.type_name not in UNQUANTIZED:
            raise ArtifactError(
                f"{header.path} is quantized: {claim.name} is {claim.type_name}",
                "start from the F16 or BF16 file: rounding twice loses more",
            )


def _resolve(
    overrides: Sequence[tuple[str, str]], header: GgufHeader, quant: str
) -> dict[str, str]:
    """The type of each tensor that an override names."""
    if overrides and quant in UNQUANTIZED:
        raise InputError(
            f"{quant} files have one type: {overrides[0][0]!r} cannot be followed",
            "choose a quantized type, and override single tensors with F16",
        )
    resolved: dict[str, str] = {}
    for pattern, type_name in overrides:
        if type_name not in _TENSOR_TYPES:
            raise InputError(
                f"tensor type {type_name!r} for {pattern!r} is not known",
                f"known types: {', '.join(_TENSOR_TYPES)}",
            )
        try:
            found = [name for name in header.tensors if re.search(pattern, name)]
        except re.error as error:
            raise InputError(
                f"override {pattern!r} is no regular expression: {error}", "escape its dots: \\."
            ) from error
        matrices = [name for name in found if len(header.tensor(name).shape) > 1]
        if not matrices:
            raise InputError(
                f"override {pattern!r} matches {len(found)} tensors, none of them a matrix",
                f"names look like {next(iter(header.tensors))}",
            )
        for name in matrices:
            row, block = header.tensor(name).shape[0], _TENSOR_TYPES[type_name][1]
            if row % block:
                raise InputError(
                    f"{name} cannot be {type_name}: its rows of {row} are no multiple of {block}",
                    "use Q8_0, or F16 where 32 does not divide the rows",
                )
            resolved.setdefault(name, type_name)
    return resolved


def _run(
    native: Native,
    paths: tuple[Path, Path],
    quant: str,
    overrides: Mapping[str, str],
    options: QuantizeOptions,
) -> None:
    llama = native.llama
    params = llama.llama_model_quantize_default_params()
    params.ftype = _FILE_TYPES[quant]
    params.nthread = options.n_threads or default_threads()
    params.max_buf_size = options.buffer_bytes
    # Names are given in full, so that Python's reading of a pattern holds and not C++'s.
    patterns = [
        (f"^{re.escape(name)}$".encode(), _TENSOR_TYPES[kind][0])
        for name, kind in overrides.items()
    ]
    if patterns:
        params.tt_overrides = (llama.llama_model_tensor_override * (len(patterns) + 1))(*patterns)
    kept: list[Any] = []  # C reads it until the call returns
    if options.importance is not None:
        params.imatrix = _importance(native, options.importance, kept)
    native.log.forget()
    source, target = map(os.fsencode, paths)
    if llama.llama_model_quantize(source, target, ctypes.byref(params)) != 0:
        raise ArtifactError(
            f"llama.cpp did not quantize {paths[0]} to {quant}: {native.log.complaint()}",
            "if a weight overflows in half precision, start from BF16 or F32 and not to F16; "
            "else check the file and the disk's free space",
        )


def _importance(native: Native, matrix: ImportanceMatrix, kept: list[Any]) -> Any:
    entry = native.llama.llama_model_imatrix_data
    entries = []
    for name in matrix.names:
        means = matrix.means(name)
        kept.append(means)
        pointer = means.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entries.append(entry(name.encode(), pointer, means.size))
    return (entry * (len(entries) + 1))(*entries)


def _unquantized(path: Path, quant: str) -> tuple[str, ...]:
    if quant in UNQUANTIZED:
        return ()
    return tuple(
        claim.name
        for claim in read_header(path).tensors.values()
        if len(claim.shape) == 2
        and claim.type_name in UNQUANTIZED
        and not claim.name.endswith("position_embd.weight")
    )


def _check_result(quantized: Quantized, partial: Path, overrides: Mapping[str, str]) -> None:
    header = read_header(partial)
    for name, type_name in overrides.items():
        if (found := header.tensor(name).type_name) != type_name:
            raise InputError(
                f"{name} became {found}: llama.cpp does not give it the type {type_name}",
                "leave this tensor out of the overrides",
            )
    types = {share.type_name for share in quantized.mix.shares}
    if quantized.quant not in UNQUANTIZED and types <= set(UNQUANTIZED):
        raise ArtifactError(
            f"no matrix of {quantized.path} could become {quantized.quant}: "
            f"{quantized.fallbacks[0]} has rows of "
            f"{header.tensor(quantized.fallbacks[0]).shape[0]}, no multiple of 32",
            "keep the F16 file: this model is too narrow to be quantized",
        )
