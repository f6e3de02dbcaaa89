"""Numbers that JSON cannot hold."""

from __future__ import annotations

import json
import math

from edgecritic_bench.numbers import write_json


def test_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "below" / "n.json"
    write_json(path, {"a": (1.5, math.nan), "b": {"c": [math.inf, "x", None, True]}})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(path.read_text(), parse_constant=refuse)
    assert found == {"a": [1.5, None], "b": {"c": [None, "x", None, True]}}
