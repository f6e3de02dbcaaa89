"""The settings of a run as TRL's trainers take them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import torch

from edgecritic.errors import BackendUnavailableError
from edgecritic_train.tuning.config import TuningConfig

_OPTIMIZERS: Final = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
}


def trainer_arguments(config: TuningConfig, *, judged: bool, fresh: bool) -> dict[str, Any]:
    """Keyword arguments that `SFTConfig` and `DPOConfig` share.

    Args:
        config: of the run.
        judged: there are held-out rows.
        fresh: the run begins; it is judged once before it learns.
    """
    optimizer, steps = config.optimizer, config.checkpoints
    found: dict[str, Any] = {
        "output_dir": str(config.output),
        "seed": config.seed,
        "data_seed": config.seed,
        "optim": _OPTIMIZERS[optimizer.name],
        "learning_rate": optimizer.learning_rate,
        "lr_scheduler_type": optimizer.schedule,
        "warmup_steps": optimizer.warmup,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.max_grad_norm,
        "per_device_train_batch_size": optimizer.batch,
        "per_device_eval_batch_size": optimizer.batch,
        "gradient_accumulation_steps": optimizer.accumulation,
        "num_train_epochs": optimizer.epochs,
        "max_steps": optimizer.max_steps or -1,
        "gradient_checkpointing": optimizer.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "bf16": config.base.dtype == "bfloat16",
        "fp16": config.base.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "max_length": None,  # a row that is cut ends inside a picture, or teaches nothing
        "remove_unused_columns": False,
        "dataloader_num_workers": config.data.workers,
        "logging_steps": steps.log_every,
        "logging_nan_inf_filter": False,  # it would hide NaN
        "save_strategy": "steps",
        "save_steps": steps.every,
        "restore_callback_states_from_checkpoint": True,
        "report_to": [],
        "disable_tqdm": True,
    }
    if judged:
        found |= {
            "eval_strategy": "steps",
            "eval_steps": config.evaluation.every,
            "eval_on_start": fresh,
        }
    return found


def check_machine(config: TuningConfig) -> None:
    """Check that this machine can do what the settings ask.

    Raises:
        BackendUnavailableError: it cannot.
    """
    gpu, name = torch.cuda.is_available(), config.optimizer.name
    if name != "adamw" and not gpu:
        raise BackendUnavailableError(
            f"optimizer.name is {name}, and torch sees no GPU for bitsandbytes",
            "set optimizer.name to adamw, or install torch with CUDA",
        )
    if name != "adamw" and find_spec("bitsandbytes") is None:
        raise BackendUnavailableError(
            f"optimizer.name is {name}, and bitsandbytes is not installed",
            "pip install 'edgecritic[train]', or set optimizer.name to adamw",
        )
    if config.base.dtype == "float16" and not gpu:
        raise BackendUnavailableError(
            "base.dtype is float16, and torch sees no GPU", "set base.dtype to float32"
        )


def make_deterministic(config: TuningConfig) -> None:
    """Choose kernels that give the same numbers again; before CUDA is used."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forked
    if config.optimizer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Nothing reads memory before it is written, and to fill it costs time.
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - untyped


@contextmanager
def without_renamings() -> Iterator[None]:
    """Keep off what TRL and peft make transformers say about names that it has changed."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", r".*is deprecated and will be removed in v6", FutureWarning
        )
        yield
