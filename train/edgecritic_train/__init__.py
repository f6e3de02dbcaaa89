"""Training side of edgecritic: the data engine and the model that learns from it."""
