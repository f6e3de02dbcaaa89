"""Truth-by-construction data: assets, scenes, questions and graded responses."""
