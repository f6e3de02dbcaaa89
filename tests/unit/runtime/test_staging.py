"""Tests of what appears whole or not at all, and of what killed runs leave."""

from __future__ import annotations

import os

import pytest

from edgecritic.staging import (
    bytes_written,
    link,
    remove_unfinished,
    scratch_folder,
    staged_folder,
    temporary,
    write_text,
)


def test_a_text_appears_whole_and_alone(tmp_path):
    write_text(tmp_path / "card.md", "ä\nb")
    assert (tmp_path / "card.md").read_bytes() == "ä\nb".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "card.md", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "card.md", "\ud800")
    assert (tmp_path / "card.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]


def test_only_temporary_paths_are_removed(tmp_path):
    (tmp_path / "kept").mkdir()
    for name in (".hidden", "model.gguf", "kept/.dotted.name"):
        (tmp_path / name).touch()
    temporary(tmp_path / "kept" / "model.gguf").touch()
    temporary(tmp_path / "folder").mkdir()
    remove_unfinished(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"kept", ".hidden", "model.gguf", "kept/.dotted.name"}


def test_bytes_are_counted_under_both_names(tmp_path):
    target = tmp_path / "model.onnx"
    assert bytes_written(target) == 0
    temporary(target).write_bytes(b"123")
    (tmp_path / "model.onnx_data").write_bytes(b"45")
    (tmp_path / "other").write_bytes(b"6789")
    assert bytes_written(target) == 5


def test_a_link_is_the_same_file(tmp_path):
    (tmp_path / "source").write_text("x")
    assert link(tmp_path / "source", tmp_path / "target")
    assert os.path.samefile(tmp_path / "source", tmp_path / "target")
    assert not link(tmp_path / "nothing", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "x"


def test_a_scratch_folder_begins_empty_and_leaves_nothing(tmp_path):
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "of a killed run").touch()
    with scratch_folder(tmp_path / "out") as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "meanwhile").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_staged_folder_appears_when_all_went_well(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with staged_folder(out) as staged:
        (staged / "file").touch()
        assert list(out.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["file"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_staged_folder_that_failed_is_not_there(tmp_path):
    with pytest.raises(FileExistsError), staged_folder(tmp_path / "out") as staged:
        staged.mkdir()
    assert list(tmp_path.iterdir()) == []


def test_a_staged_folder_does_not_replace_files(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(OSError, match="not empty"), staged_folder(out) as staged:
        (staged / "file").touch()
    assert [path.name for path in out.iterdir()] == ["mine"]
