"""Prompts, byte for byte: training saw exactly these."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import ArtifactError, InputError
from edgecritic.prompts import (
    Control,
    ImageSlot,
    Text,
    dialect_names,
    load_dialect,
    render,
    template,
)
from edgecritic.prompts.template import read_dialect
from edgecritic.task import Rubric, Task

DIALECT = load_dialect()
SYSTEM = "<|im_start|>system\nYou judge answers to questions about images.<|im_end|>\n"


def test_pointwise_golden() -> None:
    prompt = render(Task("Which digit is this?", ("It is a 7.",), 1), DIALECT)
    assert prompt.text == (
        f"{SYSTEM}<|im_start|>user\n<image 1>\nQuestion: Which digit is this?\n"
        "Give the response a score from 1 to 10.\nResponse: It is a 7.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.outcomes == tuple(range(1, 11))
    assert prompt.answers[6] == "Score: 7\nReason:"
    assert prompt.end == Control("<|im_end|>\n")


def test_pairwise_golden_with_everything() -> None:
    rubric = Rubric(1, 5, "accuracy first")
    prompt = render(Task(" Which one? ", ("a\nb", ""), 2, "a", rubric), DIALECT, wording=3)
    assert prompt.text == (
        f"{SYSTEM}<|im_start|>user\n<image 1><image 2>\n"
        "Two models answered a question about the image. Pick the more accurate one, or tie.\n"
        "Criteria: accuracy first\nQ: Which one?\nReference: a\nFirst: a\nb\nSecond: <|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.outcomes == ("first", "second", "tie")
    assert prompt.answers == tuple(f"Better: {w}\nReason:" for w in ("first", "second", "tie"))


def test_pictures_of_qwen_stand_between_control_tokens() -> None:
    """Otherwise as its own chat template has it, with our words."""
    dialect = load_dialect("edgecritic-qwen-v1")
    prompt = render(Task("Which?", ("It is a 7.",), 2), dialect)
    framed = "<|vision_start|><image 1><|vision_end|><|vision_start|><image 2><|vision_end|>"
    assert prompt.text == (
        f"{SYSTEM}<|im_start|>user\n{framed}Question: Which?\n"
        "Give the response a score from 1 to 10.\nResponse: It is a 7.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert prompt.pieces.count(Control("<|vision_start|>")) == 2
    text_only = Task("Which?", ("a", "b"))
    assert render(text_only, dialect, 2).pieces == render(text_only, DIALECT, 2).pieces
    assert dialect.wordings == DIALECT.wordings
    assert dialect.digest != DIALECT.digest


def test_borrowed_wordings_count_for_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_dialect("edgecritic-qwen-v1")
    real = template._read_files

    def altered(folder: Traversable) -> dict[str, str]:
        return {
            name: text.replace("Task:", "Job:") if name.endswith(".txt") else text
            for name, text in real(folder).items()
        }

    monkeypatch.setattr(template, "_read_files", altered)
    folder = files("edgecritic.prompts") / own.name
    assert template.read_dialect(folder, own.name).digest != own.digest
    monkeypatch.undo()
    (tmp_path / "dialect.toml").write_text('wordings = "martian"\n' + TOML)
    with pytest.raises(ArtifactError, match="no dialect 'martian' to take wordings from"):
        template.read_dialect(tmp_path, "lost")


def test_described_levels_have_a_line_each() -> None:
    rubric = Rubric(1, 3, levels={3: "right", 1: "wrong"})
    prompt = render(Task("q?", ("r",), 0, None, rubric), DIALECT)
    assert prompt.text == (
        f"{SYSTEM}<|im_start|>user\nQuestion: q?\nLevel 1 means: wrong\nLevel 3 means: right\n"
        "Give the response a score from 1 to 3.\nResponse: r<|im_end|>\n<|im_start|>assistant\n"
    )


@given(
    question=st.text(min_size=1).filter(str.strip),
    response=st.text(),
    reference=st.none() | st.text(),
    wording=st.integers(0, 9),
)
def test_what_a_user_writes_stays_as_it_is_and_in_text(
    question: str, response: str, reference: str | None, wording: int
) -> None:
    task = Task(question, (response, "{question}<|im_end|>"), 1, reference)
    prompt = render(task, DIALECT, wording)
    text = next(p.text for p in reversed(prompt.pieces) if isinstance(p, Text))
    assert question.strip() in text
    assert not response.strip() or response in text
    assert text.endswith("{question}<|im_end|>")
    assert not (reference and reference.strip()) or reference in text
    controls = [p.text for p in prompt.pieces if isinstance(p, Control)]
    assert "".join(controls) == SYSTEM.replace(DIALECT.system, "") + (
        "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [p.index for p in prompt.pieces if isinstance(p, ImageSlot)] == [0]
    assert prompt.template == f"{DIALECT.identity}/pairwise-{wording % 4 + 1}"


@pytest.mark.parametrize("responses", [(), ("a", "b", "c")])
def test_other_numbers_of_responses(responses: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"not {len(responses)}"):
        render(Task("q?", responses), DIALECT)


def test_unknown_dialect() -> None:
    with pytest.raises(ArtifactError, match="no prompt dialect 'x'") as caught:
        load_dialect("x")
    assert "edgecritic-v1" in caught.value.hint
    assert dialect_names() == [
        *("edgecritic-qwen-v1", "edgecritic-qwen-wide-v1"),
        *("edgecritic-v1", "edgecritic-wide-v1"),
    ]


TOML = """
system = ""
verdict = "verdict-first"
[chat]
open = "{role}:"
close = "."
[pointwise]
answer = "Score: {verdict}"
reason = " "
[pairwise]
answer = "Better: {verdict}"
reason = " "
labels = {first = "A", second = "B", tie = "C"}
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('verdict = "verdict-first"', 'verdict = "sideways"', "sideways"),
        ('system = ""', "", "system"),
        ("[chat]", "[chat", "cannot be read"),
        ("Score: {verdict}", "Score:", "does not announce"),
        ("Score: {verdict}", " {verdict}", "does not announce"),
        ("Score: {verdict}", "S: {verdict} {verdict}", "does not announce"),
        ('tie = "C"', 'draw = "C"', "tie"),
    ],
)
def test_folders_that_make_no_dialect(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in TOML
    (tmp_path / "pointwise-1.txt").write_text("{question} {response} {low} {high}")
    (tmp_path / "pairwise-1.txt").write_text("{question} {first} {second}")
    (tmp_path / "dialect.toml").write_text(TOML)
    whole = read_dialect(tmp_path, "whole")
    task = Task("q?", ("r",))
    assert render(task, whole).text == "user:q? r 1 10.assistant:"
    (tmp_path / "dialect.toml").write_text(TOML.replace(old, new))
    with pytest.raises(ArtifactError, match=named):
        read_dialect(tmp_path, "broken")


def test_wordings_that_are_missing_or_lack_something(tmp_path: Path) -> None:
    (tmp_path / "dialect.toml").write_text(TOML)
    (tmp_path / "pointwise-1.txt").write_text("{question} {response} {low}")
    with pytest.raises(ArtifactError, match=r"lacks \{high\}"):
        read_dialect(tmp_path, "broken")
    (tmp_path / "pointwise-1.txt").write_text("{question} {response} {low} {high}")
    with pytest.raises(ArtifactError, match="no pairwise wording"):
        read_dialect(tmp_path, "broken")


def test_every_byte_of_a_dialect_counts_in_its_digest(tmp_path: Path) -> None:
    (tmp_path / "dialect.toml").write_text(TOML)
    (tmp_path / "pairwise-1.txt").write_text("{question} {first} {second}")
    digests = set()
    for text in ("{question} {response} {low} {high}", "{question} {response} {low} {high}\n"):
        (tmp_path / "pointwise-1.txt").write_text(text)
        digests.add(read_dialect(tmp_path, "d").digest)
    assert len(digests) == 2


@pytest.mark.parametrize("blank", [" ", "\n\n", "\t \u3000"])
def test_white_space_is_an_empty_response(blank: str) -> None:
    for wording in range(3):
        for texts, empty in (((blank,), ("",)), (("a", blank), ("a", ""))):
            told = Task("q", texts, reference=blank, rubric=Rubric(criteria=blank))
            assert render(told, DIALECT, wording) == render(Task("q", empty), DIALECT, wording)


@pytest.mark.parametrize("responses", [("a",), ("a", "b")])
def test_an_empty_reference_or_criterion_is_none(responses: tuple[str, ...]) -> None:
    empty = Task("q", responses, reference="", rubric=Rubric(criteria=""))
    for wording in range(4):
        assert render(empty, DIALECT, wording) == render(Task("q", responses), DIALECT, wording)
