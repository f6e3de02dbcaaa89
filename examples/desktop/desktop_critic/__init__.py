"""A small desktop app with the critic inside: one picture, one question, two responses."""
