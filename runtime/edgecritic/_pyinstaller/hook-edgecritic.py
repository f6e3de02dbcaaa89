"""edgecritic imports engines, commands and the server where they are used, and reads own files."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

# The reference engine is for laboratories: torch alone is larger than all the rest. pyarrow, which
# reads Parquet, would bring pandas, and that torch again.
_LEFT_OUT = ("edgecritic.backends.hf", "edgecritic._pyinstaller")

hiddenimports = collect_submodules("edgecritic", lambda name: not name.startswith(_LEFT_OUT))
excludedimports = ["huggingface_hub", "peft", "pyarrow", "safetensors", "torch", "transformers"]
datas = collect_data_files("edgecritic", excludes=["_pyinstaller"])
datas += copy_metadata("edgecritic")  # its version, and which commands there are
