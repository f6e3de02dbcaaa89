"""The published set: every form by itself, and nothing guessed."""

from __future__ import annotations

import json

import pytest

from critic_tables import CONVERSATIONS, write_published_set
from edgecritic.errors import ArtifactError
from edgecritic.task import Rubric
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.critic_data.sources.hub import fetch_set
from edgecritic_train.critic_data.sources.llava_critic import REPOSITORY, find_tables
from edgecritic_train.critic_data.sources.llava_formats import Unread, read_judgement
from stand_in_hub import COMMIT, StandInHub


def judgement(source):
    ((instruction, answer),) = [c for (s, _), c in CONVERSATIONS.items() if s == source]
    return read_judgement(instruction, answer)


def test_brackets_with_brackets_inside():
    found = judgement("vlfeedback")
    assert found.question == "What [exactly] is this?"
    assert found.responses == ("A cat.", "A dog [brown].")
    assert found.verdict == "first"
    assert found.reason == "The first response names the cat. The second is wrong."


def test_what_follows_the_responses_is_no_part_of_them():
    instruction = BRACKETS.replace("ASSISTANT:", "End with [first] or [second], in brackets.")
    found = read_judgement(instruction, "Both are fine. The better response: [second]")
    assert found.responses == ("A cat.", "A dog [brown].")


def test_letters_become_our_ordinals():
    found = judgement("rlhf-v")
    assert found.verdict == "second"
    assert found.reason == "The second response is right, while the first response's claim is not."


def test_a_tie_is_kept():
    found = judgement("llava-rlhf")
    assert (found.verdict, found.reason) == ("tie", "Both name the cat.")


def test_the_arena_s_five_levels_become_three():
    found = judgement("wildvision")
    assert (found.verdict, found.responses) == ("first", ("A cat.", "A dog."))
    assert found.reason == "The first response is right."


def test_of_two_scores_the_second_is_the_verdict_and_halves_double_the_scale():
    found = judgement("llava-bench")
    assert (found.responses, found.reference) == (("A cat.",), "A grey cat.")
    assert (found.verdict, found.rubric.low, found.rubric.high) == (13, 2, 20)
    assert found.reason == "The reference answer names the colour, and the response does not."


def test_the_rating_s_levels_are_described():
    found = judgement("mmhal")
    assert (found.verdict, found.rubric.high, len(found.rubric.levels)) == (1, 6, 7)
    assert (found.question, found.reference) == ("What is this?", "A cat.")
    assert found.reason == "The answer is a cat, not a dog."


def test_shares_become_tenths():
    found = judgement("mm-vet")
    assert (found.verdict, found.rubric.low, found.rubric.high) == (5, 0, 10)
    assert (found.responses, found.reference) == (("x = -5",), "-1 or -5")
    assert found.reason == "One of the two solutions is named."


def test_captions_and_scores_of_a_hundred():
    found = judgement("svit-detail")
    assert (found.verdict, found.rubric.high, found.responses) == (65, 100, ("A cat on a mat.",))
    assert found.reason == "The cat is there, the mat is a sofa."
    found = judgement("wilder")
    assert (found.verdict, found.rubric) == (90, Rubric(0, 100))
    assert found.reason == "The response is right about the cat."


BRACKETS = CONVERSATIONS["vlfeedback", "pairwise"][0]
CAPTION = CONVERSATIONS["svit-detail", "pointwise"][0]
ARENA = CONVERSATIONS["wildvision", "pointwise"][0]
TABLE = CONVERSATIONS["mm-vet", "pointwise"][0]
BENCH = CONVERSATIONS["llava-bench", "pointwise"][0]


@pytest.mark.parametrize(
    ("instruction", "answer", "why"),
    [
        ("Describe the image.", "A cat.", "unknown instruction"),
        (BRACKETS, "Hard to say.", "no single winner"),
        (BRACKETS, "The better response: [first] or the better response: [second].", "no single"),
        (BRACKETS, "Score: 9. Two responses are equally good at first sight." + "x" * 400, "no si"),
        (CAPTION, "Score 65", "no single score"),
        (CAPTION, "Final Score: 60. Final Score: 70", "no single score"),
        (CAPTION, "Final Score: 165", "outside the range"),
        (ARENA, "A is better", "no single verdict"),
        (ARENA, "[[A>B]] no, [[B>A]]", "no single verdict"),
        (TABLE, "5", "above 1"),
        (TABLE, "right", "no single score"),
        (BENCH, "The scores are 8 and 6.", "no two numbers"),
        (BENCH, "11 12\n", "outside the range"),
    ],
)
def test_what_states_no_single_verdict_is_unread(instruction, answer, why):
    with pytest.raises(Unread, match=why):
        read_judgement(instruction, answer)


def test_a_copy_is_imported_and_what_is_odd_is_counted(tmp_path, capsys):
    odd = (
        ("pointwise", "Write a poem.", "No."),
        ("pairwise", BRACKETS, "Neither."),
        ("pairwise", BRACKETS, "Neither, again."),
    )
    write_published_set(tmp_path / "copy", odd)
    out = tmp_path / "out"
    asked = ["data", "import", "llava-critic", "--folder", str(tmp_path / "copy")]
    assert main([*asked, "--out", str(out)]) == 0
    rows = list(read_rows(out / "rows.jsonl"))
    assert len(rows) == len(CONVERSATIONS)
    assert {row.source for row in rows} == {source for source, _ in CONVERSATIONS}
    assert all(row.images[0].path.is_file() and row.reason and row.judge for row in rows)
    shared = [row.group for row in rows]
    assert len(set(shared)) < len(rows)
    report = json.loads((out / "import.json").read_text())
    assert report["rows"] == len(rows)
    assert {"source": "odd", "why": "unknown instruction", "count": 1} in report["dropped"]
    assert {
        "source": "odd",
        "why": "brackets: no single winner is stated",
        "count": 2,
    } in report["dropped"]
    assert "left out of odd: unknown instruction" in capsys.readouterr().err


@pytest.fixture
def hub(tmp_path, monkeypatch):
    # Read from the environment when huggingface_hub is imported, which another test may have done.
    from huggingface_hub import constants

    write_published_set(tmp_path / "copy")
    made = StandInHub(repo=REPOSITORY, kind="datasets")
    for path in (tmp_path / "copy").rglob("*.parquet"):
        made.files[path.relative_to(tmp_path / "copy").as_posix()] = path.read_bytes()
    with made.serving() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries of a download
        monkeypatch.setenv("HF_TOKEN", "")
        yield hub


def test_the_set_is_fetched_from_the_hub_at_one_commit(hub, tmp_path):
    out = tmp_path / "out"
    asked = ["data", "import", "llava-critic", "--config", "pairwise", "--out", str(out)]
    assert main(asked) == 0
    assert {name.split("/")[0] for name, _ in hub.sent} == {"pairwise"}
    assert len(list(read_rows(out / "rows.jsonl"))) == 3
    (snapshot,) = (tmp_path / "cache").glob("*/snapshots/*")
    assert snapshot.name == COMMIT
    sent = len(hub.sent)
    assert main(asked) == 0
    assert len(hub.sent) == sent


def test_what_keeps_the_hub_from_giving_it_is_said(hub, monkeypatch, tmp_path):
    with pytest.raises(ArtifactError, match="no revision 'v9'"):
        find_tables(["pairwise"], revision="v9")
    with pytest.raises(ArtifactError, match=r"no file that matches none/\*"):
        fetch_set(REPOSITORY, ("none/*",))
    with pytest.raises(ArtifactError, match="no data set nobody/nothing"):
        fetch_set("nobody/nothing", ("*",))
    hub.gated = True
    with pytest.raises(ArtifactError, match="is gated"):
        find_tables(["pairwise"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="not wholly, in the cache"):
        find_tables(["pairwise"])


def test_a_folder_without_the_set_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"holds no pairwise/\*\.parquet"):
        main(["data", "import", "llava-critic", "--folder", str(tmp_path), "--out", str(tmp_path)])
