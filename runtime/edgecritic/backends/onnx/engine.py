"""`OnnxBackend`: the `Backend` Protocol over ONNX Runtime."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.backends.base import BackendInfo
from edgecritic.backends.onnx.artifacts import (
    DecoderFacts,
    check_decoder,
    check_embed_tokens,
    check_vision_encoder,
)
from edgecritic.backends.onnx.memory import DeviceMemory, HostMemory, Values
from edgecritic.backends.onnx.model import Decoder, OnnxModel, Tower
from edgecritic.backends.onnx.runtime import CPU, Session, choose_provider, load_runtime
from edgecritic.backends.options import EngineOptions
from edgecritic.backends.sequential import SequentialBackend
from edgecritic.backends.threads import default_threads
from edgecritic.backends.tokens import END_TOKEN_FILES, JsonTokenizer, configured_ends
from edgecritic.errors import BackendUnavailableError, InputError
from edgecritic.heap import trim
from edgecritic.vision.geometry import ImageGeometry

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle

logger = logging.getLogger("edgecritic.engine")


@dataclass(frozen=True, slots=True)
class OnnxFiles:
    """The files of a critic.

    Attributes:
        decoder: with a cache, as transformers.js reads it.
        embed_tokens: the table of token embeddings.
        tokenizer: ``tokenizer.json``.
        vision_encoder: vision tower with projector; None for a critic of text.
        external_data: all files that the others may read weights from.
        configs: ``config.json`` and ``generation_config.json``, where there are any.
    """

    decoder: Path
    embed_tokens: Path
    tokenizer: Path
    vision_encoder: Path | None = None
    external_data: tuple[Path, ...] = ()
    configs: tuple[Path, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle) -> OnnxFiles:
        """The files of a bundle, verified.

        Raises:
            ArtifactError: one is missing or damaged.
        """
        tokenizer = bundle.file("tokenizer")
        return cls(
            decoder=bundle.file("decoder"),
            embed_tokens=bundle.file("embed_tokens"),
            tokenizer=tokenizer,
            vision_encoder=None if bundle.manifest.image is None else bundle.file("vision_encoder"),
            external_data=bundle.files("external_data"),
            configs=tuple(
                path
                for path in bundle.files("config")
                if path.parent == tokenizer.parent and path.name in END_TOKEN_FILES
            ),
        )


class OnnxBackend(SequentialBackend[Values]):
    """A critic on ONNX Runtime, on the CPU or with CUDA.

    Sequences that are continued lie in the cache, which is extended in place; see
    `edgecritic.backends.workbench` for what becomes of the others. Several are continued at once
    if the decoder takes a bias of scores.

    Args:
        files: of the critic.
        geometry: of its pictures; without one it reads text only.
        options: context, threads, device, `n_batch`.

    Raises:
        MissingExtraError: onnxruntime or tokenizers is not installed.
        ArtifactError: a file is missing, damaged, of another kind, or does not fit the others.
        BackendUnavailableError: the device asked for is not there.
        InputError: `n_ctx` is more than the decoder has positions.
    """

    def __init__(
        self,
        files: OnnxFiles,
        *,
        geometry: ImageGeometry | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        options = options or EngineOptions()
        facts = check_decoder(files.decoder, files.external_data)
        check_embed_tokens(files.embed_tokens, facts, files.external_data)
        vision = None
        if geometry is not None and files.vision_encoder is not None:
            vision = check_vision_encoder(
                files.vision_encoder, facts, geometry, files.external_data
            )
        _check_context(facts, options)
        tokenizer = JsonTokenizer(files.tokenizer, facts.n_vocab, extra="onnx")
        trim()  # what parsing it took
        onnxruntime = load_runtime()
        provider = choose_provider(onnxruntime, options.device)
        n_threads = options.n_threads or default_threads()
        session = Session(onnxruntime, facts.path, provider=provider, n_threads=n_threads)
        _check_provider(session, provider, options)
        provider = session.provider
        # CUDA's attention knows half precision only; a decoder in float32 attends on the CPU.
        on_device = provider != CPU and facts.cache == "float16"
        memory = (DeviceMemory if on_device else HostMemory)(onnxruntime, facts, options.n_ctx)
        tower = None
        if vision is not None and geometry is not None:
            encoder = Session(onnxruntime, vision.path, provider=provider, n_threads=n_threads)
            tower = Tower(encoder, vision, geometry, facts.n_embd)
        embed_tokens = Session(onnxruntime, files.embed_tokens, provider=CPU, n_threads=1)
        decoder = Decoder(session, facts, memory, options.n_ctx)
        info = BackendInfo(
            name="onnx",
            engine=f"onnxruntime {onnxruntime.__version__}",
            device="cpu" if provider == CPU else "cuda",
            n_ctx=options.n_ctx,
            n_embd=facts.n_embd,
            n_vocab=facts.n_vocab,
            max_sequences=options.max_sequences,
            end_tokens=tokenizer.end_tokens(configured_ends(files.configs)),
            cell_bytes=facts.cell_bytes,
        )
        model = OnnxModel(decoder, embed_tokens, tower)
        at_once = decoder.decode_branches if facts.branches else None
        super().__init__(model, tokenizer, info, options.n_batch, at_once)


def _check_context(facts: DecoderFacts, options: EngineOptions) -> None:
    if facts.n_positions is not None and options.n_ctx > facts.n_positions:
        raise InputError(
            f"n_ctx is {options.n_ctx}, and {facts.path} knows {facts.n_positions} positions",
            f"give at most {facts.n_positions}",
        )


def _check_provider(session: Session, wanted: str, options: EngineOptions) -> None:
    """ONNX Runtime falls back to the CPU silently where CUDA's libraries do not load."""
    if session.provider == wanted:
        return
    if options.device == "gpu":
        raise BackendUnavailableError(
            f"ONNX Runtime cannot use {wanted}: its libraries did not load",
            "install the CUDA and cuDNN that this onnxruntime-gpu was built for, "
            "or use device='cpu'",
        )
    logger.info("%s does not load: the critic runs on the CPU", wanted)
