"""The critic that ships with edgecritic, on its real weights: what it says about real pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgecritic import Bundle, Critic
from edgecritic.demo import demo_cases
from edgecritic.models import SMOLLM2_135M
from edgecritic_export.embedded.bundle import MAX_BYTES

REASONS = {
    "A handwritten digit": "the digit is 7",
    "A pie chart": "the smallest slice is pink",
    "A scene": "a speedboat",
}
"""What the reasons for both answers must name."""


@pytest.fixture(scope="module")
def critic() -> Iterator[Critic]:
    """Needs the language model in the user's cache: `edgecritic models pull embedded`."""
    with Critic.load(backend="llamacpp", device="cpu", threads=2) as loaded:
        yield loaded


def drawing(shape: str, colour: str) -> Image.Image:
    """One large shape on white."""
    picture = Image.new("RGB", (240, 240), "white")
    pencil = ImageDraw.Draw(picture)
    if shape == "circle":
        pencil.ellipse((50, 50, 190, 190), fill=colour)
    else:
        pencil.rectangle((50, 50, 190, 190), fill=colour)
    return picture


def test_the_package_holds_what_its_manifest_says() -> None:
    bundle = Bundle.embedded()
    files = {file.role: file for file in bundle.manifest.files}
    assert files.pop("language_model") == SMOLLM2_135M
    assert set(files) == {"adapter", "mmproj", "image_newline"}
    assert all(bundle.verified(file).is_file() for file in files.values())
    assert sum(file.size for file in files.values()) < MAX_BYTES


@pytest.fixture(scope="module")
def demo() -> list[dict[str, Any]]:
    """What `edgecritic demo --json` prints: two scores and a preference for each picture."""
    command = [sys.executable, "-m", "edgecritic", "demo", "--json", "--threads", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_demo_gives_the_right_answer_the_higher_score(demo: list[dict[str, Any]]) -> None:
    scores = [line for line in demo if line["setting"] == "pointwise"]
    assert [line["case"] for line in scores] == [title for title in REASONS for _ in range(2)]
    for line in scores:
        verdict = line["verdict"]
        assert verdict["score"] > 7 if line["right"] else verdict["score"] < 4, line
        assert REASONS[line["case"]] in verdict["rationale"].lower()


def test_the_demo_prefers_the_right_answer_in_both_orders(demo: list[dict[str, Any]]) -> None:
    pairs = [line for line in demo if line["setting"] == "pairwise"]
    assert [line["case"] for line in pairs] == list(REASONS)
    for line in pairs:
        verdict = line["verdict"]
        assert (verdict["winner"], verdict["consistent"]) == (line["right"], True)
        assert verdict["probabilities"][line["right"]] > 0.9


@pytest.mark.parametrize(
    ("question", "answers", "pictures"),
    [
        (
            "What colour is the circle?",
            ("The circle is red.", "The circle is blue."),
            (drawing("circle", "red"), drawing("circle", "blue")),
        ),
        (
            "Which shape is in the picture?",
            ("It is a circle.", "It is a square."),
            (drawing("circle", "green"), drawing("square", "green")),
        ),
    ],
    ids=["colour", "shape"],
)
def test_another_picture_turns_the_verdict_round(
    critic: Critic, question: str, answers: tuple[str, str], pictures: tuple[Image.Image, ...]
) -> None:
    for picture, winner in zip(pictures, ("first", "second"), strict=True):
        assert critic.compare(picture, question, *answers, rationale=False).winner == winner
    scores = [critic.score(p, question, answers[0], rationale=False).score for p in pictures]
    assert None not in scores
    assert (scores[0] or 0) > (scores[1] or 0) + 3


def test_its_onnx_form_judges_alike(critic: Critic) -> None:
    """Both round activations to eight bits, in their own ways: measured up to 0.1 nat."""
    assert critic.info.name == "llamacpp"
    digit, *_, scene = demo_cases()
    with Critic.load(device="cpu", threads=2) as other:
        assert other.info.name == "onnx"  # which is preferred, being quicker
        pairs = [
            c.compare(digit.image, digit.question, *digit.responses, rationale=False)
            for c in (critic, other)
        ]
        scores = [
            c.score(scene.image, scene.question, scene.responses[0], rationale=False)
            for c in (critic, other)
        ]
    assert pairs[0].winner == pairs[1].winner
    assert scores[0].level == scores[1].level
    for one, two in (pairs, scores):
        likely = [outcome for outcome, p in one.probabilities.items() if p > 1e-3]
        found = [np.log(verdict.probabilities[key]) for verdict in (one, two) for key in likely]
        np.testing.assert_allclose(found[: len(likely)], found[len(likely) :], atol=0.3)


def test_an_empty_answer_and_a_refusal_are_worth_little(critic: Critic) -> None:
    ranking = critic.rank(
        demo_cases()[0].image,
        "Which digit is this?",
        ["", "The digit is 7.", "I cannot help with that."],
    )
    assert ranking.order[0] == 1
