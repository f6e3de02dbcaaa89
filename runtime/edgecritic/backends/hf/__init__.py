"""The transformers engine, the reference for the others. Loaded when a backend is made."""

from edgecritic.backends.hf.engine import HfBackend

__all__ = ["HfBackend"]
