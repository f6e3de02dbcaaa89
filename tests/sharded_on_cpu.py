"""Runs a module with PyTorch's FSDP2 over gloo, which accelerate does on GPUs only.

    python -m torch.distributed.run --nproc_per_node=2 sharded_on_cpu.py MODULE ARGUMENTS...

What shards and gathers is the same code; only the state of accelerate is set by hand. The first
line on stderr tells how many parameters are sharded.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import accelerate.accelerator
import yaml
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from edgecritic_train.tuning.launch_config import launch_configs


def as_shipped(config: str) -> dict[str, str]:
    """What ``accelerate launch`` sets for the settings that ship."""
    settings = yaml.safe_load(Path(launch_configs()[config]).read_text(encoding="utf-8"))
    found = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    renamed = {"transformer_layer_cls_to_wrap": "transformer_cls_to_wrap"}
    for key, value in settings["fsdp_config"].items():
        name = key.removeprefix("fsdp_")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found[f"FSDP_{renamed.get(name, name).upper()}"] = text
    return found


def allow_sharding() -> None:
    """Make accelerate's state say FSDP on a CPU."""
    begin = AcceleratorState.__init__

    def begun(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin or FullyShardedDataParallelPlugin()
            if self._mixed_precision != "no":
                self.fsdp_plugin.set_mixed_precision(self._mixed_precision)

    shard = accelerate.accelerator.fsdp2_prepare_model

    def told(accelerator: Any, model: Any) -> Any:
        found = shard(accelerator, model)
        kinds = {type(parameter.data).__name__ for parameter in found.parameters()}
        sys.stderr.write(f"sharded: {', '.join(sorted(kinds))}\n")
        return found

    AcceleratorState.__init__ = begun
    accelerate.accelerator.fsdp2_prepare_model = told


if __name__ == "__main__":
    module = sys.argv.pop(1)
    os.environ |= as_shipped("fsdp2")
    allow_sharding()
    sys.exit(import_module(module).main())
