"""Checkpoints to bundles: planned first, written file by file, checked at the end."""
