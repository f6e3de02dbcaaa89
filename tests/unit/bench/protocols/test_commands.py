"""The commands on benchmarks, files of replies, and the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark_files import write_lines, write_png
from edgecritic import ArtifactError, InputError
from edgecritic_bench import cli
from edgecritic_bench.protocols import cli as commands
from edgecritic_bench.protocols.files import read_objects
from edgecritic_bench.protocols.hub import HubData, locate
from edgecritic_bench.protocols.importers import FORMATS
from edgecritic_bench.protocols.registry import BENCHMARKS, benchmark
from edgecritic_bench.protocols.replies import SHOWN, Reply, read_replies, write_replies
from edgecritic_bench.records import WINNERS
from scripted_critic import scripted_critic
from stand_in_hub import COMMIT, StandInHub

ROWS = [
    {
        "id": f"r{n}",
        "setting": "pairwise",
        "images": ["a.png"],
        "question": "What is it?",
        "responses": ["right", "wrong"] if n % 2 else ["wrong", "right"],
        "verdict": "first" if n % 2 else "second",
    }
    for n in range(6)
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_png(tmp_path / "a.png")
    return write_lines(tmp_path / "rows.jsonl", ROWS)


def test_every_benchmark_is_listed(capsys):
    assert cli.main(["benchmarks", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [facts["name"] for facts in listed] == list(BENCHMARKS)
    assert all(facts["protocols"] for facts in listed)
    assert cli.main(["benchmarks"]) == 0
    assert "vl-rewardbench" in capsys.readouterr().out
    with pytest.raises(InputError, match="no benchmark 'mmlu'"):
        benchmark("mmlu")


def test_the_page_on_protocols_names_every_benchmark_and_format():
    page = (Path(__file__).parents[4] / "docs" / "benchmarks-protocols.md").read_text()
    for name in FORMATS:
        assert f"| `{name}` |" in page
    for known in BENCHMARKS.values():
        stem = known.name.removeprefix("mllm-as-a-judge")
        assert stem in page
        assert known.source in page or not known.source.startswith("arXiv")


def test_a_run_is_scored_beside_a_peer(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands.Critic, "load", lambda *_, **__: scripted_critic())
    monkeypatch.setattr(commands, "find_bundle", lambda name: None)
    out = tmp_path / "ours.jsonl"
    assert cli.main(["run", "rows", str(data), "--out", str(out), "--limit", "4"]) == 0
    assert len(read_replies(out)) == 4 * 3
    # What is judged is not judged again, and a torn line is.
    out.write_bytes(out.read_bytes() + b'{"key": "r4", "sh')
    assert cli.main(["run", "rows", str(data), "--out", str(out)]) == 0
    assert len(read_replies(out)) == 6 * 3
    assert "6 new verdicts on 6 rows" in capsys.readouterr().err
    peer = tmp_path / "peer.jsonl"
    write_replies(peer, [Reply(f"r{n}", "both", winner="first") for n in range(6)])
    numbers = tmp_path / "numbers.json"
    words = ["score", "rows", str(data), f"ours={out}", str(peer), "--json", str(numbers)]
    assert cli.main(words) == 0
    page = capsys.readouterr().out
    assert "| **accuracy without ties** | 1.000 (0.610 to 1.000) | 0.500 (" in page
    assert "Protocol `both-orders`" in page
    assert "- peer: 3 right to wrong, 0 wrong to right (exact McNemar p = 0.25). Refused" in page
    facts = json.loads(numbers.read_text())
    assert facts["scores"]["ours"]["metrics"]["accuracy without ties"]["value"] == 1
    assert facts["against_the_first"]["peer"]["standing"] == "refused"
    page_file = tmp_path / "pages" / "rows.md"
    assert cli.main(["score", "rows", str(data), str(out), "--out", str(page_file)]) == 0
    assert page_file.read_text().startswith("## Rows of one's own")
    with pytest.raises(InputError, match="the same name"):
        cli.main(["score", "rows", str(data), str(out), f"ours={out}"])


def test_another_critics_verdicts_are_not_gone_on_with(data, tmp_path, monkeypatch):
    monkeypatch.setattr(commands.Critic, "load", lambda *_, **__: scripted_critic())
    monkeypatch.setattr(commands, "find_bundle", lambda name: None)
    out = tmp_path / "ours.jsonl"
    assert cli.main(["run", "rows", str(data), "--out", str(out), "--limit", "1"]) == 0
    meta = out.with_name(out.name + ".meta.json")
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "critic": "another"}))
    with pytest.raises(InputError, match="holds judgements by another"):
        cli.main(["run", "rows", str(data), "--out", str(out)])


def test_import_writes_replies(tmp_path, capsys):
    folder = tmp_path / "Benchmark"
    write_lines(
        folder / "pair.jsonl",
        [
            {
                "pair_id": 1,
                "id": 0,
                "instruction": "What?",
                "image_path": "0.jpg",
                "original_dataset": "coco",
                "answer1": {"name": "x", "answer": "a"},
                "answer2": {"name": "y", "answer": "b"},
                "human_answer": "B",
            }
        ],
    )
    theirs = write_lines(tmp_path / "gpt.jsonl", [{"mllm_judge": "B"}])
    out = tmp_path / "replies.jsonl"
    words = ["import", "mllm-judge", "mllm-as-a-judge-pair", str(tmp_path), str(theirs)]
    assert cli.main([*words, "--out", str(out)]) == 0
    assert read_replies(out) == (Reply("pair-1", text="B", winner="second"),)
    assert "1 verdicts" in capsys.readouterr().err


@given(
    st.builds(
        Reply,
        key=st.text(min_size=1),
        shown=st.sampled_from(SHOWN),
        text=st.none() | st.text(),
        extracted=st.none() | st.text(),
        winner=st.sampled_from([None, *WINNERS]),
        level=st.none() | st.floats(-1e6, 1e6),
        order=st.none() | st.permutations(range(4)).map(tuple),
        rewards=st.none() | st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
        probabilities=st.none() | st.tuples(*[st.floats(0, 1)] * 3),
    )
)
def test_a_reply_survives_its_line(reply):
    assert Reply.from_dict(json.loads(reply.to_line())) == reply


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({}, "there is no 'key'"),
        ({"key": "a", "winner": "A"}, "winner is 'A'"),
        ({"key": "a", "shown": "upside"}, "shown is 'upside'"),
        ({"key": "a", "score": 3}, "the key 'score' is unknown"),
        ({"key": "a", "level": True}, "True is no number"),
        ({"key": "a", "level": "nan"}, "'nan' is no finite number"),
        ({"key": "a", "order": [0, 0]}, r"order is \[0, 0\], not each of 0 to 1 once"),
        ({"key": "a", "text": 3}, "text is 3, not text"),
    ],
)
def test_broken_replies_are_named(tmp_path, line, message):
    path = write_lines(tmp_path / "r.jsonl", [{"key": "fine"}, line])
    with pytest.raises(InputError, match=rf"r\.jsonl:2: {message}"):
        read_replies(path)


def test_tables_are_told_apart_by_their_suffix(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert [row for _, row in read_objects(tmp_path / "a.csv")] == [{"x": "1", "y": "2"}]
    (tmp_path / "b.json").write_text('[{"x": 1}, 2]')
    with pytest.raises(InputError, match=r"b\.json:2 is a int, not an object"):
        list(read_objects(tmp_path / "b.json"))
    (tmp_path / "c.jsonl").write_text('{"x": 1}\n{"x": ')
    with pytest.raises(InputError, match=r"c\.jsonl:2: Expecting value"):
        list(read_objects(tmp_path / "c.jsonl"))
    (tmp_path / "d.parquet").write_bytes(b"PAR1 is all there is")
    with pytest.raises(InputError, match="no Parquet"):
        list(read_objects(tmp_path / "d.parquet"))
    with pytest.raises(InputError, match=r"suffix '\.xlsx'"):
        list(read_objects(tmp_path / "e.xlsx"))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_objects(tmp_path / "f.jsonl"))


PUBLISHED = HubData("critics/tiny", ("*.jsonl", "images/*"), "MIT")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    # Read from the environment when huggingface_hub is imported, which another test may have done.
    from huggingface_hub import constants

    files = {"rows.jsonl": b"{}\n", "images/a.png": b"png", "weights.bin": b"no"}
    with StandInHub(files=files, kind="datasets").serving() as hub:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr("time.sleep", lambda _: None)
        monkeypatch.setenv("HF_TOKEN", "")
        yield hub


def test_data_is_fetched_from_the_hub_with_its_commit(hub, tmp_path):
    found = locate("hub:", PUBLISHED, tmp_path)
    assert found.origin == f"critics/tiny@{COMMIT[:12]}"
    names = {p.relative_to(found.path).as_posix() for p in found.path.rglob("*") if p.is_file()}
    # What is not asked for is not fetched.
    assert names == {"rows.jsonl", "images/a.png"} == {path for path, _ in hub.sent}
    assert locate(f"hub:critics/tiny@{COMMIT}", PUBLISHED, tmp_path) == found
    hub.broken = True
    with pytest.raises(ArtifactError, match=r"could not be fetched|cannot be reached"):
        locate("hub:", PUBLISHED, tmp_path / "empty")


def test_what_the_hub_refuses_is_said_with_the_cure(hub, tmp_path):
    with pytest.raises(ArtifactError, match="the data set critics/other is not on the hub"):
        locate("hub:critics/other", PUBLISHED, tmp_path)
    with pytest.raises(ArtifactError, match="critics/tiny has no revision 'v9'"):
        locate("hub:@v9", PUBLISHED, tmp_path)
    hub.gated = True
    with pytest.raises(ArtifactError, match="is gated") as refused:
        locate("hub:", PUBLISHED, tmp_path)
    assert "accept its terms" in refused.value.hint


def test_paths_are_taken_as_they_are(tmp_path, data):
    assert locate(str(data), None).path == data
    with pytest.raises(InputError, match="is not there"):
        locate(str(tmp_path / "nowhere"), None)
    with pytest.raises(InputError, match="not published on the hub"):
        locate("hub:", None)


def test_without_a_network_the_cache_is_asked(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    found = locate("hub:", PUBLISHED, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("hub:", PUBLISHED, tmp_path) == found
    with pytest.raises(ArtifactError, match="is not in the cache"):
        locate("hub:", PUBLISHED, tmp_path / "empty")
