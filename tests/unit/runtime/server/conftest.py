"""A server that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving import Running, serving


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """One with default options and a scripted critic."""
    with serving() as running:
        yield running
