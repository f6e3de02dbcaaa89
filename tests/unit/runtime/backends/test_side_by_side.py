"""Several critics in one process, on several engines, judging at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from PIL import Image

from edgecritic import Bundle, Critic
from edgecritic_export.onnx.precision import Variant

QUESTION = "Which digit is this?"
RESPONSES = ["a 7", "the digit is an 8", "no idea"]
PICTURES = [Image.new("RGB", (60, 40), colour) for colour in ("red", "green")]


def test_critics_of_one_process_do_not_disturb_each_other(
    gguf_bundle: Bundle, onnx_bundles: dict[Variant, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecritic.scoring.MIN_MASS", 0.0)  # a random model states no verdicts
    bundles = [gguf_bundle, onnx_bundles["fp32"], gguf_bundle, onnx_bundles["q8"]]

    def judge(critic: Critic) -> list[tuple[float, ...]]:
        verdicts = [
            critic.score(picture, QUESTION, response, rationale=False)
            for picture in PICTURES
            for response in RESPONSES
        ]
        return [tuple(verdict.probabilities.values()) for verdict in verdicts]

    with ExitStack() as stack:
        critics = [
            stack.enter_context(Critic.load(bundle, device="cpu", threads=1)) for bundle in bundles
        ]
        assert [critic.info.name for critic in critics] == ["llamacpp", "onnx"] * 2
        alone = [judge(critic) for critic in critics]
        with ThreadPoolExecutor(len(critics)) as pool:
            together = list(pool.map(judge, critics))
        critics[0].close()
        after = judge(critics[2])
    for one, other in zip((*alone, alone[2]), (*together, after), strict=True):
        for expected, found in zip(one, other, strict=True):
            assert found == pytest.approx(expected, abs=1e-3)
