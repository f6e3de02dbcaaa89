"""Pictures that nobody has seen, and the texts that all engines read."""

from __future__ import annotations

import base64
import io

from PIL import Image

from edgecritic.prompts import load_dialect, render
from edgecritic.task import Task
from edgecritic_bench.speed.dialogue import Dialogue, fill
from edgecritic_bench.speed.tasks import PAIRS, RESPONSES, default_picture, new_picture, unrelated


def test_others_read_what_the_runtime_renders():
    dialect = load_dialect()
    for texts, setting in ((("A 7.",), "pointwise"), (("A 7.", "A 3."), "pairwise")):
        prompt = render(Task("Which {digit}?", texts, 1), dialect)
        names = ("response",) if setting == "pointwise" else ("first", "second")
        values = dict(zip(names, texts, strict=True)) | {"question": "Which one?"}
        values |= {"low": "1", "high": "10"}
        filled = fill(dialect.wordings[setting][0], values)
        assert "{" not in filled
        whole = prompt.text.replace("Which {digit}?", "Which one?")
        assert filled in whole
        # As one text it is the prompt up to the answer's lead-in.
        start, _, end = Dialogue(dialect.system, filled, ".").text("\0").partition("\0")
        assert start in whole
        assert end in whole


def test_messages_carry_the_picture():
    system, user = Dialogue("You judge.", "Which?", ".").messages(b"png")
    assert system == {"role": "system", "content": "You judge."}
    picture, text = user["content"]
    assert base64.b64decode(picture["image_url"]["url"].partition(",")[2]) == b"png"
    assert text["text"] == "\nWhich?"


def test_no_two_pictures_are_alike():
    base = default_picture((64, 48))
    pictures = [new_picture(base, number) for number in (0, 1, 255, 256, 70000)]
    pictures += [one.picture for number in (1, 2) for one in unrelated(base, number, 30)]
    assert len(set(pictures)) == 65
    with Image.open(io.BytesIO(pictures[0])) as opened:
        assert opened.size == base.size


def test_unrelated_verdicts_ask_about_everything():
    asked = unrelated(default_picture((8, 8)), 3, 50)
    assert len({(one.question, one.response) for one in asked}) == 25
    assert {one.response for one in asked} == set(RESPONSES)
    assert len(PAIRS) == 20
