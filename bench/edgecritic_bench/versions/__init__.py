"""Two versions of a critic on the same rows: what got better, what got worse, and for certain."""
