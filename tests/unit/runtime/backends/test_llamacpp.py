"""What only the llama.cpp backend does: files, adapters, native logging, cancelling, exit."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgecritic.backends import threads
from edgecritic.backends.base import (
    Append,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    Span,
    TextSpan,
)
from edgecritic.backends.llamacpp import LlamaCppBackend, native
from edgecritic.backends.llamacpp.native import EngineLog
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    InputError,
    MissingExtraError,
)
from edgecritic_export.gguf.file import write_gguf
from edgecritic_export.gguf.lora import LoraConfig, write_lora
from edgecritic_export.gguf.mmproj import write_mmproj
from tiny_models import (
    TOWER,
    LanguageModelShape,
    TinyModels,
    lora_tensors,
    make_tiny_models,
    vision_tensors,
)

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, max_sequences=4)
REPOSITORY = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def backend(tiny_models: TinyModels) -> Iterator[LlamaCppBackend]:
    opened = LlamaCppBackend(tiny_models.language_model, mmproj=tiny_models.mmproj, options=OPTIONS)
    yield opened
    opened.close()


def decode(backend: LlamaCppBackend, *spans: Span) -> FloatArray:
    sequence = backend.open_sequence()
    (logits,) = backend.append([Append(sequence, spans)])
    backend.close_sequence(sequence)
    assert logits is not None
    return logits


def run_python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the packages of this checkout."""
    folders = [str(REPOSITORY / name) for name in ("runtime", "export", "tests")]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_token_embeddings_as_features_equal_the_tokens(
    backend: LlamaCppBackend, tiny_models: TinyModels
) -> None:
    tokens = tuple(backend.tokenize("the same either way"))
    features = tiny_models.token_embeddings[list(tokens)]
    np.testing.assert_allclose(
        decode(backend, ImageSpan("tokens", features)), decode(backend, TextSpan(tokens)), atol=1e-5
    )


def test_a_context_that_is_shorter_than_a_batch(tiny_models: TinyModels) -> None:
    # In a process of its own: llama.cpp aborts where a batch is longer than the context allows.
    done = run_python(
        """
        import sys
        from pathlib import Path
        from edgecritic.backends.base import Append, TextSpan
        from edgecritic.backends.llamacpp import LlamaCppBackend
        from edgecritic.backends.options import EngineOptions

        for n_ctx in (1, 100, 300):
            options = EngineOptions(n_ctx=n_ctx, n_threads=1)
            backend = LlamaCppBackend(Path(sys.argv[1]), options=options)
            span = TextSpan(tuple([5] * backend.info.n_ctx))
            backend.append([Append(backend.open_sequence(), (span,))])
            backend.close()
        """,
        tiny_models.language_model,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_features_of_any_memory_layout(backend: LlamaCppBackend, tiny_models: TinyModels) -> None:
    features = tiny_models.token_embeddings[5:25]
    expected = decode(backend, ImageSpan("plain", features))
    for same in (np.asfortranarray(features), np.repeat(features, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(decode(backend, ImageSpan("odd", same)), expected)


def test_an_adapter_changes_the_logits(backend: LlamaCppBackend, tiny_models: TinyModels) -> None:
    span = TextSpan((40, 50, 60))
    adapted = LlamaCppBackend(
        tiny_models.language_model, adapters=[tiny_models.adapter], options=OPTIONS
    )
    assert np.abs(decode(adapted, span) - decode(backend, span)).max() > 0.1
    adapted.close()


def test_two_adapters_add_up(tiny_models: TinyModels) -> None:
    span = TextSpan((40, 50, 60))
    rows = []
    for adapters in ([], [tiny_models.adapter], [tiny_models.adapter] * 2):
        opened = LlamaCppBackend(tiny_models.language_model, adapters=adapters, options=OPTIONS)
        rows.append(decode(opened, span))
        opened.close()
    assert np.abs(rows[2] - rows[1]).max() > 0.1


def test_without_a_vision_tower(tiny_models: TinyModels) -> None:
    opened = LlamaCppBackend(tiny_models.language_model, options=OPTIONS)
    with pytest.raises(InputError, match="no vision tower"):
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    opened.close()


class StopsWithin(CancelToken):
    """Is set between the last look at it and the computation."""

    @contextmanager
    def telling(self, hook: Callable[[], None]) -> Iterator[None]:
        hook()
        yield


def test_cancelling_within_a_batch(backend: LlamaCppBackend) -> None:
    span = TextSpan((70,) * 200)  # one batch, so only the abort callback can stop it
    expected = decode(backend, span)
    sequence = backend.open_sequence()
    with pytest.raises(Cancelled):
        backend.append([Append(sequence, (span,))], StopsWithin())
    backend.close_sequence(sequence)
    np.testing.assert_array_equal(decode(backend, span), expected)


def test_gpu_without_a_gpu(tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    library = native.load_native().llama
    monkeypatch.setattr(library, "llama_supports_gpu_offload", lambda: False)
    with pytest.raises(BackendUnavailableError, match="sees no GPU"):
        LlamaCppBackend(tiny_models.language_model, options=EngineOptions(device="gpu"))
    opened = LlamaCppBackend(tiny_models.language_model, options=EngineOptions(device="auto"))
    assert opened.info.device == "cpu"
    opened.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("n_ctx", 0), ("n_threads", 0), ("max_sequences", 257), ("n_batch", 0), ("device", "tpu")],
)
def test_impossible_options(setting: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{setting} is {value!r}"):
        EngineOptions(**{setting: value})


# Files that llama.cpp must never see, or must refuse without ending the process.

Damage = Callable[[TinyModels, Path], dict[str, object]]


def truncated(models: TinyModels, folder: Path) -> dict[str, object]:
    data = models.language_model.read_bytes()
    (folder / "cut.gguf").write_bytes(data[: len(data) // 2])
    return {"language_model": folder / "cut.gguf"}


def truncated_tower(models: TinyModels, folder: Path) -> dict[str, object]:
    (folder / "cut.gguf").write_bytes(models.mmproj.read_bytes()[:-64])
    return {"mmproj": folder / "cut.gguf"}


def not_gguf(_: TinyModels, folder: Path) -> dict[str, object]:
    (folder / "page.gguf").write_bytes(b"<html>not found</html>")
    return {"language_model": folder / "page.gguf"}


def absent(_: TinyModels, folder: Path) -> dict[str, object]:
    return {"language_model": folder / "absent.gguf"}


def tower_as_model(models: TinyModels, _: Path) -> dict[str, object]:
    return {"language_model": models.mmproj}


def adapter_as_model(models: TinyModels, _: Path) -> dict[str, object]:
    return {"language_model": models.adapter}


def model_as_tower(models: TinyModels, _: Path) -> dict[str, object]:
    return {"mmproj": models.language_model}


def model_as_adapter(models: TinyModels, _: Path) -> dict[str, object]:
    return {"adapters": [models.language_model]}


def other_architecture(models: TinyModels, folder: Path) -> dict[str, object]:
    data = models.language_model.read_bytes()
    name = b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"
    assert data.count(name + b"llama") == 1
    (folder / "other.gguf").write_bytes(data.replace(name + b"llama", name + b"mamba"))
    return {"language_model": folder / "other.gguf"}


def other_width(_: TinyModels, folder: Path) -> dict[str, object]:
    rng = np.random.default_rng(0)
    write_mmproj(vision_tensors(TOWER, 48, rng), TOWER, folder / "wide.gguf")
    return {"mmproj": folder / "wide.gguf"}


def adapter_of_qwen(_: TinyModels, folder: Path) -> dict[str, object]:
    config = LoraConfig("qwen2", n_head=4, n_head_kv=2, alpha=8.0)
    tensors = lora_tensors(LanguageModelShape(), np.random.default_rng(0))
    write_lora(tensors, config, folder / "qwen.gguf")
    return {"adapters": [folder / "qwen.gguf"]}


def adapter_of_a_larger_model(_: TinyModels, folder: Path) -> dict[str, object]:
    config = LoraConfig("llama", n_head=4, n_head_kv=2, alpha=8.0)
    tensors = lora_tensors(LanguageModelShape(n_embd=128), np.random.default_rng(0))
    write_lora(tensors, config, folder / "large.gguf")
    return {"adapters": [folder / "large.gguf"]}


def tower_without_its_last_layer(models: TinyModels, folder: Path) -> dict[str, object]:
    data = models.mmproj.read_bytes()
    key = b"clip.vision.feature_layer\x09\x00\x00\x00\x05\x00\x00\x00" + (1).to_bytes(8, "little")
    assert data.count(key) == 1
    at = data.index(key) + len(key)
    (folder / "layer.gguf").write_bytes(data[:at] + b"\x01" + data[at + 1 :])
    return {"mmproj": folder / "layer.gguf"}


def tower_with_a_transposed_matrix(_: TinyModels, folder: Path) -> dict[str, object]:
    """Valid as a file; llama.cpp loads it and ends the process on the first tile."""
    tensors = vision_tensors(TOWER, 64, np.random.default_rng(0))
    good = folder / "good.gguf"
    write_mmproj(tensors, TOWER, good, float_type="F32")
    changed = good.read_bytes()
    name = b"v.blk.0.ffn_up.weight" + (2).to_bytes(4, "little")
    shape = (32).to_bytes(8, "little") + (64).to_bytes(8, "little")
    assert changed.count(name + shape) == 1
    swapped = (64).to_bytes(8, "little") + (32).to_bytes(8, "little")
    (folder / "transposed.gguf").write_bytes(changed.replace(name + shape, name + swapped))
    return {"mmproj": folder / "transposed.gguf"}


def tower_of_another_projector(_: TinyModels, folder: Path) -> dict[str, object]:
    write_gguf(folder / "ldp.gguf", "clip", {"clip.projector_type": "ldp"}, {})
    return {"mmproj": folder / "ldp.gguf"}


def repeated_token(models: TinyModels, folder: Path) -> dict[str, object]:
    """llama.cpp asserts that tokens differ."""
    data = models.language_model.read_bytes()
    entry = (1).to_bytes(8, "little")
    assert data.count(entry + b"A" + entry + b"B") == 1
    changed = data.replace(entry + b"A" + entry + b"B", entry + b"A" + entry + b"A")
    (folder / "twice.gguf").write_bytes(changed)
    return {"language_model": folder / "twice.gguf"}


def token_with_a_nul(models: TinyModels, folder: Path) -> dict[str, object]:
    """To C it is "<", of which there is one already."""
    data = models.language_model.read_bytes()
    entry = (12).to_bytes(8, "little")
    assert data.count(entry + b"<|im_start|>") == 1
    changed = data.replace(entry + b"<|im_start|>", entry + b"<\0im_start|>")
    (folder / "nul.gguf").write_bytes(changed)
    return {"language_model": folder / "nul.gguf"}


def quantized_norm(models: TinyModels, folder: Path) -> dict[str, object]:
    """Valid as a file; llama.cpp loads it and ends the process on the first token."""
    data = models.language_model.read_bytes()
    shape = (1).to_bytes(4, "little") + (64).to_bytes(8, "little")
    claim = b"blk.0.ffn_norm.weight" + shape
    f32, q8_0 = (kind.to_bytes(4, "little") for kind in (0, 8))
    assert data.count(claim + f32) == 1
    (folder / "norm.gguf").write_bytes(data.replace(claim + f32, claim + q8_0))
    return {"language_model": folder / "norm.gguf"}


DAMAGES: dict[Damage, str] = {
    truncated: "behind the end of the file",
    truncated_tower: "behind the end of the file",
    not_gguf: "starts with b'<htm'",
    absent: "cannot read",
    tower_as_model: "it is 'clip'",
    adapter_as_model: "no language model",
    model_as_tower: "no vision tower",
    model_as_adapter: "no LoRA adapter",
    other_architecture: "it is 'mamba'",
    other_width: "width 48",
    adapter_of_qwen: "adapts 'qwen2'",
    adapter_of_a_larger_model: "incorrect shape",
    tower_without_its_last_layer: "feature_layer",
    tower_with_a_transposed_matrix: "ffn_up.weight is F32",
    tower_of_another_projector: "projector 'ldp' is not 'mlp'",
    repeated_token: "1 tokens appear twice",
    token_with_a_nul: "1 tokens appear twice",
    quantized_norm: "the vector 'blk.0.ffn_norm.weight' is Q8_0, not F32",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_unfit_files(tiny_models: TinyModels, tmp_path: Path, damage: Damage) -> None:
    arguments = {"language_model": tiny_models.language_model, "mmproj": tiny_models.mmproj}
    with pytest.raises(ArtifactError, match=DAMAGES[damage]) as caught:
        LlamaCppBackend(**(arguments | damage(tiny_models, tmp_path)))
    assert caught.value.hint


def test_a_process_survives_all_unfit_files(tiny_models: TinyModels) -> None:
    result = run_python(
        """
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
                tests.LlamaCppBackend(**(arguments | damage(models, folder)))
            except ArtifactError:
                print(damage.__name__)
        good = tests.LlamaCppBackend(models.language_model, mmproj=models.mmproj)
        print(tests.decode(good, tests.TextSpan((5, 6))).shape)
        """,
        Path(__file__).parent,
    )
    names = [damage.__name__ for damage in DAMAGES]
    assert result.stdout.split("\n") == [*names, "(264,)", ""]
    assert (result.returncode, result.stderr) == (0, "")


def test_a_vision_tower_is_checked_before_the_engine_is_loaded(tiny_models: TinyModels) -> None:
    result = run_python(
        """
        import sys
        from pathlib import Path
        from edgecritic.backends.llamacpp import LlamaCppBackend
        from edgecritic.errors import ArtifactError
        try:
            LlamaCppBackend(Path(sys.argv[1]), mmproj=Path(sys.argv[1]))
        except ArtifactError:
            print("llama_cpp" in sys.modules)
        """,
        tiny_models.language_model,
    )
    assert (result.stdout, result.stderr) == ("False\n", "")


# The native library within a Python process.


def test_importing_the_backends_loads_no_engine() -> None:
    result = run_python(
        """
        import sys
        import edgecritic.backends, edgecritic.backends.llamacpp, edgecritic.backends.scripted
        print([name for name in ("llama_cpp", "torch", "gguf") if name in sys.modules])
        """
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize("ending", ["", "backend.close()", "del backend", "raise SystemExit(3)"])
def test_a_process_ends_quietly(tiny_models: TinyModels, ending: str) -> None:
    result = run_python(
        f"""
        import sys
        from pathlib import Path
        import numpy as np
        from edgecritic.backends.base import Append, CancelToken, TextSpan
        from edgecritic.backends.llamacpp import LlamaCppBackend
        model, mmproj, adapter = map(Path, sys.argv[1:])
        backend = LlamaCppBackend(model, mmproj=mmproj, adapters=[adapter])
        backend.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
        sequence = backend.open_sequence()
        backend.append([Append(sequence, (TextSpan((5,) * 100),))], CancelToken())
        {ending}
        """,
        tiny_models.language_model,
        tiny_models.mmproj,
        tiny_models.adapter,
    )
    expected = 3 if "SystemExit" in ending else 0
    assert (result.returncode, result.stdout, result.stderr) == (expected, "", "")


def test_the_engine_logs_through_logging(
    tiny_models: TinyModels,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG, logger="edgecritic.engine"):
        opened = LlamaCppBackend(
            tiny_models.language_model, mmproj=tiny_models.mmproj, options=OPTIONS
        )
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
        opened.close()
    lines = [record.getMessage() for record in caplog.records]
    assert any("llama_context" in line for line in lines)
    assert any("clip" in line for line in lines)
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert all(line and "\n" not in line for line in lines)
    assert capfd.readouterr() == ("", "")


def test_log_lines_in_pieces(caplog: pytest.LogCaptureFixture) -> None:
    log = EngineLog()
    with caplog.at_level(logging.DEBUG, logger="edgecritic.engine"):
        for level, piece in ((2, b"loading"), (5, b" ."), (5, b".\n"), (4, b"no \xff\nluck\n")):
            log.write(level, piece)
    assert [record.getMessage() for record in caplog.records] == ["loading ..", "no \ufffd", "luck"]
    assert log.complaint() == "no \ufffd; luck"
    log.forget()
    assert log.complaint() == "the engine gave no reason"


def test_complaints_are_kept_where_nobody_reads_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = EngineLog()
    with caplog.at_level(logging.WARNING, logger="edgecritic.engine"):
        for level, piece in (
            (1, b"graph reused"),
            (5, b"\n"),
            (4, b"no"),
            (5, b" luck\n"),
            (2, b"on"),
        ):
            log.write(level, piece)
        log.write(3, b"once more\n")
    assert caplog.records == []
    assert log.complaint() == "no luck; once more"


def test_the_engine_is_not_installed(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_loaded", {})
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        LlamaCppBackend(tiny_models.language_model)
    assert "pip install 'edgecritic[llama]'" in caught.value.hint
    assert ("C++ compiler" in caught.value.hint) == (sys.platform == "linux")


def test_a_collected_backend_frees_its_model(tiny_models: TinyModels) -> None:
    opened = LlamaCppBackend(tiny_models.language_model, options=OPTIONS)
    handles = opened._handles
    del opened
    assert (handles.model, handles.context) == (None, None)


def test_two_backends_side_by_side(backend: LlamaCppBackend, tmp_path: Path) -> None:
    other_models = make_tiny_models(tmp_path, seed=8)
    other = LlamaCppBackend(other_models.language_model, options=OPTIONS)
    span = TextSpan((40, 50, 60))
    before = decode(backend, span)
    assert np.abs(decode(other, span) - before).max() > 0.1
    other.close()
    np.testing.assert_array_equal(decode(backend, span), before)


# Threads.


def test_threads_are_within_what_the_machine_has() -> None:
    assert 1 <= threads.default_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("max 100000", 4), ("200000 100000", 2), ("50000 100000", 1), ("broken", 4)],
)
def test_a_container_quota_limits_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, expected: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    monkeypatch.setattr(threads, "_CGROUP_QUOTA", quota)
    monkeypatch.setattr(threads, "_TOPOLOGY", tmp_path / "absent")
    monkeypatch.setattr(threads, "_allowed_cpus", lambda: {0, 1, 2, 3})
    assert threads.default_threads() == expected


def test_hyper_threads_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu in range(4):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    monkeypatch.setattr(threads, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(threads, "_CGROUP_QUOTA", tmp_path / "absent")
    monkeypatch.setattr(threads, "_allowed_cpus", lambda: {0, 1, 2, 3})
    assert threads.default_threads() == 2
