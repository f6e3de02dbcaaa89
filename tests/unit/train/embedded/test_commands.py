from __future__ import annotations

import pytest

from edgecritic.errors import CriticError
from edgecritic_train.embedded.train import configured, emphasised


def test_budgets_replace_those_of_the_named_stages() -> None:
    config = configured(["sft=60"], ["align=8"])
    assert (config.sft.seconds, config.align.batch) == (60, 8)
    with pytest.raises(CriticError, match="no stage 'sfft'"):
        configured(["sfft=60"], [])


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
