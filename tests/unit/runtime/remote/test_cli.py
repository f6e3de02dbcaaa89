"""``--remote URL --model NAME``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chat_server import Asked, ChatServer, Said, Script, completion, delta, said_events, said_json
from command_line import Ran
from edgecritic.cli import main

ASK = ("--question", "What is it?")
Run = Callable[..., Ran]
Serve = Callable[[Script], ChatServer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "80")

    def command(*argv: str) -> Ran:
        status = main(argv)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return command


def saying(verdict: str) -> Script:
    def script(asked: Asked) -> Said:
        if asked.body.get("stream"):
            return said_events([delta("it "), delta("is so")])
        return said_json(completion(verdict))

    return script


def test_a_remote_critic_scores(run: Run, serve: Serve) -> None:
    server = serve(saying("Score: 8"))
    ran = run("score", *ASK, "--response", "A cat.", "--remote", server.url, "--model", "big")
    assert (ran.status, ran.err) == (0, "")
    assert "score     8.0  on 1 to 10, as it wrote, without probabilities" in ran.out
    assert "reason    it is so" in ran.out
    assert f"big@{server.url.split('/')[2]}" in ran.out
    assert "%" not in ran.out
    assert server.asked[-1].body["model"] == "big"


def test_a_remote_critic_compares(run: Run, serve: Serve) -> None:
    two = ("--response", "A cat.", "--response", "A dog.")
    where = ("--remote", serve(saying("Better: first")).url, "--model", "big")
    ran = run("compare", *ASK, *two, *where, "--no-rationale")
    assert "a tie  as it wrote, without probabilities, the orders disagree" in ran.out
    (line,) = run("compare", *ASK, *two, *where, "--no-rationale", "--json").json
    assert (line["winner"], line["basis"], line["confidence"]) == ("tie", "text", None)


def test_what_states_no_verdict_is_said_to(run: Run, serve: Serve) -> None:
    where = ("--remote", serve(saying("Hm.")).url, "--model", "big")
    ran = run("score", *ASK, "--response", "A cat.", *where)
    assert "unparsed: what it wrote states no verdict" in ran.out


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--remote", "https://example.org"), 2, "--remote is given without --model"),
        (("--model", "big"), 2, "--model is given without --remote"),
        (("--remote", "https://e.org", "--model", "m", "--bundle", "x"), 2, "on this machine, too"),
        (
            ("--remote", "https://e.org", "--model", "m", "--threads", "2"),
            2,
            "on this machine, too",
        ),
        (("--remote", "http://example.org", "--model", "m"), 2, "unencrypted"),
        (("--remote", "example.org", "--model", "m"), 2, "not a https://"),
    ],
)
def test_options_that_do_not_fit_are_told(
    run: Run, options: tuple[str, ...], status: int, said: str
) -> None:
    ran = run("score", *ASK, "--response", "A cat.", *options)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err
    assert "hint: " in ran.err


def test_an_endpoint_that_fails_is_status_1(run: Run, serve: Serve) -> None:
    server = serve(lambda asked: said_json({"error": "no such model"}, 404))
    ran = run("score", *ASK, "--response", "x", "--remote", server.url, "--model", "big")
    assert (ran.status, ran.out) == (1, "")
    assert "no such model" in ran.err
