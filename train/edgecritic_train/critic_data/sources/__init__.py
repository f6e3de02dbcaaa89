"""Where critic rows come from: published sets, local tables, the data engine."""
