"""Wrong exports are caught, right ones pass: tiny random critics on llama.cpp."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgecritic import InputError
from edgecritic.backends.llamacpp import LlamaCppBackend
from edgecritic.backends.options import EngineOptions
from edgecritic.pictures import VisionProfile
from edgecritic.profile import CriticProfile
from edgecritic.prompts import load_dialect
from edgecritic.vision import ImageGeometry
from edgecritic_export.gguf.mmproj import write_mmproj
from edgecritic_export.verify.checks import compare, cosine, table
from edgecritic_export.verify.limits import EXACT, HALF, limits_of
from edgecritic_export.verify.observe import observe
from edgecritic_export.verify.rows import read_rows
from tiny_models import (
    TOWER,
    LanguageModelShape,
    language_tensors,
    vision_tensors,
    write_language_model,
)

SHAPE = LanguageModelShape()
SIDE = TOWER.image_size
OPTIONS = EngineOptions(
    n_ctx=1024, n_threads=1, device="cpu", flash_attention=False, cache_type="F32"
)
NEWLINE = np.random.default_rng(5).standard_normal(SHAPE.n_embd).astype(np.float32)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(3)
    items = []
    for number in range(3):
        names = [f"{number}-{side}.png" for side in "ab"]
        for name in names:
            pixels = rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
        reasons = ["It is a 7.", "It is a 4."]
        responses = [{"text": text, "reasons": reasons} for text in ("a 7", "it may be a 4")]
        items.append({"images": names, "question": "Which digit?", "responses": responses})
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")
    return list(read_rows(folder))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(7)
    return language_tensors(SHAPE, rng), vision_tensors(TOWER, SHAPE.n_embd, rng)


@pytest.fixture
def seen(tmp_path, rows, weights):
    """Observations of a critic with some things about it changed."""

    def look(shape=SHAPE, float_type="F32", newline=NEWLINE, language=None, vision=None):
        model, mmproj = tmp_path / "model.gguf", tmp_path / "mmproj.gguf"
        write_language_model(language or weights[0], shape, model, float_type=float_type)
        write_mmproj(vision or weights[1], TOWER, mmproj, float_type=float_type)
        geometry = ImageGeometry(SIDE, TOWER.patch_size, ((SIDE, SIDE), (SIDE, 2 * SIDE)))
        profile = CriticProfile(
            "tiny", load_dialect(), vision=VisionProfile(geometry, newline, "tower")
        )
        backend = LlamaCppBackend(model, mmproj=mmproj, options=OPTIONS)
        try:
            return observe(backend, profile, rows)
        finally:
            backend.close()

    return look


@pytest.fixture
def reference(seen):
    return seen()


def failed(reference, export, limits=EXACT):
    return {check.name.split(",")[0] for check in compare(reference, export, limits).checks
            if not check.passed}  # fmt: skip


def test_a_second_export_of_the_same_weights_passes_exactly(reference, seen):
    verification = compare(reference, seen(), EXACT)
    assert verification.passed
    assert verification.rows == 6
    values = {check.name: check.value for check in verification.checks}
    assert values["image features, smallest cosine"] == pytest.approx(1, abs=1e-12)
    assert values["next tokens, mean KL divergence (nats)"] == 0
    assert json.loads(json.dumps(verification.to_dict()))["passed"] is True
    assert values["finite numbers only"] is True
    assert "| finite numbers only | yes | all | pass |" in table(verification.checks)
    assert "**fail**" not in table(verification.checks)


def test_half_precision_passes_its_own_limits(reference, seen):
    assert failed(reference, seen(float_type="F16"), HALF) == set()


def test_a_dropped_last_layer_is_caught(reference, seen, weights):
    kept = {name: value for name, value in weights[0].items() if ".layers.1." not in name}
    export = seen(shape=replace(SHAPE, n_layers=1), language=kept)
    assert failed(reference, export, limits_of("Q2_K"))
    found = failed(reference, export, limits_of("Q8_0"))
    assert {"next tokens", "another picture moves the verdict"} <= found
    assert "image features" not in found


def test_a_missing_newline_is_caught(reference, seen):
    found = failed(reference, seen(newline=np.zeros_like(NEWLINE)), limits_of("Q2_K"))
    assert "image features" in found


def test_a_wrong_rope_base_is_caught(reference, seen):
    export = seen(shape=replace(SHAPE, rope_theta=SHAPE.rope_theta * 100))
    assert failed(reference, export, HALF) >= {"next tokens"}


def test_a_blind_export_is_caught_even_where_nothing_else_is_looked_at(reference, seen, weights):
    blank = {
        name: np.zeros_like(value) if "linear_2.weight" in name else value
        for name, value in weights[1].items()
    }
    found = failed(reference, seen(vision=blank), limits_of("Q2_K"))
    assert "another picture moves the verdict" in found


def test_a_reference_that_does_not_look_proves_nothing(seen, reference):
    blind = [replace(one, other=one.verdict) for one in reference]
    found = compare(blind, blind, EXACT)
    assert not found.passed
    assert "which does not look" in table(found.checks)


def test_numbers_that_are_not_finite_end_the_comparison(reference):
    broken = [replace(one, logits=np.full_like(one.logits, np.nan)) for one in reference]
    found = compare(reference, broken, EXACT)
    assert [check.name for check in found.checks if not check.passed] == ["finite numbers only"]
    assert len(found.checks) == 3


def test_other_tokens_or_shapes_end_the_comparison(reference):
    other = [replace(one, tokens=(*one.tokens, 1)) for one in reference]
    assert failed(reference, other) == {"prompts of the same tokens"}
    fewer = [replace(one, features=one.features[:-1]) for one in reference]
    assert failed(reference, fewer) == {"shapes of features and logits"}


def test_close_calls_may_turn_and_others_may_not(reference):
    def verdicts(*leads):
        return [
            replace(reference[0], verdict=np.array([lead, 0.0, -1.0]), other=np.array([-1.0, 0, 0]))
            for lead in leads
        ]

    name = "verdicts, same winner (leads of 0.1 nats and more)"
    for turned, value in (((1.0, -0.05), 1.0), ((-1.0, 0.05), 0.0)):
        found = compare(verdicts(1.0, 0.05), verdicts(*turned), HALF)
        assert {check.name: check.value for check in found.checks}[name] == value


def test_rows_must_be_the_same(reference):
    with pytest.raises(InputError, match="6 rows of the reference and 5"):
        compare(reference, reference[:-1], EXACT)
    with pytest.raises(InputError, match="no limits for quant type 'Q9'"):
        limits_of("Q9")


def test_rows_of_zeros_agree_with_each_other_and_with_nothing_else():
    ones, zeros = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)
    assert cosine(zeros, zeros).tolist() == [1.0]
    assert cosine(zeros, ones).tolist() == [0.0]
    assert cosine(ones, 2 * ones) == pytest.approx([1.0])


def test_a_folder_that_is_no_evaluation_set(tmp_path):
    with pytest.raises(InputError, match="no evaluation set"):
        list(read_rows(tmp_path))
