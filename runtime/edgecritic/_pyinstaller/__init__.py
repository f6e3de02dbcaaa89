"""What PyInstaller must know to freeze a program that judges.

It finds this folder by the entry point ``pyinstaller40`` wherever edgecritic is installed.
"""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Where the hooks lie."""
    return [str(Path(__file__).parent)]
