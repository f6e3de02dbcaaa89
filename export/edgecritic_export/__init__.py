"""Turns trained checkpoints into the files that the runtime opens."""
