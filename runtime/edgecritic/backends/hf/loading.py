"""A checkpoint folder to a model in memory: safetensors only, local only, no foreign code."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgecritic.backends.hf.artifacts import ADAPTER, LLAVA, QWEN, CheckpointFacts
from edgecritic.backends.options import Device, Weights
from edgecritic.errors import ArtifactError, BackendUnavailableError, MissingExtraError
from edgecritic.remarks import pass_over_kernel_remark

if TYPE_CHECKING:
    import torch

_UNQUANTIZED: Final = (
    "model.vision_tower",
    "model.multi_modal_projector",
    "model.visual",
    "lm_head",
)
"""Pictures and the rows that verdicts are read from stay in half precision."""


def load_model(facts: CheckpointFacts, device: torch.device, weights: Weights) -> Any:
    """A model of the checkpoint's type, ready to judge.

    Raises:
        MissingExtraError: a package that these weights need is not installed.
        ArtifactError: the files do not hold the whole model.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import (
        BitsAndBytesConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2_5_VLForConditionalGeneration,
    )

    kind: Any = {
        LLAVA: LlavaOnevisionForConditionalGeneration,
        QWEN: Qwen2_5_VLForConditionalGeneration,
    }[facts.model_type]
    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    settings: dict[str, Any] = {"dtype": types.get(weights, "auto")}
    if weights in ("int8", "int4"):
        _require("bitsandbytes", "pip install bitsandbytes accelerate", f"weights={weights!r}")
        # It remarks on every product that it casts.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        settings["dtype"] = torch.bfloat16
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=weights == "int8",
            load_in_4bit=weights == "int4",
            llm_int8_skip_modules=list(_UNQUANTIZED),
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,  # as QLoRA trains over it, and merging rounds to it
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if device.type != "cpu" or "quantization_config" in settings:
        _require("accelerate", "pip install accelerate", f"loading on {device}")
        settings["device_map"] = {"": device}
    with _silently():
        try:
            loaded: Any = kind.from_pretrained(
                facts.folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                **settings,
            )
        except ImportError as error:
            raise MissingExtraError(
                f"{facts.folder} needs a package that is not installed: {error}",
                "install it, or use the checkpoint in full precision",
            ) from error
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(
                f"transformers does not open {facts.folder}: {str(error).partition(chr(10))[0]}",
                "the checkpoint is damaged or too new for this engine: fetch or export it again",
            ) from error
    model, found = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found.get(problem):
            first = sorted(map(str, found[problem]))[0]
            raise ArtifactError(
                f"{facts.folder}: {len(found[problem])} {problem.replace('_', ' ')}, {first} first",
                "the checkpoint is not of this model: fetch or export it again",
            )
    _check_unquantized(facts, model)
    return model.eval().requires_grad_(False)


def _check_unquantized(facts: CheckpointFacts, model: Any) -> None:
    """A tower in four bits no longer sees; which modules are left out, transformers decides."""
    for name, parameter in model.named_parameters():
        if name.startswith(_UNQUANTIZED) and not parameter.is_floating_point():
            raise BackendUnavailableError(
                f"{facts.folder}: {name} is quantized, and the critic would not see pictures",
                "use another version of transformers, or load the weights as bf16",
            )


def apply_adapter(model: Any, folder: Path) -> Any:
    """The model with a LoRA adapter beside its weights.

    Raises:
        MissingExtraError: peft is not installed.
        ArtifactError: the adapter does not fit the model.
    """
    _require("peft", "pip install peft", "an adapter")
    pass_over_kernel_remark()
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    with _silently():
        try:
            adapted = PeftModel.from_pretrained(model, folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(
                f"peft does not apply {folder}: {str(error).partition(chr(10))[0]}",
                "use the adapter that was trained on this model",
            ) from error
    with safe_open(folder / ADAPTER, framework="pt") as file:
        stray = set(get_peft_model_state_dict(adapted)) ^ set(file.keys())
    if stray:
        raise ArtifactError(
            f"{folder} does not fit the model: {len(stray)} tensors are in one only, "
            f"{sorted(stray)[0]} first",
            "use the adapter that was trained on this model",
        )
    return adapted.get_base_model().eval().requires_grad_(False)


def choose_device(device: Device) -> torch.device:
    """Where to compute.

    Raises:
        BackendUnavailableError: a GPU is asked for, and torch sees none.
    """
    import torch

    if torch.cuda.is_available() and device != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    if device == "gpu":
        raise BackendUnavailableError(
            "torch sees no GPU", "install torch with CUDA, or use device='cpu'"
        )
    return torch.device("cpu")


def require_engine() -> None:
    """Check that torch and transformers are installed.

    Raises:
        MissingExtraError: they are not.
    """
    for package in ("torch", "transformers"):
        _require(package, "pip install 'edgecritic[hf]'", "the transformers engine")


def _require(package: str, hint: str, what: str) -> None:
    if find_spec(package) is None:
        raise MissingExtraError(f"{what} needs {package}, which is not installed", hint)


@contextmanager
def _silently() -> Iterator[None]:
    """Keep progress bars and remarks of transformers and peft off stderr."""
    from transformers.utils import logging as remarks

    bars, level = remarks.is_progress_bar_enabled(), remarks.get_verbosity()
    remarks.disable_progress_bar()
    remarks.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        remarks.set_verbosity(level)
        if bars:
            remarks.enable_progress_bar()
