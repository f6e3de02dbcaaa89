"""What other packages log that says nothing to whoever reads it."""

from __future__ import annotations

import logging
from typing import Final

_LOGGER: Final = "bitsandbytes.backends.cpu.ops"
_KERNEL: Final = "Failed to load CPU gemm_4bit_forward"


def pass_over_kernel_remark() -> None:
    """Keep off a line that bitsandbytes logs when peft is imported, whatever is computed then.

    Where the CPU has AVX512-BF16 it looks for a faster product of weights in four bits, in an order
    of their own that only inference on that CPU brings them into. Nothing in full precision needs
    it, and tuning with NF4 leaves the order as it is. All else that bitsandbytes logs is told.
    """
    logging.getLogger(_LOGGER).addFilter(_is_told)


def _is_told(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_KERNEL)
