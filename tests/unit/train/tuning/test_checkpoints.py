"""Which folders count as checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic_train.tuning.checkpoints import (
    MARKER,
    drop_newer,
    is_complete,
    mark_complete,
    newest_complete,
    prune,
    replace_folder,
    restore_folder,
)


def checkpoint(run: Path, step: int, *, whole: bool = True) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"x" * 100)
    (folder / "state.json").write_text("{}")
    if whole:
        mark_complete(folder)
    return folder


def test_the_newest_whole_one_counts(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    wanted = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, whole=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_complete(tmp_path) == wanted
    assert newest_complete(tmp_path / "nothing") is None


@pytest.mark.parametrize("damage", ["short", "gone", "no marker", "empty marker", "half a marker"])
def test_what_is_damaged_does_not_count(tmp_path: Path, damage: str) -> None:
    folder = checkpoint(tmp_path, 4)
    assert is_complete(folder)
    marker = folder / MARKER
    {
        "short": lambda: (folder / "weights").write_bytes(b"x" * 99),
        "gone": (folder / "state.json").unlink,
        "no marker": marker.unlink,
        "empty marker": lambda: marker.write_text(""),
        "half a marker": lambda: marker.write_text(marker.read_text()[:20]),
    }[damage]()
    assert newest_complete(tmp_path) is None


def test_old_ones_go_and_a_whole_one_always_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 4, whole=False)
    prune(tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"checkpoint-{step}" for step in (2, 3, 4)
    ]
    drop_newer(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    (tmp_path / "checkpoint-2" / MARKER).unlink()
    prune(tmp_path, 1)
    assert (tmp_path / "checkpoint-2").is_dir()


def test_an_interrupted_replacement_is_undone(tmp_path: Path) -> None:
    best, part = tmp_path / "best", tmp_path / ".best.part"
    for folder, text in ((best, "old"), (part, "new")):
        folder.mkdir()
        (folder / "a").write_text(text)
    replace_folder(part, best)
    assert (best / "a").read_text() == "new"
    best.rename(tmp_path / ".best.old")  # killed between the two renamings
    restore_folder(best)
    assert (best / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
