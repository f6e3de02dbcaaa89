"""By which names tables hold responses."""

from __future__ import annotations

import pytest

from edgecritic import InputError
from edgecritic.response_columns import RESPONSE_COLUMNS, is_response_column, responses_in


def test_what_holds_none_is_not_named() -> None:
    for record in ({}, {"first": "a"}, {"responses": None}, {"responses": ""}, {"response_0": "a"}):
        assert responses_in(record) == []
    for name in ("response_0", "response_", "responses_1", "First", "response_100"):
        assert not is_response_column(name)


def test_all_ways_are_found_in_their_order() -> None:
    record = dict.fromkeys(RESPONSE_COLUMNS, "a") | {"responses": '["b"]'}
    names = [form.names for form in responses_in(record)]
    assert sorted(name for form in names for name in form) == sorted(RESPONSE_COLUMNS)
    assert names[0] == ("chosen", "rejected")
    assert [form.texts for form in responses_in(record)][1] == ["b"]
    assert all(map(is_response_column, RESPONSE_COLUMNS))


def test_a_cell_that_is_no_text_is_named() -> None:
    (form,) = responses_in({"first": "a", "second": 3})
    with pytest.raises(InputError, match="second is 3, not text"):
        _ = form.texts
