"""Checkpoints as they come: read lazily, renamed, merged with adapters."""
