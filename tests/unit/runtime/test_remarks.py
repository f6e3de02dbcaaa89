"""One line of bitsandbytes is passed over, and no other."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgecritic.remarks import pass_over_kernel_remark

pytest.importorskip("bitsandbytes")
LOGGER = "bitsandbytes.backends.cpu.ops"


def source() -> str:
    spec = find_spec("bitsandbytes")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "backends" / "cpu" / "ops.py").read_text()


def test_the_remark_is_passed_over_and_warnings_are_not(caplog: pytest.LogCaptureFixture) -> None:
    pass_over_kernel_remark()
    line = "Failed to load CPU gemm_4bit_forward from kernels-community: %s."
    assert line.removesuffix(".") in source()
    assert "getLogger(__name__)" in source()
    with caplog.at_level(logging.WARNING, logger="bitsandbytes"):  # quantized loading raises it
        logging.getLogger(LOGGER).warning(line, "No module named 'kernels'")
        logging.getLogger(LOGGER).warning("Failed to load the library")
        logging.getLogger("bitsandbytes").warning("no GPU")
    assert caplog.messages == ["Failed to load the library", "no GPU"]
