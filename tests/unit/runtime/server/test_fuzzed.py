"""Whatever the published schemas allow, and much that they do not, gets a documented answer.

A short run; ``scripts/fuzz_server.py`` makes long ones.
"""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from edgecritic.server.schema.openapi import openapi
from serving import Running

PATHS = (
    "/v1/judge/score",
    "/v1/judge/rank",
    "/v1/judge/batch",
    "/v1/chat/completions",
    "/v1/rerank",
)
SCHEMA = schemathesis.openapi.from_dict(openapi("scripted"))


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_a_documented_one(server: Running, path: str, mode: object) -> None:
    operation = SCHEMA[path]["POST"]

    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        if path == "/v1/chat/completions" and isinstance(case.body, dict):
            case.body["max_tokens"] = 4  # how much is written is not what is fuzzed
        # No schema can say that a text must be a picture, or must not be blank.
        excluded = [positive_data_acceptance]
        case.call_and_validate(base_url=server.url, timeout=120, excluded_checks=excluded)

    run()
