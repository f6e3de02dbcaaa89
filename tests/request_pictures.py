"""A picture as requests carry it."""

from __future__ import annotations

import base64
from pathlib import Path

import edgecritic

PICTURE = Path(edgecritic.__file__).parent / "demo_images" / "seven.png"
DATA_URL = "data:image/png;base64," + base64.b64encode(PICTURE.read_bytes()).decode()
