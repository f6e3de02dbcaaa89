"""Calibration rows of a set, and how far models part on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgecritic.backends.base import Append, ImageSpan, TextSpan
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.errors import InputError
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_export.gguf.calibration import CalibrationRow, critic_rows
from edgecritic_export.gguf.divergence import divergence, reference
from edgecritic_export.gguf.forward import ForwardOptions, ForwardPass
from edgecritic_export.gguf.quantize import quantize

from .conftest import WIDE, WideModel

OPTIONS = ForwardOptions(n_ctx=1024, n_threads=1, n_batch=100)
PROFILE = CriticProfile(
    "tiny",
    load_dialect("edgecritic-v1"),
    vision=VisionProfile(
        ImageGeometry(tile_size=28, patch_size=7, pinpoints=((28, 56), (56, 28))),
        np.ones(WIDE.n_embd, dtype=np.float32),
        "tower",
    ),
)


def item(number: int) -> dict[str, object]:
    responses = [
        {"text": "It is red.", "scores": [9, 2]},
        {"text": "It is blue.", "scores": [2, 9]},
    ]
    images = ["a.png", "b.png"]
    return {"id": f"i{number}", "question": "Which?", "images": images, "responses": responses}


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("items")
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (40, 24), colour).save(folder / name)
    lines = [json.dumps(item(number)) for number in range(6)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def backend(wide: WideModel) -> Iterator[LlamaCppBackend]:
    options = EngineOptions(n_ctx=1024, n_threads=1, max_sequences=1)
    opened = LlamaCppBackend(wide.language_model, mmproj=wide.mmproj, options=options)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def rows(items: Path, backend: LlamaCppBackend) -> list[CalibrationRow]:
    return list(critic_rows(items, backend, PROFILE, limit=4))


def test_rows_take_turns_and_end_with_the_right_verdict(
    rows: list[CalibrationRow], backend: LlamaCppBackend
) -> None:
    assert [row.name for row in rows] == [
        *("i0/pointwise-0", "i1/pointwise-1", "i2/pairwise-0", "i3/pairwise-1"),
    ]
    answers = []
    for row in rows:
        assert sum(isinstance(span, ImageSpan) for span in row.spans) == 1
        last = row.spans[-1]
        assert isinstance(last, TextSpan)
        assert len(last) == row.answer_length
        answers.append(b"".join(map(backend.token_bytes, last.tokens)).decode())
    red_on_red, red_on_blue, pair_on_red, pair_on_blue = answers
    assert "9" in red_on_red
    assert "2" in red_on_blue
    assert pair_on_red != pair_on_blue


def test_rows_behind_those_left_out(
    rows: list[CalibrationRow], items: Path, backend: LlamaCppBackend
) -> None:
    (later,) = critic_rows(items, backend, PROFILE, start=2, limit=1)
    assert later == rows[2]
    assert len(list(critic_rows(items, backend, PROFILE, start=4, limit=10))) == 2


@pytest.mark.parametrize(
    "line", ["{", "[]", "{}", json.dumps(item(0) | {"images": ["a.png"]}), '{"images": 5}']
)
def test_sets_that_cannot_be_read(tmp_path: Path, backend: LlamaCppBackend, line: str) -> None:
    with pytest.raises(InputError, match=r"items\.jsonl"):
        list(critic_rows(tmp_path, backend, PROFILE, limit=1))
    (tmp_path / "items.jsonl").write_text(line)
    with pytest.raises(InputError, match="no calibration items"):
        list(critic_rows(tmp_path, backend, PROFILE, limit=1))


def test_logits_are_the_backends(
    wide: WideModel, rows: list[CalibrationRow], backend: LlamaCppBackend
) -> None:
    sequence = backend.open_sequence()
    (expected,) = backend.append([Append(sequence, rows[0].spans)])
    backend.close_sequence(sequence)
    with ForwardPass(wide.language_model, OPTIONS) as forward:
        for _ in range(2):  # the second time from an empty cache again
            parts = [part.copy() for part in forward.logits(rows[0].spans)]
    assert max(map(len, parts)) <= OPTIONS.n_batch
    logits = np.concatenate(parts)
    assert logits.shape == (len(rows[0]), wide.n_vocab)
    np.testing.assert_allclose(logits[-1], expected, atol=0.02)


def test_a_model_does_not_part_from_itself(wide: WideModel, rows: list[CalibrationRow]) -> None:
    found = divergence(wide.language_model, reference(wide.language_model, rows, OPTIONS), OPTIONS)
    n_text = sum(len(s) for row in rows for s in row.spans if isinstance(s, TextSpan))
    assert (len(found.rows), found.n_positions) == (4, n_text)
    assert max(found.rows) < 1e-4
    assert max(found.mean, found.answers) < 1e-4  # the reference is kept in half precision
    assert found.same_top > 0.99


def test_fewer_bits_part_further(
    wide: WideModel, rows: list[CalibrationRow], tmp_path: Path
) -> None:
    expected = reference(wide.language_model, rows, OPTIONS)
    found = []
    for quant in ("Q8_0", "Q4_0", "Q2_K"):
        quantize(wide.language_model, tmp_path / quant, quant)
        found.append(divergence(tmp_path / quant, expected, OPTIONS))
    for measure in ("mean", "high", "answers"):
        values = [getattr(entry, measure) for entry in found]
        assert values == sorted(values), measure
        assert values[0] > 0
    assert found[0].same_top > found[-1].same_top
