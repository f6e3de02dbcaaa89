"""What PyInstaller freezes: the command `edgecritic`, for apps that bring no Python.

pyinstaller --onedir --name edgecritic edgecritic_sidecar.py
"""

from __future__ import annotations

import sys
from multiprocessing import freeze_support

from edgecritic.cli import main

if __name__ == "__main__":
    freeze_support()  # the server's workers are processes that run this program anew
    sys.exit(main())
