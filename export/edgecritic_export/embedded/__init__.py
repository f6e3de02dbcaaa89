"""A training run of the embedded critic as the bundle that ships with the package."""
