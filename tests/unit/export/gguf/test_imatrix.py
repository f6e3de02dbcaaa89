"""Importance is what torch's own hooks see; the file is llama.cpp's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic.backends.base import ImageSpan, Span, TextSpan
from edgecritic.backends.llamacpp.native import load_native
from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError
from edgecritic.language_layout import tensor_name
from edgecritic_export.checkpoints.folder import Checkpoint
from edgecritic_export.gguf.activations import ActivationTap
from edgecritic_export.gguf.file import write_gguf
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass
from edgecritic_export.gguf.imatrix import ImportanceMatrix, collect, without_pictures
from edgecritic_export.gguf.language_model import write_language_model
from tiny_checkpoints import write_llava_onevision

from .conftest import WideModel

OPTIONS = ForwardOptions(n_ctx=128, n_threads=1)


@pytest.fixture
def importance(wide: WideModel) -> ImportanceMatrix:
    return collect(wide.language_model, [wide.row(0), wide.row(1)], ("random",), OPTIONS)


def watched(
    model: LlavaOnevisionForConditionalGeneration, rows: Sequence[Sequence[Span]]
) -> dict[str, np.ndarray]:
    """Sums of squared inputs of every linear layer, by their names in GGUF."""
    sums: dict[str, np.ndarray] = {}
    hooks = []
    for name, module in model.model.language_model.named_modules():
        if isinstance(module, torch.nn.Linear):
            target = tensor_name(f"model.{name}.weight")

            def hook(_module: object, inputs: tuple[torch.Tensor], key: str = target) -> None:
                squares = inputs[0].double().square().sum((0, 1)).numpy()
                sums[key] = sums.get(key, 0) + squares

            hooks.append(module.register_forward_pre_hook(hook))
    embed = model.get_input_embeddings()
    for row in rows:
        pieces = [
            torch.from_numpy(span.features)
            if isinstance(span, ImageSpan)
            else embed(torch.tensor(span.tokens))
            for span in row
        ]
        with torch.inference_mode():
            model(inputs_embeds=torch.cat(pieces)[None])
    for handle in hooks:
        handle.remove()
    return sums


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_sums_are_those_of_the_model_itself(tmp_path: Path, architecture: str) -> None:
    torch.set_num_threads(1)
    write_llava_onevision(tmp_path, text=architecture, seed=1)
    with Checkpoint.open(tmp_path) as checkpoint:
        write_language_model(checkpoint, tmp_path / "lm.gguf", float_type="F32")
    rng = np.random.default_rng(2)
    features = rng.standard_normal((30, 64)).astype(np.float32)
    rows = [
        (TextSpan((1, 2, 3)), ImageSpan("a", features), TextSpan((4, 5))),
        (TextSpan(tuple(range(40))),),
    ]
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path)
    expected = watched(model.train(mode=False), rows)
    found = collect(tmp_path / "lm.gguf", rows, ("random",), OPTIONS)
    assert found.sums.keys() == expected.keys()
    for name, sums in expected.items():
        np.testing.assert_allclose(found.sums[name], sums, rtol=1e-2, err_msg=name)
        # Every position of every row went through every layer, the last one, too.
        assert found.counts[name] == 3 + 30 + 2 + 40
    assert (found.n_rows, found.datasets) == (2, ("random",))


def test_batches_do_not_matter(wide: WideModel, importance: ImportanceMatrix) -> None:
    small = replace(OPTIONS, n_batch=7)
    found = collect(wide.language_model, [wide.row(0), wide.row(1)], ("random",), small)
    assert found.counts == importance.counts
    for name in importance.names:
        np.testing.assert_allclose(found.sums[name], importance.sums[name], rtol=1e-2)


def test_without_pictures_only_text_counts(wide: WideModel) -> None:
    row = wide.row(0)
    text = without_pictures(row)
    assert [type(span) for span in text] == [TextSpan, TextSpan]
    found = collect(wide.language_model, [text], ("text",), OPTIONS)
    assert set(found.counts.values()) == {sum(map(len, text))}


def test_the_file_comes_back(importance: ImportanceMatrix, tmp_path: Path) -> None:
    importance.write(tmp_path / "imatrix.gguf")
    found = ImportanceMatrix.read(tmp_path / "imatrix.gguf")
    assert found.counts == importance.counts
    assert (found.datasets, found.n_rows) == (importance.datasets, importance.n_rows)
    for name in importance.names:
        np.testing.assert_array_equal(found.sums[name], importance.sums[name])
        np.testing.assert_array_equal(found.means(name), importance.means(name))


def test_the_format_is_that_of_llama_cpp(importance: ImportanceMatrix, tmp_path: Path) -> None:
    importance.write(tmp_path / "imatrix.gguf")
    reader = GGUFReader(tmp_path / "imatrix.gguf")
    keys = {key: field.contents() for key, field in reader.fields.items() if "." in key}
    assert keys["general.type"] == "imatrix"
    assert keys["imatrix.datasets"] == ["random"]
    assert keys["imatrix.chunk_count"] == 2
    assert keys["imatrix.chunk_size"] == 44
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors}
    assert shapes["blk.1.ffn_down.weight.in_sum2"] == (512, 1)
    assert shapes["blk.1.ffn_down.weight.counts"] == (1, 1)


def test_files_that_are_no_importance_matrix(wide: WideModel, tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    with pytest.raises(ArtifactError, match="no importance matrix in GGUF"):
        ImportanceMatrix.read(wide.language_model)
    metadata = {"general.type": "imatrix", "imatrix.chunk_count": 1}
    write_gguf(path, "imatrix", metadata, {})
    with pytest.raises(ArtifactError, match="no importance of any matrix"):
        ImportanceMatrix.read(path)
    sums, counts = "blk.0.attn_q.weight.in_sum2", "blk.0.attn_q.weight.counts"
    one = np.ones((1, 1), dtype=np.float32)
    for tensors, message in (
        ({sums: one}, "counts"),
        ({sums: np.ones((8, 4), dtype=np.float32), counts: one}, "not one F32 vector"),
        ({sums: one.astype(np.float16), counts: one}, "not one F32 vector"),
        ({sums: one, counts: one * 0}, "no importance of any"),
    ):
        write_gguf(path, "imatrix", metadata, tensors)
        with pytest.raises(ArtifactError, match=message):
            ImportanceMatrix.read(path)


def test_sums_that_overflowed_are_not_written(importance: ImportanceMatrix, tmp_path: Path) -> None:
    first = importance.names[0]
    broken = {**importance.sums, first: np.full(256, np.inf, dtype=np.float32)}
    with pytest.raises(ArtifactError, match=first):
        replace(importance, sums=broken).write(tmp_path / "imatrix.gguf")
    assert list(tmp_path.iterdir()) == []


def test_no_rows_and_rows_that_do_not_fit(wide: WideModel) -> None:
    def rows() -> Iterator[Sequence[Span]]:
        yield (TextSpan(tuple(range(129))),)

    with pytest.raises(InputError, match="no calibration rows"):
        collect(wide.language_model, [], (), OPTIONS)
    with pytest.raises(InputError, match="129 positions, the context 128"):
        collect(wide.language_model, rows(), (), OPTIONS)
    other = (ImageSpan("a", np.zeros((2, 64), dtype=np.float32)),)
    with pytest.raises(InputError, match="width 64, the model 256"):
        collect(wide.language_model, [other], (), OPTIONS)


def test_another_layout_of_tensors_is_noticed(
    wide: WideModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherGgml:
        """Sees another name where the structure says one is."""

        ggml_tensor_overhead = staticmethod(lambda: 1 << 10)
        ggml_get_name = staticmethod(lambda _address: b"another")

    monkeypatch.setattr("edgecritic_export.gguf.activations._ggml_base", lambda _: OtherGgml)
    with pytest.raises(BackendUnavailableError, match="lays out its tensors") as caught:
        collect(wide.language_model, [wide.row(0)], (), OPTIONS)
    assert "edgecritic[llama]" in caught.value.hint
    monkeypatch.setattr(OtherGgml, "ggml_tensor_overhead", staticmethod(lambda: 8))
    with pytest.raises(BackendUnavailableError, match="lays out its tensors"):
        ActivationTap(()).bind(load_native())


def test_a_closed_pass_can_be_closed_again(wide: WideModel) -> None:
    forward = ForwardPass(wide.language_model, OPTIONS)
    forward.close()
    forward.close()
