"""The ONNX Runtime engine. The library is loaded when a backend is made, not on import."""

from edgecritic.backends.onnx.engine import OnnxBackend, OnnxFiles

__all__ = ["OnnxBackend", "OnnxFiles"]
