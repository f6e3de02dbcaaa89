"""The onnx package, or an error that says how to install it."""

from __future__ import annotations

from edgecritic.errors import MissingExtraError

try:
    import onnx
except ImportError as error:
    raise MissingExtraError(
        "writing ONNX files needs the onnx package", "pip install 'edgecritic[export]'"
    ) from error

__all__ = ["onnx"]
