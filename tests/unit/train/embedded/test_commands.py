from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic.errors import CriticError
from edgecritic_train.embedded.train import chosen, configured, emphasised, main


def test_budgets_replace_those_of_the_named_stages() -> None:
    config = configured(["sft=60"], ["align=8"])
    assert (config.sft.seconds, config.align.batch) == (60, 8)
    with pytest.raises(CriticError, match="no stage 'sfft'"):
        configured(["sfft=60"], [])
    with pytest.raises(CriticError, match="--seconds sft=long: 'long' is not a positive number"):
        configured(["sft=long"], [])
    with pytest.raises(CriticError, match=r"'1\.5' is not a positive whole number"):
        configured([], ["sft=1.5"])


def test_only_stages_that_there_are_run() -> None:
    assert chosen("align,sft") == ["align", "sft"]
    with pytest.raises(CriticError, match="no stage 'stf'"):
        chosen("align,stf")


def test_a_pack_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ["--assets", str(tmp_path / "none.zip"), "--language-model", "lm.gguf"]
    with pytest.raises(CriticError, match="no asset pack at"):
        main([*asked, "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize("share", ["7", "-0.1", "some", "nan"])
def test_a_share_lies_between_none_and_all(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--assets", "a.zip", "--language-model", "lm.gguf", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        main([*asked, f"--distractions={share}"])
    assert "is not a number from 0 to 1" in capsys.readouterr().err


def test_emphasis_is_read_by_kind() -> None:
    assert emphasised(["chart_value=5", "word=0.5"]) == {"chart_value": 5.0, "word": 0.5}


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("charts=5", "no question type 'charts'"),
        ("word", "'' is not a positive number"),
        ("word=often", "'often' is not a positive number"),
        ("word=0", "'0' is not a positive number"),
        ("word=inf", "'inf' is not a positive number"),
    ],
)
def test_what_is_no_emphasis_is_named(pair: str, says: str) -> None:
    with pytest.raises(CriticError, match=says) as caught:
        emphasised([pair])
    assert caught.value.hint
