"""A disk that is really full: the file is named, whatever closing it says as well."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from edgecritic.errors import ArtifactError
from edgecritic_train.critic_data.journal import Journal
from edgecritic_train.critic_data.writing import write_json

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")


@dataclass
class _Entry:
    key: str


@contextmanager
def _no_room() -> Iterator[None]:
    """No file may grow beyond 10 bytes: the system refuses, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_report_that_finds_no_room_is_named(tmp_path: Path) -> None:
    with _no_room(), pytest.raises(ArtifactError, match=r"report\.json cannot be written"):
        write_json(tmp_path / "report.json", {"rows": "x" * 100})
    assert not list(tmp_path.iterdir())


def test_a_journal_that_finds_no_room_is_named_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Journal(path, lambda data: _Entry(**data), asdict) as journal:
        journal.append(_Entry("first"))
    with (
        _no_room(),
        pytest.raises(ArtifactError, match=r"ledger\.jsonl cannot be written"),
        Journal(path, lambda data: _Entry(**data), asdict) as journal,
    ):
        journal.append(_Entry("second"))
    with Journal(path, lambda data: _Entry(**data), asdict) as journal:
        assert set(journal.entries) == {"first"}
