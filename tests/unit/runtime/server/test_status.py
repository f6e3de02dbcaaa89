"""What the server says of itself."""

from __future__ import annotations

from serving import Running, serving


def test_nothing_is_loaded_before_the_first_judgement() -> None:
    with serving() as running:
        health = running.get("/health").json
        assert health["status"] == "ok"
        assert health["models"] == [{"id": "scripted", "state": "unloaded"}]
        assert health["queue"] == {"waiting": 0, "limit": 64}


def test_models_are_listed_as_openai_does(server: Running) -> None:
    listed = server.get("/v1/models").json
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("scripted", "model", "edgecritic")
    assert model["edgecritic"]["rubric"] == {"low": 1, "high": 10}
    assert server.get("/v1/models/scripted").json == model
    assert server.get("/v1/models/none").status == 404


def test_metrics_count_what_was_answered(server: Running) -> None:
    body = {"question": "?", "response": "right", "rationale": False}
    server.post("/v1/judge/score", body)
    server.get("/no/such/path")
    answer = server.get("/metrics")
    lines = answer.content.decode().splitlines()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert any(
        line.startswith('edgecritic_requests_total{path="other",status="404"}') for line in lines
    )
    assert 'edgecritic_loaded{model="scripted"} 1' in lines
    assert any(line.startswith("edgecritic_judgement_seconds_bucket") for line in lines)
