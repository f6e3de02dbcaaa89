"""Critic-instruction rows: where they come from, what they must be, and what they look like."""
