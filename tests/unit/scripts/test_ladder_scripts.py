"""The two scripts behind the ladder's figures: mixes of types, and runs on two devices."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgecritic_bench.quantization.arms import write_arms
from simulated_ladder import LADDER, simulated_run

SCRIPTS = Path(__file__).parents[3] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_what_costs_least_for_its_bytes_is_rounded_first():
    mix = script("find_mix")
    groups = [
        mix.Group("tender", ("a",), 8_000_000, mix.TYPES),
        mix.Group("tough", ("b",), 8_000_000, mix.TYPES),
        mix.Group("long", ("c",), 8_000_000, mix.LONG_TYPES),
    ]
    damages = {
        "tender": mix.Damage(1e-2, 0.1),
        "tough": mix.Damage(1e-5, 0.0),
        "long": mix.Damage(1e-5, 0.0),
    }

    def size(types: dict[str, str]) -> float:
        return 100 + sum(g.n_weights * dict(g.types)[types[g.name]] / 8 for g in groups)

    whole = mix.mixed(groups, damages, 100, 30_000_000)
    assert set(whole.values()) == {"Q8_0"}
    some = mix.mixed(groups, damages, 100, 18_000_000)
    assert some["tender"] == "Q8_0"
    assert some["tough"] == "IQ4_NL"
    assert size(some) <= 18_000_000
    # A budget that nothing meets gives the smallest mix there is.
    assert mix.mixed(groups, damages, 100, 0) == {
        "tender": "IQ4_NL",
        "tough": "IQ4_NL",
        "long": "Q3_K",
    }
    assert mix.Damage(4e-3, 0).at(mix.PROBE_BITS + 1) == pytest.approx(1e-3)


def test_layers_fall_into_thirds():
    mix = script("find_mix")
    found = {mix._group(f"blk.{n}.ffn_up.weight", 30) for n in (0, 9, 10, 19, 20, 29)}
    assert found == {"ffn_up early", "ffn_up middle", "ffn_up late"}
    assert mix._group("blk.3.attn_q.weight", 30) == "attn_q"
    assert mix._group("token_embd.weight", 30) == "token_embd"
    assert mix._group("blk.3.attn_norm.weight", 30) == ""


def test_runs_of_the_same_arms_are_compared(tmp_path, monkeypatch, capsys):
    runs = script("compare_runs")
    rungs = (LADDER[0], LADDER[2], LADDER[5])
    for name in ("one", "other"):
        run = simulated_run(tmp_path / name, 20, rungs, attacks=1)
        write_arms(tmp_path / name / "arms.json", run.arms)
    monkeypatch.setattr(
        sys, "argv", ["compare_runs.py", str(tmp_path / "one"), str(tmp_path / "other")]
    )
    assert runs.main() == 0
    told = capsys.readouterr().out
    assert "| gguf Q2_K | 0 of " in told
    assert "| 0.0000 | 0.000 |" in told
    flips = next(line for line in told.splitlines()[::-1] if line.startswith("| gguf Q2_K"))
    _, _, first, second, both, _ = (cell.strip() for cell in flips.split("|"))
    assert first == second
    assert first.startswith(f"{both} of ")
    assert int(both) > 0
    monkeypatch.setattr(sys, "argv", ["compare_runs.py", str(tmp_path), str(tmp_path)])
    assert runs.main() == 1
    assert "holds no run" in capsys.readouterr().err
