"""Starts the app: ``python -m desktop_critic [PICTURE]``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before anything loads OpenMP: threads that wait for work soon sleep, and free the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from PySide6.QtWidgets import QApplication

from desktop_critic.window import Window
from edgecritic import Critic


def main() -> int:
    """Show the window until it is closed."""
    app = QApplication(sys.argv)
    window = Window(lambda tell: Critic.load(on_event=tell))
    if len(sys.argv) > 1:
        window.picture.show_file(Path(sys.argv[1]))
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
