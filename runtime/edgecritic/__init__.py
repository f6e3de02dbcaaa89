"""edgecritic."""
