"""Draws what a command shows in a terminal as an SVG picture, for the README.

    python scripts/terminal_picture.py docs/images/demo.svg edgecritic demo

The command runs in a pseudo terminal, so it shows its colours. What it overwrites while it works
(progress lines) is left out: of each line the picture has the last state.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS = 96
# A picture in a repository must not fetch fonts from elsewhere.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def screen(command: list[str]) -> tuple[str, int]:
    """What `command` writes to its terminal, and its exit status."""
    written: list[bytes] = []

    def keep(terminal: int) -> bytes:
        written.append(os.read(terminal, 4096))
        return written[-1]

    os.environ |= {"COLUMNS": str(COLUMNS), "LINES": "200", "TERM": "xterm-256color"}
    os.environ.pop("NO_COLOR", None)
    status = os.waitstatus_to_exitcode(pty.spawn(command, keep))
    return b"".join(written).decode(errors="replace").replace("\r\n", "\n"), status


def last_states(text: str) -> str:
    """Each line as it stood when the next one began."""
    return "\n".join(line.rsplit("\r", 1)[-1] for line in text.split("\n"))


def main() -> int:
    """Run the command line; returns the command's exit status."""
    if len(sys.argv) < 3:
        sys.stderr.write("usage: terminal_picture.py OUT.svg COMMAND...\n")
        return 2
    out, command = Path(sys.argv[1]), sys.argv[2:]
    shown, status = screen(command)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ ", "bold") + Text(shlex.join(command)))
    console.print(Text.from_ansi(last_states(shown)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(console.export_svg(title="edgecritic", code_format=FORMAT), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
