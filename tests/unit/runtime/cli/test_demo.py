"""The demo, its cases and its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ran
from edgecritic.backends.base import EngineInfo
from edgecritic.critic import Critic
from edgecritic.demo import demo_cases
from edgecritic.errors import ArtifactError
from edgecritic.vision import ImageLimits, load_image

CASE = '[[case]]\ntitle="t"\nimage="a.png"\nquestion="q"\nresponses=["right","b"]\nright=0\n'


def test_the_package_s_cases_can_be_judged() -> None:
    cases = demo_cases()
    assert len(cases) >= 3
    assert {case.right for case in cases} == {0, 1}  # no position is always right
    for case in cases:
        load_image(case.image, ImageLimits())


def test_the_pictures_are_small() -> None:
    assert sum(path.stat().st_size for path in demo_cases()[0].image.parent.iterdir()) < 300_000


def test_the_demo_judges_every_case_both_ways(run: Callable[..., Ran]) -> None:
    ran = run("demo", "--json")
    settings = [(line["case"], line["setting"]) for line in ran.json]
    expected = ("pointwise", "pointwise", "pairwise")
    assert settings == [(case.title, setting) for case in demo_cases() for setting in expected]
    assert all(line["verdict"]["status"] == "ok" for line in ran.json)


def test_the_demo_s_summary_counts_what_was_right(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picture = demo_cases()[0].image.read_bytes()
    (tmp_path / "a.png").write_bytes(picture)
    (tmp_path / "cases.toml").write_text(CASE + CASE.replace("right=0", "right=1"))
    cases = demo_cases(tmp_path)
    monkeypatch.setattr("edgecritic.cli.demo.demo_cases", lambda: cases)
    out = " ".join(run("demo").out.split())
    assert "higher score in 1 of 2 cases and was preferred in 1 of 2." in out
    assert "(the right answer)" in out
    assert str(tmp_path / "a.png") in out.replace(" ", "")


def test_the_demo_says_what_llama_cpp_adds_where_it_is_missing(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "make llama" not in run("demo").err
    monkeypatch.setattr(Critic, "info", EngineInfo("onnx", "onnxruntime 1", "cpu"))
    assert "make llama" not in run("demo").err
    monkeypatch.setattr("edgecritic.backends.find_spec", lambda name: None)
    ran = run("demo")
    assert "edgecritic[llama]" in ran.err
    assert "make llama" not in run("demo", "--json").err


@pytest.mark.parametrize(
    "broken",
    [
        "case = 1",
        "not toml",
        CASE.replace("a.png", "nowhere.png"),
        CASE.replace("right=0", "right=2"),
        CASE.replace('["right","b"]', '["right"]'),
        CASE.replace('question="q"', ""),
    ],
)
def test_broken_cases_are_an_artifact_error(tmp_path: Path, broken: str) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "cases.toml").write_text(broken)
    with pytest.raises(ArtifactError, match=r"cases\.toml"):
        demo_cases(tmp_path)
