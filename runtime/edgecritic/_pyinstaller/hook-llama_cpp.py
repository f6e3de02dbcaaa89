"""llama.cpp's libraries are opened by path, where PyInstaller sees no import.

On Linux a wheel holds each three times, as ``libllama.so``, ``.so.0`` and ``.so.0.5.0``: the first
is what Python opens, the second what the libraries ask each other for.
"""

from __future__ import annotations

import re

from PyInstaller.utils.hooks import collect_dynamic_libs

# Of its chat handlers, which edgecritic does not use; transformers alone would bring torch.
excludedimports = ["huggingface_hub", "openai", "requests", "transformers"]
_FULL_VERSION = re.compile(r"\.so\.\d+\.\d+")

binaries = [
    (source, folder)
    for source, folder in collect_dynamic_libs(
        "llama_cpp", search_patterns=["*.dll", "*.dylib", "*.so", "*.so.*"]
    )
    if not _FULL_VERSION.search(source)
]
