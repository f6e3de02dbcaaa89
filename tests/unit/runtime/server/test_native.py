"""Judgements over HTTP are the critic's own."""

from __future__ import annotations

from typing import Any

import pytest

from request_pictures import DATA_URL, PICTURE
from scripted_critic import scripted_critic
from serving import Running, served, serving

SCORE = {"question": "Which digit is this?", "response": "right", "image": DATA_URL}
COMPARE = {"question": "Which digit is this?", "first": "wrong", "second": "right"}
RANK = {"question": "Which digit is this?", "responses": ["wrong", "right", "no"]}


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from run to run."""
    # What a judgement costs depends on what was judged before.
    kept = {key: value for key, value in result.items() if key not in ("timings", "usage")}
    for nested in kept.get("preferences", []):
        nested[2] = timeless(nested[2])
    kept["verdicts"] = [timeless(verdict) for verdict in kept.get("verdicts", [])]
    return kept


def test_a_score_is_what_the_critic_says(server: Running) -> None:
    answer = server.post("/v1/judge/score", SCORE)
    with scripted_critic("the picture shows it") as critic:
        expected = critic.score(PICTURE, "Which digit is this?", "right").to_dict()
    assert answer.status == 200
    assert timeless(answer.json) == timeless(expected)
    assert answer.json["rationale"] == "the picture shows it"


def test_a_preference_is_what_the_critic_says(server: Running) -> None:
    answer = server.post("/v1/judge/compare", {**COMPARE, "orders": "given", "rationale": False})
    with scripted_critic() as critic:
        expected = critic.compare(
            None, "Which digit is this?", "wrong", "right", orders="given", rationale=False
        ).to_dict()
    assert timeless(answer.json) == timeless(expected)
    assert answer.json["winner"] == "second"


@pytest.mark.parametrize("method", ["pairwise", "adaptive", "pointwise"])
def test_a_ranking_is_what_the_critic_says(server: Running, method: Any) -> None:
    answer = server.post("/v1/judge/rank", {**RANK, "method": method})
    with scripted_critic() as critic:
        expected = critic.rank(
            None, "Which digit is this?", ["wrong", "right", "no"], method=method
        ).to_dict()
    assert answer.json["order"][0] == 1
    assert timeless(answer.json)["rewards"] == timeless(expected)["rewards"]


def test_a_batch_keeps_its_order_and_loses_nothing_to_a_bad_member(server: Running) -> None:
    members = [
        {"kind": "score", **SCORE, "rationale": False},
        {"kind": "compare", **COMPARE, "rationale": False},
        {"kind": "score", **SCORE, "image": "data:image/png;base64,AAAA"},
        {"kind": "score", **SCORE, "rubric": "5-1"},
        {"kind": "rank", **RANK},
    ]
    results = server.post("/v1/judge/batch", {"requests": members}).json["results"]
    assert [result.get("status", "error") for result in results] == [
        "ok",
        "ok",
        "error",
        "error",
        "ok",
    ]
    assert results[2]["error"]["code"] == "bad_image"
    assert results[0]["score"] > 8


def test_a_stream_tells_verdict_text_and_result(server: Running) -> None:
    answer = server.post("/v1/judge/score", {**SCORE, "stream": True, "seed": 7})
    assert answer.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in answer.events]
    assert list(dict.fromkeys(names)) == ["progress", "verdict", "text", "result"]
    text = "".join(data["text"] for name, data in answer.events if name == "text")
    assert text == answer.events[-1][1]["rationale"] == "the picture shows it"
    assert next(data for name, data in answer.events if name == "verdict")["rationale"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rubric": {"low": 5, "high": 1}}, "bad_input"),
        ({"question": "  "}, "bad_input"),
        ({"image": "data:image/png;base64,!!"}, "bad_image"),
        ({"image": "http://example.org/a.png"}, "remote_image"),
        ({"image": "file:///etc/passwd"}, "bad_image"),
        ({"image": [DATA_URL] * 9}, "bad_input"),
        ({"response": "x" * 200_000}, "context_length_exceeded"),
        ({"unknown": 1}, "bad_input"),
        ({"wording": -1}, "bad_input"),
        ({"temperature": 11}, "bad_input"),
    ],
)
def test_what_cannot_be_judged_is_told(server: Running, change: Any, code: str) -> None:
    answer = server.post("/v1/judge/score", {**SCORE, **change})
    assert (answer.status, answer.json["error"]["code"]) == (400, code)
    assert answer.json["error"]["message"]


def test_a_model_that_is_not_there_is_a_404(server: Running) -> None:
    answer = server.post("/v1/judge/score", {**SCORE, "model": "gpt-4o"})
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")


def test_several_models_judge_side_by_side() -> None:
    with serving([served(name="one"), served(name="two")]) as running:
        for name in ("one", "two"):
            body = {**SCORE, "model": name, "rationale": False}
            assert running.post("/v1/judge/score", body).status == 200
        states = {model["id"]: model["state"] for model in running.get("/health").json["models"]}
    assert states == {"one": "ready", "two": "ready"}
