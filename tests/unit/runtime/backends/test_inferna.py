"""llama.cpp by the package inferna: what the contract's tests do not see."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from edgecritic.backends import choose_backend
from edgecritic.backends.base import Append, Cancelled, CancelToken, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend, native
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.errors import BackendUnavailableError, MissingExtraError
from tiny_models import TinyModels

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, max_sequences=4)
SPAN = TextSpan(tuple(range(40, 90)))


def opened(models: TinyModels, package: native.Package, options: EngineOptions) -> LlamaCppBackend:
    return LlamaCppBackend(
        models.language_model,
        mmproj=models.mmproj,
        adapters=[models.adapter],
        options=options,
        package=package,
    )


def test_without_it_the_error_says_how_to_install_it(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_loaded", {})
    for module in ("inferna", "inferna.llama._llama_native"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match="inferna, a prebuilt llama") as caught:
        LlamaCppBackend(tiny_models.language_model, package="inferna")
    assert "edgecritic[inferna]" in caught.value.hint


def test_it_can_be_chosen_by_name(gguf_bundle: Bundle) -> None:
    assert choose_backend(gguf_bundle, "inferna") == "inferna"


class TestInstalled:
    """Where there are wheels of it."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("inferna", reason="inferna has no wheels for this Python")

    def test_logits_and_features_are_those_of_llama_cpp_python(
        self, tiny_models: TinyModels
    ) -> None:
        pytest.importorskip("llama_cpp")
        tiles = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), dtype=np.uint8)
        found = []
        for package in ("inferna", "llama-cpp-python"):
            backend = opened(tiny_models, package, OPTIONS)
            (logits,) = backend.append([Append(backend.open_sequence(), (SPAN,))])
            found.append((logits, backend.encode_tiles(tiles), backend.tokenize("a 7 <|im_end|>")))
            backend.close()
        (logits, features, tokens), (expected, expected_features, expected_tokens) = found
        # Measured 0.002, at a deviation of 1.
        np.testing.assert_allclose(logits, expected, atol=5e-3)
        np.testing.assert_allclose(features, expected_features, atol=5e-3)
        assert tokens == expected_tokens

    def test_it_stops_while_it_computes(self, tiny_models: TinyModels) -> None:
        options = EngineOptions(n_ctx=1 << 14, n_batch=1 << 14, n_ubatch=64, n_threads=1)
        backend = opened(tiny_models, "inferna", options)
        token = CancelToken()
        timer = Timer(0.1, token.cancel)
        timer.start()
        sequence = backend.open_sequence()
        with pytest.raises(Cancelled):
            backend.append([Append(sequence, (TextSpan((70,) * 16_000),))], token)
        timer.join()
        backend.close_sequence(sequence)
        assert backend.append([Append(backend.open_sequence(), (SPAN,))])[0] is not None
        backend.close()

    def test_two_that_see_at_once_leave_standard_error_alone(
        self, tiny_models: TinyModels, capfd: pytest.CaptureFixture[str]
    ) -> None:
        tiles = np.zeros((20, 28, 28, 3), dtype=np.uint8)
        backends = [opened(tiny_models, "inferna", OPTIONS) for _ in range(2)]
        with ThreadPoolExecutor(2) as pool:
            features = list(pool.map(lambda backend: backend.encode_tiles(tiles), backends))
        np.testing.assert_array_equal(*features)
        os.write(2, b"still there")
        assert capfd.readouterr() == ("", "still there")
        for backend in backends:
            backend.close()

    def test_a_gpu_that_is_not_there(self, tiny_models: TinyModels) -> None:
        with pytest.raises(BackendUnavailableError, match="sees no GPU"):
            opened(tiny_models, "inferna", EngineOptions(device="gpu"))

    def test_a_process_survives_all_unfit_files_and_ends_quietly(self) -> None:
        code = """
            import sys, tempfile
            from pathlib import Path
            sys.path.append(sys.argv[1])
            import test_llamacpp as tests
            from edgecritic.errors import ArtifactError
            folder = Path(tempfile.mkdtemp())
            models = tests.make_tiny_models(folder)
            for damage in tests.DAMAGES:
                arguments = {"language_model": models.language_model, "mmproj": models.mmproj}
                try:
                    tests.LlamaCppBackend(**(arguments | damage(models, folder)), package="inferna")
                except ArtifactError:
                    print(damage.__name__)
            good = tests.LlamaCppBackend(
                models.language_model, mmproj=models.mmproj, package="inferna"
            )
            print(tests.decode(good, tests.TextSpan((5, 6))).shape)
            print(good.encode_tiles(tests.np.zeros((1, 28, 28, 3), dtype=tests.np.uint8)).shape)
            sys.exit(3)
        """
        command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (3, "")
        *names, logits, features, end = done.stdout.split("\n")
        assert len(names) == len(set(names)) > 15
        assert (logits, features, end) == ("(264,)", "(1, 16, 64)", "")
