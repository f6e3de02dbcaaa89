"""A large critic behind an OpenAI-compatible endpoint, as rounds and rank-pairs ask it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image

from chat_server import Asked, ChatServer, ScriptedModel
from edgecritic_train import cli
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.rounds.config import read_rounds
from edgecritic_train.rounds.judges import CriticJudge, open_judge
from edgecritic_train.rounds.questions import read_questions
from tiny_policies import write_questions, write_rounds_config

PROBE = "Say A."
"""Asks whether an endpoint goes on with a turn that was begun."""


def liking_right(asked: Asked, said: str) -> Mapping[str, float]:
    """Prefers what is right, and of two others neither."""
    if asked.user == PROBE:
        return {"" if said.endswith("A") else "A": 0.9, "?": 0.1}
    if not said:
        return {"Better:": 0.9, "I": 0.1}
    if not said.endswith("Better:"):
        return {"\n": 0.9, "": 0.1}
    shown = asked.user.split("First response: ")[1].split("\nSecond response: ")
    odds = {" first": 0.1, " second": 0.1, " tie": 0.1}
    better = [name for name, text in zip(odds, shown, strict=False) if "right" in text]
    return odds | {better[0] if len(better) == 1 else " tie": 0.7}


def judgements(server: ChatServer) -> list[Asked]:
    return [asked for asked in server.asked if asked.user != PROBE]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("EDGECRITIC_API_KEY", "ours")
    found = ChatServer(ScriptedModel(liking_right))
    yield found
    found.close()


def test_rounds_open_a_judge_behind_an_endpoint(server: ChatServer, tmp_path: Path) -> None:
    table = write_questions(tmp_path)
    path = write_rounds_config(tmp_path / "c.yaml", tmp_path, table, tmp_path / "run")
    config = read_rounds(path, [f"judge={{endpoint: '{server.url}', model: critic-72b}}"])
    question = read_questions(config.questions, tmp_path / "pictures", 0)[0]
    judge = open_judge(config.judge)
    assert isinstance(judge, CriticJudge)
    try:
        matches = judge.rank(question, ["wrong", "It is right.", "never"])
    finally:
        judge.close()
    assert judge.name.startswith("critic-72b@")
    assert matches is not None
    found = {(match.i, match.j): match.winner for match in matches}
    assert found == {(0, 1): "second", (0, 2): "tie", (1, 2): "first"}
    for asked in judgements(server):
        assert asked.headers["Authorization"] == "Bearer ours"
        assert asked.body["model"] == "critic-72b"
        assert "data:image/png;base64," in json.dumps(asked.body["messages"])


def test_rank_pairs_asks_an_endpoint_once(server: ChatServer, tmp_path: Path) -> None:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.png")
    record = {"image": "a.png", "question": "Which?", "responses": ["wrong", "right", "never"]}
    (tmp_path / "table.jsonl").write_text(json.dumps(record) + "\n")
    command = ["rank-pairs", str(tmp_path / "table.jsonl"), "--out", str(tmp_path / "out")]
    command += ["--endpoint", server.url, "--model", "critic-72b"]
    assert cli.main(command) == 0
    [row] = read_rows(tmp_path / "out" / "rows.jsonl")
    winner = row.responses[0 if row.verdict == "first" else 1]
    assert winner == "right"
    assert len(judgements(server)) == 6  # all ordered pairs
    n_asked = len(server.asked)
    assert cli.main(command) == 0
    assert len(server.asked) == n_asked
