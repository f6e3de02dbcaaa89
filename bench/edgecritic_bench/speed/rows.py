"""What a run has measured, one JSON line each, so that a run that was ended goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from edgecritic import InputError

Row: TypeAlias = dict[str, Any]


class Rows:
    """A file of rows. Each belongs to a cell, which is begun, filled and finished.

    A cell that was begun and not finished is begun again, and its old rows count no more.

    Args:
        path: of the file; made with the first row.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, list[Row]] = {}
        self._done: set[str] = set()
        for row in _read(path):
            self._take(row)

    def begin(self, cell: str) -> None:
        """What follows belongs to this cell."""
        self.add(cell, {"begun": True})

    def add(self, cell: str, row: Row) -> None:
        """Keep a row."""
        whole = {"cell": cell, **row}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(whole) + "\n")
        self._take(whole)

    def finish(self, cell: str, seconds: float) -> None:
        """The cell is complete."""
        self.add(cell, {"done": True, "seconds": seconds})

    def finished(self, cell: str) -> bool:
        """Whether it need not be measured again."""
        return cell in self._done

    def of(self, cell: str) -> list[Row]:
        """Rows of a cell."""
        return list(self._rows.get(cell, ()))

    def under(self, start: str) -> Iterator[tuple[str, Row]]:
        """Rows of all cells whose names start so, with the rest of the name."""
        for cell, rows in self._rows.items():
            if cell.startswith(start):
                for row in rows:
                    yield cell.removeprefix(start), row

    def _take(self, row: Row) -> None:
        cell = row["cell"]
        if row.get("begun"):
            self._rows[cell] = []
            self._done.discard(cell)
        elif row.get("done"):
            self._done.add(cell)
        else:
            self._rows.setdefault(cell, []).append(row)


def _read(path: Path) -> Iterator[Row]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "check its name") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(row["cell"], str):
                raise TypeError("cell is no text")
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # the run was ended while it wrote
                path.write_text("".join(f"{kept}\n" for kept in lines[:-1]), encoding="utf-8")
                return
            raise InputError(
                f"{path} line {number} is no row of this bench: {error!r}", "name another file"
            ) from error
        yield row
