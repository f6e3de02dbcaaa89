"""score, compare and rank, from arguments to results."""

from __future__ import annotations

import io
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from command_line import Ran, Terminal
from edgecritic.cli import cards, main
from edgecritic.cli.console import Console
from edgecritic.cli.judge import complete, show
from edgecritic.cli.terminal import display_width
from edgecritic.critic import Critic
from edgecritic.errors import ArtifactError, BackendUnavailableError
from edgecritic.verdict import Verdict
from scripted_critic import REASON, scripted_critic

Run = Callable[..., Ran]
ASK = ("--question", "What is it?")


def test_score_prints_a_card(run: Run, picture: str) -> None:
    ran = run("score", "--image", picture, *ASK, "--response", "It is right.")
    assert ran.status == 0
    assert "score     9.0  on 1 to 10, most likely 9 (100%)" in ran.out
    assert f"reason    {REASON}" in ran.out
    assert picture in ran.out.replace("\n" + " " * 12, "")
    assert "scripted-1" in ran.out
    assert ran.err == ""


def test_score_prints_the_library_s_json(run: Run, picture: str) -> None:
    ran = run("score", "--image", picture, *ASK, "--response", "It is right.", "--json")
    with scripted_critic() as critic:
        verdict = critic.score(picture, "What is it?", "It is right.")
    (line,) = ran.json
    assert line | {"timings": None} == verdict.to_dict() | {"timings": None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_waiting_threads_sleep_soon_unless_the_user_wants_otherwise(
    run: Run, monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in names:
        monkeypatch.setenv(name, "")  # what the command sets is undone after the test
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    assert run("score", *ASK, "--response", "a", "--json").status == 0
    assert {name: os.environ[name] for name in names if name in os.environ} == after


def test_score_judges_every_response_by_itself(run: Run) -> None:
    ran = run("score", *ASK, "--response", "right", "--response", "no", "--json", "--no-rationale")
    assert [line["level"] for line in ran.json] == [9, 2]
    assert [line["rationale"] for line in ran.json] == [None, None]


def test_score_takes_a_rubric(run: Run) -> None:
    ran = run("score", *ASK, "--response", "no", "--json", "--rubric", '{"low": 2, "high": 9}')
    assert list(ran.json[0]["probabilities"]) == [str(level) for level in range(2, 10)]


def test_compare_prefers_and_says_how_sure(run: Run, picture: str) -> None:
    ran = run("compare", "--image", picture, *ASK, "--response", "no", "--response", "right")
    assert ran.status == 0
    assert "better    second  (100%), both orders agree" in ran.out
    assert "swapped: first" in ran.out


def test_compare_in_one_order(run: Run) -> None:
    two = ("--response", "right", "--response", "no")
    (line,) = run("compare", *ASK, *two, "--orders", "swapped", "--json").json
    assert [order["shown_first"] for order in line["orders"]] == ["second"]
    assert line["winner"] == "first"


def test_rank_puts_the_best_first(run: Run) -> None:
    three = ("--response", "no", "--response", "right", "--response", "never")
    for method in ("pairwise", "pointwise"):
        (line,) = run("rank", *ASK, *three, "--method", method, "--json").json
        assert line["order"][0] == 1
    assert "1.  +4.00  response 2  right" in run("rank", *ASK, *three).out.replace("3.99", "4.00")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("compare", *ASK, "--response", "a"), "two responses, not 1"),
        (("rank", *ASK, "--response", "a"), "two responses or more"),
        (("score", "--question", " ", "--response", "a"), "question is empty"),
        (("score", *ASK, "--response", "a", "--rubric", "5-1"), "not ascending"),
        (("score", *ASK, "--response", "a", "--rubric", "NaN"), "rubric"),
        (("score", *ASK, "--response", "@nowhere.txt"), "nowhere.txt"),
        (("score", *ASK, "--response", "-", "--reference", "-"), "both read stdin"),
        (("score", *ASK, "--response", "a" * 200_000), "tokens"),
        (("score", *ASK, "--response", "\udcff"), "not UTF-8"),
        (("score", *ASK, "--image", "nowhere.png", "--response", "a"), "nowhere.png"),
        (("score", *ASK, "--image", __file__, "--response", "a"), "is not a readable PNG"),
    ],
)
def test_what_cannot_be_judged_is_a_line_and_a_hint(
    run: Run, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text")))
    ran = run(*argv)
    assert ran.status == 2
    assert ran.out == ""  # not even the top of a card
    first, second = ran.err.splitlines()
    assert first.startswith("edgecritic: error: ")
    assert said in first
    assert second.startswith("hint: ")


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("score",),
        ("score", *ASK),
        ("score", *ASK, "--response", "a", "--threads", "0"),
        ("score", *ASK, "--response", "a", "--wording", "-1"),
        ("score", *ASK, "--response", "a", "--temperature", "nan"),
        ("score", *ASK, "--response", "a", "--temperature", "hot"),
        ("score", *ASK, "--response", "a", "--seed", "x"),
        ("compare", *ASK, "--response", "a", "--response", "b", "--orders", "three"),
        ("models",),
    ],
)
def test_wrong_usage_is_status_2(run: Run, argv: tuple[str, ...]) -> None:
    ran = run(*argv)
    assert ran.status == 2
    assert "usage: edgecritic" in ran.out + ran.err
    assert "Traceback" not in ran.err


def test_a_critic_that_cannot_be_loaded_is_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_args: object, **_options: object) -> Critic:
        raise ArtifactError("model.gguf is missing", "edgecritic models pull embedded")

    monkeypatch.setattr(Critic, "load", load)
    ran = run("score", *ASK, "--response", "a")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "edgecritic: error: model.gguf is missing",
        "hint: edgecritic models pull embedded",
    ]


def test_an_interrupt_is_status_130_and_closes_the_critic(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    critic = scripted_critic()

    def interrupted(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Critic, "load", lambda *_args, **_options: critic)
    monkeypatch.setattr(critic, "score_stream", interrupted)
    ran = run("score", *ASK, "--response", "a")
    assert ran.status == 130
    assert ran.err.split() == ["interrupted"]
    assert critic.closed


def test_a_terminal_gets_colours_and_the_reason_word_by_word(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["score", *ASK, "--response", "right \x1b[31m"]) == 0
    assert "\x1b[1;32m9.0\x1b[0m" in out.text
    assert "██" in out.text
    assert "right \\x1b[31m" in out.text
    assert REASON in out.text
    assert err.text.endswith("\r\x1b[K")  # the spinner is wiped away


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_switched_off(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv(name, value)
    assert main(["score", *ASK, "--response", "right"]) == 0
    assert "\x1b" not in out.text


def test_json_is_ascii_where_the_stream_knows_no_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["score", *ASK, "--response", "right", "--json"]) == 0
    assert b"d\\u00e9j\\u00e0 vu" in out.buffer.getvalue()


def test_a_card_on_an_ascii_stream_keeps_every_character(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["score", *ASK, "--response", "right"]) == 0
    card = out.buffer.getvalue().decode()
    assert "d\\xe9j\\xe0 vu" in card
    assert "####" in card


def test_output_that_cannot_be_stored_is_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["score", *ASK, "--response", "right"]) == 1
    assert "No space left" in capsys.readouterr().err


def test_a_critic_that_reasons_first_shows_its_reason_first() -> None:
    out = Terminal()
    console = Console(out, Terminal(), {"COLUMNS": "80", "NO_COLOR": "1"})
    verdict = Verdict("ok", 9.0, 9, {1: 0.0, 9: 1.0}, 1.0, 1.0, "It is so.")
    steps: list[Verdict | str] = ["It is", " so.", verdict]
    assert show(iter(steps), cards.verdict_head, console) == verdict
    reason, score, _, costs = out.text.splitlines()
    assert reason == "  reason    It is so."
    assert score.startswith("  score     9.0")
    assert costs.endswith("0.00 s")


def test_a_critic_that_was_closed_under_way_is_an_error(run: Run) -> None:
    console = Console(Terminal(), Terminal(), {})
    nothing: list[Verdict | str] = []
    with pytest.raises(BackendUnavailableError):
        show(iter(nothing), cards.verdict_head, console)
    with pytest.raises(BackendUnavailableError):
        complete(iter(nothing), console)


def test_a_picture_comes_by_stdin(run: Run, monkeypatch: pytest.MonkeyPatch, picture: str) -> None:
    content = Path(picture).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    (line,) = run("score", "--image", "-", *ASK, "--response", "right", "--json").json
    assert line["usage"]["image_tokens"] > 0


def test_texts_come_from_files_and_stdin(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "question.txt").write_text("What is it?\n", encoding="utf-8-sig")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"right\r\n")))
    ran = run("score", "--question", f"@{tmp_path}/question.txt", "--response", "-")
    assert "question  What is it?\n" in ran.out
    assert "response  right\n" in ran.out


def test_what_waits_fits_the_narrowest_terminal() -> None:
    err = Terminal()
    console = Console(Terminal(), err, {"COLUMNS": "30", "TERM": "xterm"})
    with console.busy("fetching a file with a very long name from somewhere far away"):
        time.sleep(0.3)
    frames = [frame for frame in err.text.split("\r\x1b[K") if frame]
    assert frames
    assert all(display_width(frame) < 30 for frame in frames)


def test_odd_metadata_is_not_the_users_concern(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    odd = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"
    Image.new("RGB", (20, 20)).save(path, exif=odd)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert run("score", "--image", str(path), *ASK, "--response", "right").status == 0
    assert said == []
