"""All forms of a report: whole, self-contained, and safe with anybody's texts."""

from __future__ import annotations

import csv
import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from edgecritic_bench.quantization.page.document import document
from edgecritic_bench.quantization.page.figures import DRAWN, Axes, Point, scatter
from edgecritic_bench.quantization.page.svg import Scale, shade
from edgecritic_bench.quantization.report import read_report, write_report
from edgecritic_bench.quantization.sentences import attacked_arms
from edgecritic_bench.quantization.tables import markdown_page
from edgecritic_bench.robustness.families import families

HOSTILE = '</td><script>alert(1)</script><img src="https://example.org/x.png">'


class Tags(HTMLParser):
    """Collects tags and attributes; open elements must close in order."""

    VOID = frozenset(
        ("meta", "img", "br", "line", "rect", "circle", "polygon", "polyline", "!doctype")
    )

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(report) -> str:
    return document(report)


def test_the_page_fetches_and_runs_nothing(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "iframe", "object", "embed", "video", "audio", "form"}
    for tag, attributes in tags.seen:
        for name, value in attributes.items():
            assert not name.startswith("on"), tag
            if name in ("src", "href", "srcset", "action"):
                assert (value or "").startswith("data:image/")
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_figures_are_well_formed_and_named(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) > 20
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label")
        assert root.find("title") is not None
        assert not re.search(r"nan|inf\b", drawing.lower().replace("information", ""))


def test_every_section_is_there(page, report):
    for heading in (
        "Which quantization to use",
        "Flips, size and time",
        "What may be claimed",
        "Where the drift comes from",
        "How scores shift",
        "What suffers first",
        "Calibration",
        "Response models",
        "Manipulated responses and pictures",
        "Without the right picture",
        "Does divergence predict flips?",
        "Importance matrices",
        "Where arms disagree",
        "All numbers by gold",
        "How it was measured",
    ):
        assert heading in page
    for arm in report["arms"]:
        assert arm["arm"]["name"] in page
    for family in families():
        assert family.replace("_", " ") in page
    assert page.count('class="sample"') == len(report["samples"]) > 4
    assert "Refused: this sample cannot support" in page


def test_texts_of_strangers_stay_texts(report):
    hostile = deepcopy(report)
    sample = hostile["samples"][0]
    sample |= {"question": HOSTILE, "category": HOSTILE, "responses": [HOSTILE]}
    sample["reasons"] = {"reference": HOSTILE}
    hostile["made"]["command"] = HOSTILE
    for arm in hostile["arms"]:
        arm["arm"]["name"] += HOSTILE
    page = document(hostile)
    assert "<script" not in page
    assert 'src="https' not in page
    assert "&lt;script&gt;" in page


def test_json_csv_and_markdown_say_the_same(report, tmp_path):
    json_path, csv_path, markdown_path, html_path = write_report(report, tmp_path)
    stored = read_report(json_path)
    assert "NaN" not in json_path.read_text()
    # What was stored makes the same page again.
    assert document(stored) == html_path.read_text(encoding="utf-8")
    assert markdown_page(stored) == markdown_path.read_text(encoding="utf-8")
    with csv_path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = {(row["arm"], row["setting"], row["metric"]): row for row in rows}
    assert len(found) == len(rows)
    changed = found["gguf Q2_K", "pairs against reference", "changed"]
    kept = stored["arms"][4]["reference"]["pairs"]["changed"]
    assert float(changed["value"]) == kept["value"]
    assert json.loads(json_path.read_text())["recommendation"]["words"] in markdown_path.read_text()


def test_many_arms_find_room(report):
    many = deepcopy(report)
    for number in range(20):
        arm = deepcopy(report["arms"][4])
        arm["arm"]["name"] = f"arm {number}"
        arm["engine"] = "llama.cpp on a GPU"
        many["arms"].append(arm)
        for sample in many["samples"]:
            sample["said"][f"arm {number}"] = sample["said"]["gguf Q2_K"]
    page = document(many)
    assert "Arms ran on several devices: " in page
    assert "several devices" not in document(report)
    engines = re.search(r"<td>engines</td>.*?</tr>", page)
    assert engines
    assert "llama.cpp on a GPU: arm 0, arm 1" in engines[0]
    # Arms go down where they would be too many across, and a card names a verdict's arms.
    (by_category,) = re.findall(r"<h3>By category</h3>.*?</svg>", page, re.DOTALL)
    words = ElementTree.fromstring(by_category[by_category.index("<svg") :])
    places = {text.text: float(text.get("x", 0)) for text in words.iter("text")}
    assert places["arm 3"] == places["arm 4"]
    assert places["digit"] < places["count"] or places["count"] < places["digit"]
    assert re.search(r'class="words"><span class="small">2\d arms', page)
    # Of many arms only some get a small figure each, and only what is refused takes a sentence.
    for drawn, count in (("Levels: ", DRAWN), ("Calibration: ", 2 * DRAWN)):
        assert page.count(f'aria-label="{drawn}') == count
    assert "<b>Equivalent on scores</b> within" in page
    assert page.count("Equivalent within") < document(report).count("Equivalent within")


def test_the_data_set_that_suffers_first_is_named(report):
    assert "By data set" not in document(report)
    two = deepcopy(report)
    for arm in two["arms"][1:]:
        (change,) = arm["reference"]["by_source"].values()
        more = deepcopy(change)
        more["winners"]["value"] += 0.01
        arm["reference"]["by_source"] = {"old": change, "new": more}
    quantized = sum(arm["arm"]["role"] == "quantized" for arm in two["arms"])
    page = document(two)
    assert "By data set" in page
    told = re.search(r"Winners changed, mean of (\d+) quantized arms: (.*?)\.</p>", page)
    assert told
    assert int(told[1]) == quantized
    assert told[2].startswith("new ")
    assert f"most of all in {quantized} arms" in told[2]


def test_goals_that_are_missed_are_told_in_words(report):
    good, bad = deepcopy(report), deepcopy(report)
    for part, flips, uplift in ((good, 0.01, 0.1), (bad, 0.3, 0.1)):
        for arm in part["arms"]:
            for outcome in arm["robustness"].values():
                outcome["flips"]["value"], outcome["uplift"]["value"] = flips, uplift
    assert document(good).count("reached by every arm") == 3
    page = document(bad)
    assert "Win-flips at most 5%: missed by reference (30.0%)" in page
    assert page.count("reached by every arm") == 2
    # Every family stands there with its interval, for every arm.
    rows = re.findall(r"<tr><td>master key</td>(.*?)</tr>", page)
    assert len(rows) == 2
    assert rows[0].count("✗") == len(attacked_arms(bad)) == len(bad["arms"]) - 1
    assert " to " in rows[0]


def test_pairs_alone_and_scores_alone(report):
    for setting in ("pairs", "scores"):
        part = deepcopy(report)
        part["rows"][setting] = 0
        part["samples"] = []
        for arm in part["arms"]:
            arm[setting] = None
            arm["robustness"], arm["models"] = {}, {}
            for against in ("reference", "base"):
                if arm[against]:
                    arm[against][setting] = None
        tags = Tags()
        tags.feed(document(part))
        assert tags.open == []
        assert markdown_page(part)


def test_scales_and_shades():
    scale = Scale(0, 0.137, 0, 100)
    assert scale(0) == 0
    assert scale(1) == 100
    assert scale.ticks() == [0, 0.05, 0.1]
    assert Scale(2, 2, 0, 1).ticks() == [2]
    assert shade(0)[1] != shade(1)[1]
    axes = Axes("t", "x", "y", str, str)
    ratios = str(scatter([Point(str(x), "onnx", x, 1) for x in (109, 714)], ratio_axes()))
    assert all(f">{number}<" in ratios for number in (100, 200, 500, 1000))
    assert "nothing to draw" in str(scatter([Point("a", "onnx", float("nan"), 1)], axes))


def ratio_axes() -> Axes:
    return Axes("t", "x", "y", lambda x: f"{x:g}", str, powers=True)


def test_words_in_a_scatter_do_not_overlap():
    points = [Point(f"name {n}", "llamacpp", 100 + n, 0.01) for n in range(9)]
    drawn = str(scatter(points, Axes("t", "x", "y", str, str)))
    found = re.findall(r'<text x="([0-9.]+)" y="([0-9.]+)"( text-anchor="end")?[^>]*"label"', drawn)
    assert len(found) == len(points)
    boxes = [(float(x) - 40 * bool(end), float(y)) for x, y, end in found]
    for n, (x, y) in enumerate(boxes):
        assert not any(abs(x - a) < 40 and abs(y - b) < 13 for a, b in boxes[:n])
