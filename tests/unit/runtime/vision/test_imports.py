import subprocess
import sys
from pathlib import Path

RUNTIME = Path(__file__).parents[4] / "runtime"


def test_the_vision_package_loads_no_engine():
    code = (
        f"import sys; sys.path.insert(0, {str(RUNTIME)!r}); import edgecritic.vision; "
        "print({'torch', 'transformers', 'llama_cpp', 'onnxruntime', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
