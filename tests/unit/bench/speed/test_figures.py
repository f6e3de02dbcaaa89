"""Rows that outlive a run, and the arithmetic behind the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecritic import InputError
from edgecritic_bench.speed.engines import Setup
from edgecritic_bench.speed.figures import Samples, grown, rates, share
from edgecritic_bench.speed.page import write_page
from edgecritic_bench.speed.plan import Options, cells
from edgecritic_bench.speed.rows import Rows

MEMORY = {"now": 1.0, "peak": 2.0, "anonymous": 1.0}


def sample(engine: str, number: int, wall: float, decided: str = "9") -> dict:
    return {
        **{"engine": engine, "number": number, "wall": wall, "processor": 2 * wall},
        **{"decided": list(decided), "asked": 4, "tokens": {"prompt": 9}, "memory": MEMORY},
    }


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    found = Rows(tmp_path / "rows.jsonl")
    found.begin("task/pairs/8x8/0")
    for number, (ours, theirs) in enumerate(((1.0, 3.0), (2.0, 6.0), (4.0, 20.0))):
        found.add("task/pairs/8x8/0", sample("edgecritic", number, ours, "9988"))
        found.add("task/pairs/8x8/0", sample("handler", number, theirs, "97"))
    found.finish("task/pairs/8x8/0", 1.0)
    return found


def test_a_ratio_is_that_of_neighbours_and_a_part_is_multiplied(rows):
    samples = Samples(rows, "pairs", (8, 8))
    assert samples.seconds("edgecritic") == 2.0
    assert samples.seconds("handler", "processor") == 24.0  # half of it was done
    ratio = samples.ratio("handler", "edgecritic")
    assert (ratio.median, ratio.low, ratio.high, ratio.n) == (6.0, 6.0, 8.0, 3)
    assert str(ratio) == "**6.00** (6.00-8.00)"
    assert samples.agreed("handler", "edgecritic") == (3, 6)


def test_a_cell_that_was_not_finished_is_begun_again(rows):
    rows.begin("task/pairs/8x8/1")
    rows.add("task/pairs/8x8/1", sample("edgecritic", 9, 99.0))
    with rows.path.open("a") as file:
        file.write('{"cell": "task/pa')  # the machine was taken back
    read = Rows(rows.path)
    assert read.finished("task/pairs/8x8/0")
    assert not read.finished("task/pairs/8x8/1")
    read.begin("task/pairs/8x8/1")
    assert read.of("task/pairs/8x8/1") == []
    read.finish("task/pairs/8x8/1", 1.0)
    assert Rows(rows.path).finished("task/pairs/8x8/1")


def test_rows_of_something_else_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"item": 1}\n{"cell": "run"}\n')
    with pytest.raises(InputError, match=r"line 1 is no row of this bench"):
        Rows(path)


def test_a_reason_of_a_few_words_has_no_rate(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    for engine, written in (("edgecritic", 3), ("plain", 64)):
        for prefill in (10.0, 30.0, 20.0):
            rate = {"prompt": 5, "prefill": prefill, "decode": 7.0, "whole": 6.0}
            rows.add("rates", {"engine": engine, "rates": [rate | {"written": written}]})
    assert rates(rows) == {
        "edgecritic": [{"prompt": 5, "prefill": 20.0}],
        "plain": [{"prompt": 5, "prefill": 20.0, "decode": 7.0, "whole": 6.0}],
    }


def test_ours_is_compared_with_its_neighbour_in_time(rows):
    for ours, plain in ((9.0, 10.0), (45.0, 50.0), (20.0, 10.0)):
        for engine, decode in (("edgecritic", ours), ("plain", plain)):
            rows.add("rates", {"engine": engine, "rates": [{"decode": decode}]})
    ratio = share(rows, 0, "decode")
    assert (ratio.median, ratio.n) == (pytest.approx(0.9), 3)


def test_growth_takes_the_quicker_repetition_in_order(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    for value, seconds in ((10, 2.0), (2, 1.0), (10, 1.5)):
        rows.add(f"growth/text/{value}", {"engine": "edgecritic", "seconds": seconds})
    assert [(n, row["seconds"]) for n, row in grown(rows, "text", "edgecritic")] == [
        (2, 1.0),
        (10, 1.5),
    ]


def test_the_most_telling_cells_come_first():
    options = Options(tasks=("verdict",), sizes=((8, 8),), rounds=2)
    names = [cell.name for cell in cells(options)]
    assert names[:3] == ["rates", "rationales", "task/verdict/8x8/0"]
    assert names[-1] == "task/verdict/8x8/1"
    assert len(set(names)) == len(names)
    only = Options(tasks=("verdict",), sizes=((8, 8),), only=("limits",))
    assert [cell.name for cell in cells(only)] == ["limits"]


@pytest.mark.parametrize("gpu", [False, True])
def test_a_page_tells_every_part(rows, tmp_path, gpu):
    rows.add("run", {"provenance": provenance()})
    rows.add("start/0", {"engine": "edgecritic", "start": {"loaded": 1.0, "memory": MEMORY}})
    for engine in ("edgecritic", "plain"):
        rate = {"prompt": 1800, "prefill": 900.0, "decode": 50.0, "written": 64}
        whole = {"whole": 44.0} if engine == "edgecritic" else {}
        rows.add("rates", {"engine": engine, "rates": [rate | whole]})
    machine = {"device": "card", "bandwidth": 2e12, "operations": 1e14}
    rows.add("limits", {"machine": machine, "token": {"bytes": 4 * 10**9, "weights": 5 * 10**9}})
    told = {"single": 10.0, "together": 2.0, "tokens": [9, 9], "equal": 20}
    rows.add("rationales", {"engine": "edgecritic", **told})
    rows.add("cancel", {"engine": "edgecritic", "prefill": [0.2, None], "token": [0.01, 0.03]})
    for engine, same in (("edgecritic-deterministic", 200), ("edgecritic", 90)):
        rows.add("determinism", {"engine": engine, "same": same, "of": 200, "seconds": 2.0})
    vram = {"before": 100.0, "peak": 1100.0 if gpu else 0.0, "closed": 400.0}
    estimated = {"vram_bytes": 990 << 20, "ram_bytes": 2 << 20}
    fit = {"engine": "edgecritic", "estimated": estimated, "vram": vram, "memory": {"peak": 2.0}}
    rows.add("fit", fit)
    for value in (1, 2):
        rows.add(f"growth/responses/{value}", {"engine": "edgecritic", "scores": 0.1 * value})
    rows.add("notes", {"text": "The fan was loud."})
    page = tmp_path / "page.md"
    setup = Setup(gpu=gpu)
    options = Options(setup, engines=("edgecritic", "handler"), sizes=((8, 8),), rounds=1)
    write_page(rows, options, page, tmp_path / "images")
    text = page.read_text()
    assert "$" not in text
    assert "Not measured" not in text
    assert "| 20 ordered pairs, new picture | 2.00 | about 12.00 |" in text
    assert "| prefill, prompt of 1,800 | 900 | 900 | 100.0% | 10,000 |" in text
    assert "| decode, prompt of 1,800 | 50 | 50 | 100.0% | 500 |" in text
    assert "came at 44 behind 1,800 tokens." in text
    assert "| edgecritic on llama.cpp | 10.00 s | 2.00 s | **5.00** | 9 | 20 of 20 |" in text
    assert "200 of 200 judgements" in text
    assert "- The fan was loud." in text
    assert "20 ms in a reason (at most 30 ms of 2)" in text
    assert ("1,000 MiB more than before (-1.0%)" in text) is gpu
    assert ("3 of 6" in text) is not gpu
    assert (tmp_path / "images" / "page-growth.png").stat().st_size > 1000
    assert "(images/page-growth.png)" in text


def provenance() -> dict:
    return json.loads(
        '{"machine": "m", "system": "s", "versions": [["numpy", "2"]], "date": "d", "command": "c"}'
    )
