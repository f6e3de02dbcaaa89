"""What only the ONNX backend does: graphs and files, caches in place, cancelling, telemetry."""

from __future__ import annotations

import dataclasses
import gc
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx as onnx_package
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from edgecritic.backends.base import (
    Append,
    Cancelled,
    CancelToken,
    FloatArray,
    ImageSpan,
    Span,
    TextSpan,
)
from edgecritic.backends.onnx import OnnxBackend, OnnxFiles, engine, runtime
from edgecritic.backends.onnx import memory as memories
from edgecritic.backends.onnx.artifacts import DecoderFacts, check_decoder
from edgecritic.backends.onnx.memory import STEP, DeviceMemory, HostMemory
from edgecritic.backends.options import EngineOptions
from edgecritic.bundle import Bundle
from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    InputError,
    MissingExtraError,
)
from edgecritic.vision import ImageGeometry
from edgecritic_export.onnx.precision import Variant
from tiny_checkpoints import write_llava_onevision
from tiny_engines import GEOMETRY, write_onnx_bundles

OPTIONS = EngineOptions(n_ctx=256, n_threads=1, n_batch=64, max_sequences=8)
REPOSITORY = Path(__file__).parents[4]
WORDS = TextSpan(tuple(range(40, 90)))


@pytest.fixture(scope="module")
def backend(onnx: OnnxFiles) -> Iterator[OnnxBackend]:
    opened = OnnxBackend(onnx, geometry=GEOMETRY, options=OPTIONS)
    yield opened
    opened.close()


def append(backend: OnnxBackend, sequence: int, *spans: Span) -> FloatArray:
    (logits,) = backend.append([Append(sequence, spans)])
    assert logits is not None
    return logits


def decode(backend: OnnxBackend, *steps: Span) -> FloatArray:
    """Logits after `steps`, each of them an append of its own."""
    sequence = backend.open_sequence()
    for step in steps:
        logits = append(backend, sequence, step)
    backend.close_sequence(sequence)
    return logits


def run_python(code: str, *arguments: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the packages of this checkout."""
    folders = [str(REPOSITORY / name) for name in ("runtime", "export", "tests")]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Caches in place.


def test_forks_and_rewinds_are_exact_to_the_bit(backend: OnnxBackend) -> None:
    prefix, endings = WORDS, [TextSpan((5 + k, 6, 7)) for k in range(4)]
    trunk = backend.open_sequence()
    append(backend, trunk, prefix)
    branches = [backend.fork(trunk) for _ in endings]
    rows = [
        backend.append([Append(b, (e,)) for b, e in zip(branches, endings, strict=True)])
        for _ in range(2)  # the second time, every branch has to be laid out again
    ]
    for k, ending in enumerate(endings):
        np.testing.assert_array_equal(rows[0][k], decode(backend, prefix, ending))
        np.testing.assert_array_equal(rows[1][k], decode(backend, prefix, ending, ending))
    for sequence in (trunk, *branches):
        backend.close_sequence(sequence)


def test_a_batch_of_appends_is_exactly_one_by_one(backend: OnnxBackend) -> None:
    spans = [TextSpan(tuple(range(10 + k, 80 + 5 * k))) for k in range(3)]
    sequences = [backend.open_sequence() for _ in spans]
    rows = backend.append([Append(s, (span,)) for s, span in zip(sequences, spans, strict=True)])
    for sequence in sequences:
        backend.close_sequence(sequence)
    for row, span in zip(rows, spans, strict=True):
        np.testing.assert_array_equal(row, decode(backend, span))


def test_how_long_a_sequence_may_be_changes_nothing(onnx: OnnxFiles, backend: OnnxBackend) -> None:
    expected = decode(backend, WORDS, WORDS)
    for n_ctx in (100, 2000):
        other = OnnxBackend(onnx, options=dataclasses.replace(OPTIONS, n_ctx=n_ctx))
        np.testing.assert_array_equal(decode(other, WORDS, WORDS), expected)
        other.close()


def test_token_embeddings_as_features_equal_the_tokens(
    checkpoint: Path, backend: OnnxBackend
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    (table,) = (tensor for name, tensor in weights.items() if "embed_tokens" in name)
    features = table[list(WORDS.tokens)]
    expected = decode(backend, WORDS)
    for same in (features, np.asfortranarray(features), np.repeat(features, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(decode(backend, ImageSpan("words", same)), expected)


def edited(onnx: OnnxFiles, folder: Path, edit: Callable[[Any], object]) -> OnnxFiles:
    """The same critic with another decoder."""
    model = onnx_package.load(onnx.decoder)
    edit(model.graph)
    onnx_package.save(model, folder / "decoder.onnx")
    return dataclasses.replace(onnx, decoder=folder / "decoder.onnx")


def with_positions(graph: Any) -> None:
    """Let the attention rotate by an input instead of by the length of the past."""
    graph.input.append(
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "sequence"])
    )
    for node in graph.node:
        if node.op_type == "GroupQueryAttention":
            node.input.append("position_ids")


def without_kept_logits(graph: Any) -> None:
    """Give the logits of all positions."""
    keep = next(value for value in graph.input if value.name == "num_logits_to_keep")
    graph.input.remove(keep)
    graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), keep.name))


@pytest.mark.parametrize("edit", [with_positions, without_kept_logits])
def test_decoders_of_other_interfaces(
    onnx: OnnxFiles, backend: OnnxBackend, tmp_path: Path, edit: Callable[[Any], object]
) -> None:
    other = OnnxBackend(edited(onnx, tmp_path, edit), options=OPTIONS)
    for steps in ([WORDS], [WORDS, TextSpan((1, 2)), TextSpan((3,))]):
        np.testing.assert_allclose(decode(other, *steps), decode(backend, *steps), atol=1e-5)
    other.close()


def test_weights_in_other_files(onnx: OnnxFiles, backend: OnnxBackend, tmp_path: Path) -> None:
    changed = dataclasses.replace(onnx, decoder=tmp_path / "decoder.onnx")
    onnx_package.save(
        onnx_package.load(onnx.decoder),
        changed.decoder,
        save_as_external_data=True,
        location="decoder.onnx_data",
        size_threshold=1024,  # shapes stay in the model
    )
    with pytest.raises(ArtifactError, match=r"decoder\.onnx_data'.*no file of the bundle"):
        OnnxBackend(changed, options=OPTIONS)
    listed = dataclasses.replace(changed, external_data=(tmp_path / "decoder.onnx_data",))
    other = OnnxBackend(listed, options=OPTIONS)
    np.testing.assert_array_equal(decode(other, WORDS), decode(backend, WORDS))
    other.close()


class PretendedValue:
    """An OrtValue on a device that numpy does not reach."""

    def __init__(self, values: np.ndarray) -> None:
        self.update_inplace(values)

    def numpy(self) -> np.ndarray:
        return self._values.copy()

    def update_inplace(self, values: np.ndarray) -> None:
        self._values = values.copy()


def pretended_runtime() -> Any:
    """ONNX Runtime with a GPU that lies in main memory."""

    def value(values: np.ndarray, *device: object) -> PretendedValue:
        assert not device or device == ("cuda", 0)
        return PretendedValue(values)

    return SimpleNamespace(OrtValue=SimpleNamespace(ortvalue_from_numpy=value))


def test_both_memories_do_the_same(onnx: OnnxFiles) -> None:
    facts, pretended = check_decoder(onnx.decoder), pretended_runtime()
    host, device = HostMemory(pretended, facts, 16), DeviceMemory(pretended, facts, 16)
    rng = np.random.default_rng(0)
    written = rng.standard_normal(host.take(np.arange(0, 9)).shape).astype(np.float32)
    for memory in (host, device):
        memory.put(4, written)
        np.testing.assert_array_equal(memory.take(np.arange(4, 13)), written)
        assert not memory.take(np.arange(0, 4)).any()
        memory.put(6, memory.take(np.arange(4, 6)))
    np.testing.assert_array_equal(host.take(np.arange(0, 16)), device.take(np.arange(16)))


def test_memory_grows_with_the_sequence(onnx: OnnxFiles) -> None:
    facts = check_decoder(onnx.decoder)
    host = HostMemory(runtime.load_runtime(), facts, STEP + 100)
    first = host.generation
    host.put(STEP - 2, np.ones_like(host.take(np.arange(0, 2))))
    assert host.generation == first
    host.reserve(STEP + 1)
    assert [buffer.shape()[2] for buffer in host.buffers] == [STEP + 100] * 2 * facts.n_layers
    assert host.take(np.arange(STEP - 2, STEP)).all()
    assert not host.take(np.arange(STEP, STEP + 100)).any()
    assert host.buffers[0].numpy()[0, :, STEP - 2 : STEP].all()
    grown = host.generation
    assert grown != first
    host.reserve(1)
    assert host.generation == grown


def test_memory_that_cannot_grow_leaves_the_critic_usable(
    onnx: OnnxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = tuple(range(40, 140)), tuple(range(40, 60))
    monkeypatch.setattr(memories, "STEP", 32)
    with closing(OnnxBackend(onnx, options=OPTIONS)) as backend:
        expected = decode(backend, TextSpan(short)), decode(backend, TextSpan(long))
    real, calls = memories._longer, []

    def exhausted(values: np.ndarray, n_positions: int) -> np.ndarray:
        calls.append(n_positions)
        if len(calls) == 4:  # keys of both layers are longer by then, values of one
            raise MemoryError
        return real(values, n_positions)

    with closing(OnnxBackend(onnx, options=OPTIONS)) as backend:
        kept = backend.open_sequence()
        append(backend, kept, TextSpan(short[:-1]))
        monkeypatch.setattr(memories, "_longer", exhausted)
        with pytest.raises(MemoryError):
            decode(backend, TextSpan(long))
        last = append(backend, kept, TextSpan(short[-1:]))
        np.testing.assert_allclose(last, expected[0], atol=1e-5)
        np.testing.assert_array_equal(decode(backend, TextSpan(long)), expected[1])


def test_memory_on_a_gpu_doubles(onnx: OnnxFiles) -> None:
    facts = check_decoder(onnx.decoder)
    device = DeviceMemory(pretended_runtime(), facts, 7 * STEP)
    lengths = []
    for end in (1, STEP, STEP + 1, 2 * STEP + 1, 4 * STEP + 1):
        device.put(end - 1, np.full_like(device.take(np.arange(0, 1)), end))
        lengths.append({buffer.numpy().shape[2] for buffer in device.buffers})
    assert lengths == [{STEP}, {STEP}, {2 * STEP}, {4 * STEP}, {7 * STEP}]
    assert len(device.buffers) == 2 * facts.n_layers
    for end in (1, STEP, STEP + 1, 2 * STEP + 1):
        assert (device.take(np.arange(end - 1, end)) == end).all()
    assert not device.take(np.arange(1, STEP - 1)).any()


def test_logits_do_not_depend_on_how_often_memory_grew(
    onnx: OnnxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tuple(range(40, 200))

    def logits(step: int) -> list[np.ndarray]:
        monkeypatch.setattr(memories, "STEP", step)
        backend = OnnxBackend(onnx, options=dataclasses.replace(OPTIONS, n_batch=32))
        with closing(backend):
            sequence = backend.open_sequence()
            rows = []
            for start in range(0, len(tokens), 40):
                span = TextSpan(tokens[start : start + 40])
                rows += backend.append([Append(sequence, (span,))])
            other = backend.fork(sequence, 30)
            rows += backend.append([Append(other, (TextSpan((5, 6)),))])
            return rows

    for small, large in zip(logits(16), logits(1024), strict=True):
        np.testing.assert_array_equal(small, large)


# Cancelling, closing, several at once.


class StopsLater(CancelToken):
    """Asks to stop from the second look on: the first is the one between two runs."""

    looks = 0

    @property
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks > 1


def test_cancelling_within_a_run(onnx: OnnxFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_ASK_EVERY", 1e-4)
    whole = dataclasses.replace(OPTIONS, n_ctx=2048, n_batch=2048)
    opened = OnnxBackend(onnx, options=whole)
    long = TextSpan((70,) * 2000)  # one run, so only its own flag can stop it
    expected = decode(opened, WORDS)
    sequence = opened.open_sequence()
    with pytest.raises(Cancelled):
        opened.append([Append(sequence, (long,))], StopsLater())
    opened.close_sequence(sequence)
    np.testing.assert_array_equal(decode(opened, WORDS), expected)
    opened.close()


def test_closing_lets_everything_go(onnx: OnnxFiles) -> None:
    opened = OnnxBackend(onnx, geometry=GEOMETRY, options=OPTIONS)
    opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    decode(opened, WORDS)
    loaded = opened._loaded
    assert loaded is not None
    held = weakref.ref(loaded.model)
    memory = weakref.ref(loaded.model.memory)
    del loaded
    opened.close()
    gc.collect()
    assert (held(), memory()) == (None, None)


def test_two_backends_side_by_side(backend: OnnxBackend, tmp_path: Path) -> None:
    write_llava_onevision(tmp_path / "other", text="llama", tied=True, seed=1)
    other_files = OnnxFiles.of(write_onnx_bundles(tmp_path / "other", tmp_path / "onnx")["fp32"])
    other = OnnxBackend(other_files, options=OPTIONS)
    before = decode(backend, WORDS)
    assert np.abs(decode(other, WORDS) - before).max() > 0.1
    other.close()
    np.testing.assert_array_equal(decode(backend, WORDS), before)


def test_without_a_vision_tower(onnx: OnnxFiles) -> None:
    opened = OnnxBackend(dataclasses.replace(onnx, vision_encoder=None), options=OPTIONS)
    with pytest.raises(InputError, match="no vision tower"):
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    opened.close()


def test_features_that_are_not_finite(onnx: OnnxFiles, tmp_path: Path) -> None:
    assert onnx.vision_encoder is not None
    model = onnx_package.load(onnx.vision_encoder)
    name = model.graph.output[0].name
    last = next(node for node in model.graph.node if name in node.output)
    last.output[list(last.output).index(name)] = "small"
    huge = numpy_helper.from_array(np.array(np.inf, dtype=np.float32), "huge")
    model.graph.initializer.append(huge)
    model.graph.node.append(helper.make_node("Mul", ["small", "huge"], [name]))
    onnx_package.save(model, tmp_path / "vision.onnx")
    files = dataclasses.replace(onnx, vision_encoder=tmp_path / "vision.onnx")
    opened = OnnxBackend(files, geometry=GEOMETRY, options=OPTIONS)
    with pytest.raises(BackendUnavailableError, match="not finite"):
        opened.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    opened.close()


# Devices.


def test_a_gpu_where_there_is_none(onnx: OnnxFiles) -> None:
    with pytest.raises(BackendUnavailableError, match="without CUDA") as caught:
        OnnxBackend(onnx, options=dataclasses.replace(OPTIONS, device="gpu"))
    assert "onnxruntime-gpu" in caught.value.hint


def test_a_gpu_whose_libraries_do_not_load(
    onnx: OnnxFiles, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = runtime.load_runtime()
    monkeypatch.setattr(library, "get_available_providers", lambda: [runtime.CUDA, runtime.CPU])
    real = library.InferenceSession

    def fall_back(path: str, options: object, providers: list[str]) -> object:
        assert runtime.CPU in providers
        return real(path, options, providers=[runtime.CPU])

    monkeypatch.setattr(library, "InferenceSession", fall_back)
    with pytest.raises(BackendUnavailableError, match="did not load"):
        OnnxBackend(onnx, options=dataclasses.replace(OPTIONS, device="gpu"))
    opened = OnnxBackend(onnx, options=OPTIONS)
    assert opened.info.device == "cpu"
    np.testing.assert_array_equal(decode(opened, WORDS), decode(backend, WORDS))
    opened.close()


@pytest.mark.parametrize(("variant", "on_device"), [("q4f16", True), ("q4", False)])
def test_a_cache_lies_on_the_gpu_where_its_attention_can_run(
    onnx_bundles: dict[Variant, Bundle],
    monkeypatch: pytest.MonkeyPatch,
    variant: Variant,
    on_device: bool,
) -> None:
    """With a session that says it is CUDA's: which memory is taken, and of which type."""
    made: list[np.dtype] = []

    class Watched(HostMemory):
        def __init__(self, library: Any, facts: DecoderFacts, n_positions: int) -> None:
            super().__init__(library, facts, n_positions)
            made.append(self.take(np.arange(0, 1)).dtype)

    monkeypatch.setattr(engine, "DeviceMemory", Watched)
    monkeypatch.setattr(engine, "choose_provider", lambda *_: runtime.CUDA)
    monkeypatch.setattr(runtime.Session, "provider", runtime.CUDA)
    library = runtime.load_runtime()
    real = library.InferenceSession

    def on_the_cpu(path: str, options: object, providers: list[Any]) -> object:
        on_gpu = [(runtime.CUDA, runtime.CUDA_OPTIONS), runtime.CPU]
        assert providers in (on_gpu, [runtime.CPU])
        return real(path, options, providers=[runtime.CPU])

    monkeypatch.setattr(library, "InferenceSession", on_the_cpu)
    files = OnnxFiles.of(onnx_bundles[variant])
    opened = OnnxBackend(files, geometry=GEOMETRY, options=OPTIONS)
    assert opened.info.device == "cuda"
    assert made == ([np.dtype(np.float16)] if on_device else [])
    cache = check_decoder(files.decoder, files.external_data).cache
    assert cache == ("float16" if on_device else "float32")
    opened.close()


def test_a_cache_in_half_is_extended_forked_and_rewound(
    onnx_bundles: dict[Variant, Bundle],
) -> None:
    files = OnnxFiles.of(onnx_bundles["q4f16"])
    opened = OnnxBackend(files, geometry=GEOMETRY, options=OPTIONS)
    whole = decode(opened, TextSpan((*WORDS.tokens, 7, 8)))
    sequence = opened.open_sequence()
    append(opened, sequence, WORDS)
    rows = [
        append(opened, opened.fork(sequence), TextSpan(branch)) for branch in ((7, 8), (9,), (7, 8))
    ]
    np.testing.assert_array_equal(rows[0], rows[2])  # whatever was laid aside in between
    np.testing.assert_allclose(rows[0], whole, atol=0.05)
    assert np.abs(rows[0] - rows[1]).max() > 0.1
    opened.close()


def test_waiting_threads_do_not_spin_and_are_as_many_as_asked(
    onnx: OnnxFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = runtime.load_runtime()
    seen = []
    real = library.InferenceSession

    def look(path: str, options: Any, providers: list[str]) -> object:
        spinning = options.get_session_config_entry("session.intra_op.allow_spinning")
        seen.append((Path(path).stem.split("_")[0], options.intra_op_num_threads, spinning))
        return real(path, options, providers=providers)

    monkeypatch.setattr(library, "InferenceSession", look)
    options = dataclasses.replace(OPTIONS, n_threads=2)
    OnnxBackend(onnx, geometry=GEOMETRY, options=options).close()
    assert sorted(seen) == [("decoder", 2, "0"), ("embed", 1, "0"), ("vision", 2, "0")]


def test_the_engine_is_not_installed(onnx: OnnxFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        OnnxBackend(onnx, options=OPTIONS)
    assert "edgecritic[onnx]" in caught.value.hint


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> object:
        raise ImportError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(runtime, "import_module", fail)
    with pytest.raises(BackendUnavailableError, match="libcudart"):
        runtime.load_runtime()


# Files that ONNX Runtime must never see, or must refuse.

Damage = Callable[[OnnxFiles, Path], OnnxFiles]


def cut(files: OnnxFiles, folder: Path) -> OnnxFiles:
    (folder / "cut.onnx").write_bytes(files.decoder.read_bytes()[:-100])
    return dataclasses.replace(files, decoder=folder / "cut.onnx")


def a_page(files: OnnxFiles, folder: Path) -> OnnxFiles:
    (folder / "page.onnx").write_bytes(b"<html>not found</html>")
    return dataclasses.replace(files, vision_encoder=folder / "page.onnx")


def absent(files: OnnxFiles, folder: Path) -> OnnxFiles:
    return dataclasses.replace(files, embed_tokens=folder / "absent.onnx")


def another_suffix(files: OnnxFiles, folder: Path) -> OnnxFiles:
    shutil.copy(files.decoder, folder / "decoder.ort")
    return dataclasses.replace(files, decoder=folder / "decoder.ort")


def tower_as_decoder(files: OnnxFiles, _: Path) -> OnnxFiles:
    assert files.vision_encoder is not None
    return dataclasses.replace(files, decoder=files.vision_encoder)


def decoder_as_tower(files: OnnxFiles, _: Path) -> OnnxFiles:
    return dataclasses.replace(files, vision_encoder=files.decoder)


def decoder_as_table(files: OnnxFiles, _: Path) -> OnnxFiles:
    return dataclasses.replace(files, embed_tokens=files.decoder)


def no_tokenizer(files: OnnxFiles, folder: Path) -> OnnxFiles:
    (folder / "tokenizer.json").write_text("{}")
    return dataclasses.replace(files, tokenizer=folder / "tokenizer.json")


def a_table_of_another_width(files: OnnxFiles, folder: Path) -> OnnxFiles:
    model = onnx_package.load(files.embed_tokens)
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 65
    onnx_package.save(model, folder / "table.onnx")
    return dataclasses.replace(files, embed_tokens=folder / "table.onnx")


def a_tower_of_other_tiles(files: OnnxFiles, folder: Path) -> OnnxFiles:
    assert files.vision_encoder is not None
    model = onnx_package.load(files.vision_encoder)
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 56
    onnx_package.save(model, folder / "tower.onnx")
    return dataclasses.replace(files, vision_encoder=folder / "tower.onnx")


def weights_outside(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        graph.initializer[0].ClearField("raw_data")
        graph.initializer[0].data_location = TensorProto.EXTERNAL
        entry = graph.initializer[0].external_data.add()
        entry.key, entry.value = "location", "../../etc/passwd"

    return edited(files, folder, edit)


def a_layer_without_a_past(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        graph.input.remove(next(v for v in graph.input if v.name == "past_key_values.1.key"))

    return edited(files, folder, edit)


def a_present_of_another_shape(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        present = next(v for v in graph.output if v.name == "present.1.value")
        present.type.tensor_type.shape.dim[3].dim_value = 8

    return edited(files, folder, edit)


def an_input_more(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        graph.input.append(helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]))

    return edited(files, folder, edit)


def logits_of_free_length(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        graph.output[0].type.tensor_type.shape.dim[2].dim_param = "vocabulary"

    return edited(files, folder, edit)


def caches_of_integers(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        for value in (*graph.input, *graph.output):
            if value.name.startswith(("past_", "present")):
                value.type.tensor_type.elem_type = TensorProto.INT32

    return edited(files, folder, edit)


def plain_attention(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "GroupQueryAttention":
                node.op_type = "MultiHeadAttention"

    return edited(files, folder, edit)


def an_unknown_operator(files: OnnxFiles, folder: Path) -> OnnxFiles:
    def edit(graph: Any) -> None:
        graph.node[0].op_type = "ReduceByMagic"

    return edited(files, folder, edit)


DAMAGES: dict[Damage, str] = {
    cut: "reaches behind the end",
    a_page: "no usable ONNX model",
    absent: "cannot be read",
    another_suffix: "not named .onnx",
    tower_as_decoder: "is no decoder: it reads",
    decoder_as_tower: "is no vision encoder",
    decoder_as_table: "is no table of embeddings",
    no_tokenizer: "no byte-level BPE",
    a_table_of_another_width: "width 65",
    a_tower_of_other_tiles: "the bundle's pictures are",
    weights_outside: "reads weights from '../../etc/passwd'",
    a_layer_without_a_past: "takes 3 past keys and values",
    a_present_of_another_shape: r"present\.1\.value is",
    an_input_more: "wants the input 'use_cache_branch'",
    logits_of_free_length: "logits has no fixed last dimension",
    caches_of_integers: "is int32, not float32",
    plain_attention: "0 GroupQueryAttention operators for 2 layers",
    an_unknown_operator: "ONNX Runtime does not open",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_unfit_files(onnx: OnnxFiles, tmp_path: Path, damage: Damage) -> None:
    with pytest.raises(ArtifactError, match=DAMAGES[damage]) as caught:
        OnnxBackend(damage(onnx, tmp_path), geometry=GEOMETRY, options=OPTIONS)
    assert caught.value.hint


def test_more_context_than_the_decoder_has_positions(onnx: OnnxFiles) -> None:
    with pytest.raises(InputError, match="knows 2048 positions"):
        OnnxBackend(onnx, options=dataclasses.replace(OPTIONS, n_ctx=2049))


def test_tiles_of_another_bundle(onnx: OnnxFiles) -> None:
    geometry = ImageGeometry(28, 14, ((28, 28),))
    with pytest.raises(ArtifactError, match="4 features a tile"):
        OnnxBackend(onnx, geometry=geometry, options=OPTIONS)


@pytest.mark.parametrize("location", ["../secret.bin", "/{folder}/secret.bin", "link.bin"])
def test_the_engine_itself_stays_in_the_folder_too(tmp_path: Path, location: str) -> None:
    # The backend refuses such a model before; this is the second wall.
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    weight = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location.format(folder=tmp_path)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    opsets = [helper.make_opsetid("", 21)]
    onnx_package.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=10), inside / "m.onnx"
    )
    library = runtime.load_runtime()
    with pytest.raises(ArtifactError, match="External data path"):
        runtime.Session(library, inside / "m.onnx", provider=runtime.CPU, n_threads=1)


# Within a process.

JUDGE = """
    import sys
    from pathlib import Path
    sys.modules.update(torch=None, transformers=None)  # neither may be needed
    import numpy as np
    from edgecritic.backends.base import Append, CancelToken, TextSpan
    from edgecritic.backends.onnx import OnnxBackend, OnnxFiles
    from edgecritic.backends.options import EngineOptions
    from edgecritic.vision import ImageGeometry
    backend = OnnxBackend(
        OnnxFiles(*map(Path, sys.argv[1:])),
        geometry=ImageGeometry(28, 7, ((28, 28),)),
        options=EngineOptions(n_ctx=256, n_threads=1),
    )
    backend.encode_tiles(np.zeros((1, 28, 28, 3), dtype=np.uint8))
    sequence = backend.open_sequence()
    backend.append([Append(sequence, (TextSpan((5,) * 100),))], CancelToken())
"""


@pytest.mark.parametrize("ending", ["", "backend.close()", "raise SystemExit(3)"])
def test_a_process_ends_quietly_and_leaves_nothing_at_home(
    onnx: OnnxFiles, tmp_path: Path, ending: str
) -> None:
    code = textwrap.dedent(JUDGE) + ending
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
    assert onnx.vision_encoder is not None
    files = (onnx.decoder, onnx.embed_tokens, onnx.tokenizer, onnx.vision_encoder)
    done = run_python(code, *files, **home, ORT_DISABLE_TELEMETRY="0")
    expected = 3 if "SystemExit" in ending else 0
    assert (done.returncode, done.stdout, done.stderr) == (expected, "", "")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_backend_loads_no_engine() -> None:
    done = run_python(
        """
        import sys
        import edgecritic.backends.onnx, edgecritic.backends.hf, edgecritic.backends.tokens
        heavy = ("onnxruntime", "onnx", "tokenizers", "torch", "transformers")
        print([name for name in heavy if name in sys.modules])
        """
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
