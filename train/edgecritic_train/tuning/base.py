"""The model that is tuned: found, loaded as the settings say, and looked over."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecritic.errors import ArtifactError, BackendUnavailableError
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.families import HEAD, Eye, Family, Folder, open_folder
from edgecritic_train.tuning.settings import home_expanded

if TYPE_CHECKING:
    import torch

_FILES: Final = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
_SETTINGS: Final = ("*.json", "*.txt", "*.jinja", "*.model")
_PROBLEMS: Final = ("missing_keys", "unexpected_keys", "mismatched_keys")


@dataclass(frozen=True, slots=True)
class Base:
    """A base's folder, opened for tuning; no weights are loaded yet.

    Attributes:
        family: of the model.
        folder: its settings and tokenizer.
        eye: how it looks at pictures, within the settings' limits.
    """

    family: Family
    folder: Folder
    eye: Eye


def open_base(config: TuningConfig, *, weights: bool = True) -> Base:
    """Find the base and read its settings.

    Args:
        config: names it.
        weights: False fetches no weights from the hub.

    Raises:
        ArtifactError: it is not there, or cannot be tuned.
        InputError: no picture fits the limits.
    """
    path = find_base(config.base.model, config.base.revision, weights=weights)
    family, folder = open_folder(path)
    return Base(family, folder, family.eye(folder, config.images.max_tokens))


def find_base(model: str, revision: str | None, *, weights: bool = True) -> Path:
    """The folder of a model: the one that is named, or a snapshot from the hub.

    Raises:
        ArtifactError: neither is there.
    """
    local = home_expanded(model)
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise ArtifactError(
                f"{model} is a folder without config.json",
                "name a folder that transformers loads; adapter.start takes adapters",
            )
        return local
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ArtifactError(f"{model} is no folder", "name a folder, or owner/name on the hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        patterns = list(_FILES if weights else _SETTINGS)
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(
            f"{model} cannot be fetched from the hub: {reason}",
            "check name, revision and network; set HF_TOKEN for a gated model, or name a folder",
        ) from error


def compute_dtype(config: TuningConfig) -> torch.dtype:
    """The type of frozen weights and of the computation."""
    import torch

    found: torch.dtype = getattr(torch, config.base.dtype)
    return found


def load_base(base: Base, config: TuningConfig) -> Any:
    """The model, frozen, on this process's device unless it will be sharded.

    Raises:
        ArtifactError: the files do not hold the whole model.
        BackendUnavailableError: this machine cannot load it as asked.
    """
    import torch
    import transformers
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    settings: dict[str, Any] = {
        "dtype": compute_dtype(config),
        "attn_implementation": config.base.attention,
    }
    if config.base.quantization == "nf4":
        settings["quantization_config"] = nf4_settings(base.family, config)
    if (device := _device()) is not None:
        settings["device_map"] = {"": device}
    path = base.folder.path
    try:
        model, found = getattr(transformers, base.family.model_class).from_pretrained(
            path,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    except torch.OutOfMemoryError:  # which says nothing against the folder
        raise
    except ImportError as error:
        raise BackendUnavailableError(
            f"transformers does not load {path} as asked: {str(error).partition(chr(10))[0]}",
            "install what it names, or set base.attention to sdpa and base.quantization to none, "
            "which need nothing more",
        ) from error
    except StrictDataclassError as error:
        raise _wrong_settings(path, error) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(
            f"transformers does not load {path}: {str(error).partition(chr(10))[0]}",
            "fetch the base again; a base in full precision loads everywhere "
            "(base.quantization: none)",
        ) from error
    for problem in _PROBLEMS:
        if names := sorted(map(str, found.get(problem) or ())):
            raise ArtifactError(
                f"{path}: {len(names)} {problem.replace('_', ' ')}, {names[0]} first",
                "the folder does not hold this whole model: fetch the base again",
            )
    base.family.adjust(model.config, base.eye)
    _check_quantized(base, config, model)
    return model.requires_grad_(False)


def _wrong_settings(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path / 'config.json'} contradicts itself: {error.__cause__ or error}",
        "fetch the base again",
    )


def hollow_model(base: Base, config: TuningConfig) -> Any:
    """The base without storage; no weights are needed.

    Raises:
        ArtifactError: its settings contradict each other.
    """
    import torch
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    model_class = getattr(transformers, base.family.model_class)
    path = base.folder.path
    try:
        settings = model_class.config_class.from_pretrained(path, local_files_only=True)
    except StrictDataclassError as error:
        raise _wrong_settings(path, error) from error
    with torch.device("meta"):
        return model_class._from_config(settings, attn_implementation=config.base.attention)


def nf4_settings(family: Family, config: TuningConfig) -> Any:
    """How bitsandbytes rounds the language model's linear layers: NF4, its scales in 8 bits.

    Raises:
        BackendUnavailableError: bitsandbytes is not installed.
    """
    from importlib.util import find_spec

    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise BackendUnavailableError(
            "base.quantization is nf4, and bitsandbytes is not installed",
            "pip install 'edgecritic[train]', or set base.quantization to none",
        )
    dtype = compute_dtype(config)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # FSDP shards parameters of one floating type only, so the packed bits pretend to be one.
        bnb_4bit_quant_storage=torch.bfloat16 if dtype == torch.bfloat16 else torch.uint8,
        # Whole paths: the bare name of the tower would skip nothing, and quantize the head.
        llm_int8_skip_modules=[family.tower, family.projector, HEAD],
    )


def _check_quantized(base: Base, config: TuningConfig, model: Any) -> None:
    """The language model's blocks are in four bits, and nothing else is."""
    if config.base.quantization == "none":
        return
    from bitsandbytes.nn import Linear4bit

    rounded = []
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            rounded.append(name)
            # On a CPU an evaluation would repack the bits for good, and no gradient passes then.
            module.support_avx512bf16_for_cpu = False
    outside = [name for name in rounded if ".language_model.layers." not in name]
    if outside or not rounded:
        what = f"{outside[0]} is in four bits" if outside else "nothing is in four bits"
        raise BackendUnavailableError(
            f"{base.folder.path}: {what}, and only the language model's layers should be",
            "use another version of transformers, or set base.quantization to none",
        )


def _device() -> Any:
    """Where to load; None leaves it to the trainer, which shards the model."""
    import torch

    if os.environ.get("ACCELERATE_USE_FSDP") or os.environ.get("ACCELERATE_USE_DEEPSPEED"):
        return None
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
