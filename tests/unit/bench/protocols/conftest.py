"""A judge for the benchmarks' rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from edgecritic_bench.protocols.judging import judge_rows
from edgecritic_bench.protocols.replies import Reply, read_replies
from edgecritic_bench.provenance import Provenance
from scripted_critic import scripted_critic

RUN = Provenance("a machine", "a system", (("numpy", "2.0"),), "2026-01-01T00:00+00:00", "bench")


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., tuple[Reply, ...]]:
    """Judge rows with the scripted critic, which likes what says "right", and read it back."""

    numbers = count()

    def judge(rows: Any, *, scored: bool = False) -> tuple[Reply, ...]:
        out = tmp_path / "judged" / f"replies-{next(numbers)}.jsonl"
        replies = tuple(judge_rows(scripted_critic(), rows, out, RUN, scored=scored))
        assert read_replies(out) == replies
        return replies

    return judge
