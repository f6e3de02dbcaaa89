"""Tables of judgements to make: read, judged together, and kept line by line.

Examples:
    >>> from pathlib import Path
    >>> from edgecritic import Critic
    >>> from edgecritic.batch import Results, judge_rows, read_rows
    >>> with Critic.load() as critic, Results.open(Path("out.jsonl"), {}) as results:
    ...     judge_rows(critic, read_rows(Path("answers.csv")), results)
"""

from __future__ import annotations

from edgecritic.batch.results import Results, Tally
from edgecritic.batch.rows import BatchOptions, BatchRow, read_rows
from edgecritic.batch.run import judge_rows

__all__ = ["BatchOptions", "BatchRow", "Results", "Tally", "judge_rows", "read_rows"]
