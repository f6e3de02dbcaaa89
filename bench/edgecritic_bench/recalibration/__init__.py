"""A bundle's scores and ties corrected on some labelled rows, and how sure its scores are."""
