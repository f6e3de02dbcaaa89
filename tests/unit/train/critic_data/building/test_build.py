"""The whole command against an endpoint that plays a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat_server import ChatServer, ScriptedModel, said_json
from critic_tables import picture_bytes
from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError
from edgecritic.remote import client
from edgecritic_train.cli import main
from edgecritic_train.critic_data.rows import read_rows

REASON = "The picture shows it."


def spell(text, said):
    written = next(n for n in range(len(text), -1, -1) if said.endswith(text[:n]))
    return {text[written : written + 1]: 0.9, "?": 0.1}


def honest(asked, said):
    """Prefers what is RIGHT, whatever the wording; sees a tie between equal responses."""
    text = asked.user
    if said.endswith("Score: "):
        top = "1" if "RIGHT" in text else "0"
        return {top: 0.7, "Well": 0.1}
    if said.endswith("Better:"):
        right, wrong = text.find("RIGHT"), text.find("WRONG")
        if wrong < 0 or right < 0:
            return {" tie": 0.9, " first": 0.1}
        return {" first" if right < wrong else " second": 0.9, " tie": 0.1}
    return spell(f"\nReason: {REASON}", said)


def placing(asked, said):
    """Always prefers the first place."""
    return {" first": 0.9, " tie": 0.1} if said.endswith("Better:") else honest(asked, said)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("EDGECRITIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.01)


@pytest.fixture
def serve():
    servers = []

    def start(script):
        servers.append(ChatServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def table(tmp_path):
    for k in range(3):
        picture_bytes(k, tmp_path)
    records = [
        {
            "id": f"c{k}",
            "image": f"{k % 3}.png",
            "question": f"Question {k}?",
            "responses": ["It is RIGHT.", "It is WRONG."] if k % 2 else ["WRONG a", "WRONG b"],
            "scores": [9, 2] if k % 2 else [3, 3],
            "winner": "first" if k % 2 else "tie",
        }
        for k in range(4)
    ]
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def build(table, server, *more):
    out = table.parent / "out"
    teacher = ["--endpoint", server.url, "--model", "judge", "--parallel", "2"]
    status = main(["data", "build", str(table), "--out", str(out), *teacher, *more])
    rows = list(read_rows(out / "rows.jsonl")) if (out / "rows.jsonl").exists() else []
    report = out / "build.json"
    return status, rows, json.loads(report.read_text()) if report.exists() else {}


def judgements(server):
    """Requests that asked for a verdict, apart from the two that find out what it accepts."""
    return [a for a in server.asked if a.body.get("logprobs") and "Say A" not in a.user]


def test_pairs_are_judged_in_both_orders_and_ties_kept(table, serve):
    server = serve(ScriptedModel(honest))
    status, rows, report = build(table, server, "--setting", "pairwise")
    assert (status, report["rows"], len(rows)) == (0, 8, 8)
    assert Counter(row.verdict for row in rows) == {"first": 2, "second": 2, "tie": 4}
    for row in rows:
        if row.verdict != "tie":
            assert "RIGHT" in row.responses[("first", "second").index(row.verdict)]
        assert row.reason == REASON
        assert row.judge.startswith("judge@127.0.0.1")
        assert row.images[0].path.is_file()
    assert report["spent"]["answers"] == 8
    assert report["estimated"]["asks"] == 8
    assert report["cost"] is None  # no price was named
    ledger = [json.loads(x) for x in (table.parent / "out/ledger.jsonl").read_text().splitlines()]
    assert {entry["id"] for entry in ledger} == {row.id for row in rows}
    assert all(e["at"] and e["teacher"] and "edgecritic-wide-v1@" in e["template"] for e in ledger)


def test_a_teacher_that_prefers_a_place_makes_no_rows(table, serve):
    server = serve(ScriptedModel(placing))
    status, rows, report = build(table, server, "--setting", "pairwise")
    assert (status, rows) == (1, [])
    assert report["judgements_dropped"] == {"the orders contradict each other": 8}


def test_scores_are_asked_on_many_scales_and_what_cannot_be_read_is_dropped(table, serve):
    server = serve(ScriptedModel(lambda a, s: {"Well": 1.0} if "WRONG" in a.user else honest(a, s)))
    status, rows, report = build(table, server, "--setting", "pointwise")
    assert status == 0
    assert {row.responses for row in rows} == {("It is RIGHT.",)}
    assert all(row.verdict in row.rubric.range for row in rows)
    assert report["judgements_dropped"]["no verdict or no reason could be read"] == 6
    assert report["spent"]["unparsed"] == 6


def test_two_builds_of_a_folder_ask_once(table, serve):
    server = serve(ScriptedModel(honest, delay=0.02))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(build, table, server, "--setting", "pairwise") for _ in range(2)]
    assert [run.result()[0] for run in runs] == [0, 0]
    assert len(judgements(server)) == 8


@pytest.mark.parametrize("option", ["--price-in", "--max-cost"])
@pytest.mark.parametrize("value", ["nan", "-1", "x"])
def test_a_price_is_a_number(table, option, value, capsys):
    asked = ["data", "build", str(table), "--out", str(table.parent / "o"), f"{option}={value}"]
    assert main(asked) == 2
    assert "no number from 0 up" in capsys.readouterr().err


def test_what_was_answered_is_not_asked_again(table, serve):
    server = serve(ScriptedModel(honest))
    build(table, server, "--setting", "pairwise", "--limit", "2")
    asked = len(judgements(server))
    _, rows, report = build(table, server, "--setting", "pairwise")
    assert asked == 4
    assert len(judgements(server)) == 8
    assert (len(rows), report["spent"]["answers"], report["estimated"]["answered"]) == (8, 4, 4)
    again = (table.parent / "out/rows.jsonl").read_bytes()
    build(table, server, "--setting", "pairwise")
    assert len(judgements(server)) == 8
    assert (table.parent / "out/rows.jsonl").read_bytes() == again


def test_a_build_goes_on_where_its_endpoint_failed(table, serve):
    model, calls = ScriptedModel(honest), 0

    def failing(asked):
        nonlocal calls
        calls += asked.begun == "Better:"
        return said_json({"error": "down"}, 500) if calls > 3 else model(asked)

    with pytest.raises(BackendUnavailableError):
        build(table, serve(failing), "--setting", "pairwise")
    kept = (table.parent / "out/ledger.jsonl").read_text().splitlines()
    assert 1 <= len(kept) <= 3
    assert not (table.parent / "out/rows.jsonl").exists()


def test_another_build_s_answers_can_be_reused(table, serve):
    server = serve(ScriptedModel(honest))
    build(table, server, "--setting", "pairwise")
    asked = len(server.asked)
    ledger = table.parent / "first.jsonl"
    (table.parent / "out").rename(table.parent / "old")
    (table.parent / "old/ledger.jsonl").rename(ledger)
    _, rows, _ = build(table, server, "--setting", "pairwise", "--reuse", str(ledger))
    assert (len(rows), len(server.asked)) == (8, asked)


def test_known_verdicts_are_explained_and_never_judged(table, serve):
    server = serve(ScriptedModel(honest))
    status, rows, _ = build(table, server, "--known", "--range", "1-10")
    assert (status, len(rows)) == (0, 16)
    assert not judgements(server)
    told = {row.id: row.verdict for row in rows}
    assert (told["c1/p1-2"], told["c1/p1-2~"], told["c0/p1-2"]) == ("first", "second", "tie")
    assert (told["c1/s1"], told["c1/s2"]) == (9, 2)
    begun = {a.begun for a in server.asked}
    assert {"Better: first\nReason:", "Better: second\nReason:", "Score: 9\nReason:"} <= begun
    assert all(row.reason == REASON for row in rows)


def test_the_estimate_comes_first_and_limits_are_kept(table, serve, capsys):
    server = serve(ScriptedModel(honest))
    assert build(table, server, "--estimate", "--price-in", "5", "--price-out", "15")[0] == 0
    said = capsys.readouterr().err
    assert "4 cases make 16 judgements; 0 are known" in said
    assert "to ask: 32 requests" in said
    assert "at your prices" in said
    with pytest.raises(InputError, match="above --max-cost"):
        build(table, server, "--price-in", "5", "--max-cost", "0.0001")
    assert not server.asked
    with pytest.raises(InputError, match="was spent, and the limit is"):
        # The scripted endpoint counts every character as a token: four times the estimate.
        build(table, server, "--image-tokens", "0", "--price-in", "5", "--max-cost", "0.03")
    assert server.asked


def test_a_missing_picture_is_found_before_anything_is_sent(table, serve):
    server = serve(ScriptedModel(honest))
    (table.parent / "1.png").unlink()
    with pytest.raises(InputError, match=r"case c1: the image .*1\.png cannot be read"):
        build(table, server)
    assert not server.asked
    status, rows, report = build(table, server, "--drop-bad", "--setting", "pairwise")
    assert (status, len(rows)) == (0, 6)
    assert report["dropped"][0]["count"] == 1


def test_a_picture_that_cannot_be_decoded_is_refused_and_counted(table, serve):
    (table.parent / "2.png").write_bytes(b"no picture")
    status, rows, report = build(table, serve(ScriptedModel(honest)), "--setting", "pairwise")
    assert (status, len(rows)) == (0, 6)
    assert report["judgements_dropped"] == {"the question could not be put": 2}
    assert report["spent"]["refused"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "there is no teacher"),
        (["--endpoint", "https://x.org/v1"], "there is no teacher"),
        (["--bundle", "x", "--known"], "a bundle judges for itself"),
        (["--endpoint", "http://x.org/v1", "--model", "m"], "unencrypted"),
    ],
)
def test_a_teacher_that_cannot_be_asked_is_named(table, more, message):
    with pytest.raises(InputError, match=message):
        main(["data", "build", str(table), "--out", str(table.parent / "o"), *more])


def test_a_teacher_may_be_named_as_it_was_pulled(table, monkeypatch):
    monkeypatch.setenv("EDGECRITIC_HOME", str(table.parent / "home"))
    with pytest.raises(ArtifactError, match="models pull owner/name"):
        main(
            [
                "data",
                "build",
                str(table),
                "--out",
                str(table.parent / "o"),
                "--bundle",
                "owner/name",
            ]
        )


def test_a_killed_build_goes_on_without_loss_or_repeat(table, serve):
    model = ScriptedModel(honest, delay=0.05)
    server = serve(model)
    out = table.parent / "out"
    asked = ["-m", "edgecritic", "train", "data", "build", str(table), "--out", str(out)]
    asked += ["--endpoint", server.url, "--model", "judge", "--parallel", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.Popen(
        [sys.executable, *asked],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ledger = out / "ledger.jsonl"
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 3):
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    kept = ledger.read_bytes().count(b"\n")
    assert 3 <= kept < 16
    status, _, report = build(table, server)
    assert status == 0
    assert report["spent"]["answers"] == 16 - kept
    keys = [json.loads(line)["key"] for line in ledger.read_bytes().splitlines()]
    assert len(keys) == len(set(keys)) == 16
