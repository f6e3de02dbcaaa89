"""The llama.cpp engine. Its libraries are loaded when a backend is made, not on import."""

from edgecritic.backends.llamacpp.engine import LlamaCppBackend

__all__ = ["LlamaCppBackend"]
