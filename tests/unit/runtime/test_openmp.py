import os
import subprocess
import sys

import pytest

from edgecritic.openmp import brief_waits

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
LOADED = "from edgecritic.backends.llamacpp.native import load_native; load_native()"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def _set() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_waits_are_brief_for_what_is_loaded_meanwhile_alone() -> None:
    with brief_waits():
        assert _set() == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
    assert _set() == {}


@pytest.mark.parametrize("name", NAMES)
def test_waits_are_as_the_user_has_set_them(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "7")
    with brief_waits():
        assert _set() == {name: "7"}
    assert _set() == {name: "7"}


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is on Linux")
def test_threads_of_llama_cpp_sleep_soon_in_any_program_that_loads_it() -> None:
    pytest.importorskip("llama_cpp")
    environment = {**os.environ, "OMP_DISPLAY_ENV": "verbose"}  # libgomp tells when it is loaded
    program = f"{LOADED}; import os; print('OMP_WAIT_POLICY' in os.environ)"
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"
    assert "GOMP_SPINCOUNT = '1000'" in ran.stderr
