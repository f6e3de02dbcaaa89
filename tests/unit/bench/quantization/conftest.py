"""One simulated run and its report, which many tests read."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from edgecritic_bench.provenance import Provenance
from edgecritic_bench.quantization.report import build_report
from edgecritic_bench.quantization.run import Run
from simulated_ladder import LADDER, simulated_run

MADE = Provenance("a machine", "a system", (("numpy", "2"),), "2026-01-01T00:00+00:00", "bench x")
SOME = tuple(LADDER[k] for k in (0, 1, 2, 4, 5, 8))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return simulated_run(tmp_path_factory.mktemp("ladder"), 60, SOME, attacks=3)


@pytest.fixture(scope="session")
def report(run: Run) -> dict[str, Any]:
    return build_report(run, 0.02, MADE, reasons=False)


@pytest.fixture(scope="session")
def crowded(report: dict[str, Any]) -> dict[str, Any]:
    """The same report with twenty arms more, of long names, beside each other in every figure."""
    many = deepcopy(report)
    for number in range(20):
        arm = deepcopy(report["arms"][4])
        arm["arm"]["name"] = name = f"gguf Q{number}_K_M text imatrix"
        arm["cost"]["n_bytes"] += number * 100_000
        many["arms"].append(arm)
        for sample in many["samples"]:
            sample["said"][name] = sample["said"]["gguf Q2_K"]
    return many
