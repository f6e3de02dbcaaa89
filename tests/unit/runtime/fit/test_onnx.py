"""Memory of an ONNX critic: what its files hold, and what opening them takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgecritic.backends.onnx import OnnxFiles
from edgecritic.backends.options import EngineOptions
from edgecritic.fit.onnx import _opening, _Weights, onnx_costs
from edgecritic.fit.pace import LayerShape
from edgecritic.fit.parts import Probe
from edgecritic.fit.stand_in_graph import write_layers
from edgecritic.fit.workload import Workload

LAYER = LayerShape(128, 256, 4, 2, 32, ("int8",))


def probe(kind: str) -> Probe:
    """Weights that become twice as large, and three times while they do."""
    return Probe(base=0, word=0.0, resident=2.0, loading=3.0)


def test_while_weights_are_parsed_the_largest_is_there_twice_more() -> None:
    stored = Counter({"fp16": 100, "table": 50})
    inside = _opening(_Weights(stored, largest=40), probe)
    mapped = _opening(_Weights(stored, mapped=150, largest=40), probe)
    assert (inside, mapped) == (100 + 2 * 40, 100 + 40)


@pytest.mark.parametrize("kind", ["fp32", "int8", "int4"])
def test_layers_are_those_of_the_decoder(tmp_path: Path, kind: str) -> None:
    shape = LayerShape(128, 256, 4, 2, 32, (kind,))
    path = tmp_path / "decoder.onnx"
    write_layers(path, shape, 3, 600)
    files = OnnxFiles(path, path, path, external_data=tuple(tmp_path.glob("*_data")))
    workload = Workload(None)
    costs = onnx_costs(files, EngineOptions(n_ctx=512), workload, workload.picture(None), probe)
    ((found, count),) = costs.work.layers.items()
    assert (found, count) == (shape, 3)
    assert not costs.work.together
    held = costs.ram["decoder"] / 2
    assert held == pytest.approx(sum(file.stat().st_size for file in tmp_path.iterdir()), rel=0.4)
