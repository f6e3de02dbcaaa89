"""Prompts as chats, and pictures as data URLs."""

from __future__ import annotations

import io
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecritic import CancelToken, ImageError, Rubric
from edgecritic.backends.base import Cancelled
from edgecritic.prompts import load_dialect, render
from edgecritic.remote.images import data_urls
from edgecritic.remote.messages import asked_form, asked_reason, chat, defused
from edgecritic.task import Task
from edgecritic.vision import ImageLimits

DIALECT = load_dialect()
LIMITS = ImageLimits()


def test_the_chat_holds_the_prompt_s_words_and_no_scaffolding() -> None:
    task = Task("What is it?", ("A cat.", "A dog."), reference="A cat.")
    prompt = render(task, DIALECT)
    system, user = chat(prompt, DIALECT, [])
    framed = f"<|im_start|>system\n{system['content']}<|im_end|>\n"
    framed += f"<|im_start|>user\n{user['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert framed == prompt.text


def test_pictures_stand_where_the_prompt_has_them() -> None:
    prompt = render(Task("What?", ("x",), n_images=2), DIALECT)
    _system, user = chat(prompt, DIALECT, ["data:1", "data:2"], "\nform")
    *pictures, text = user["content"]
    assert [picture["image_url"]["url"] for picture in pictures] == ["data:1", "data:2"]
    assert text["text"].startswith("Question: What?")
    assert text["text"].endswith("Response: x\nform")


def test_what_frames_pictures_is_the_endpoint_s_business() -> None:
    task = Task("What?", ("x",), n_images=2)
    plain, framed = (
        chat(render(task, dialect), dialect, ["data:1", "data:2"])
        for dialect in (DIALECT, load_dialect("edgecritic-qwen-v1"))
    )
    assert framed == plain


def test_the_form_is_asked_for_in_the_dialect_s_own_words() -> None:
    pointwise = render(Task("What?", ("x",), rubric=Rubric(0, 5)), DIALECT)
    assert asked_form(pointwise, DIALECT) == (
        "\nAnswer in exactly this form, the verdict first:\n"
        "Score: N\nReason: ...\nN is a whole number from 0 to 5."
    )
    pairwise = render(Task("What?", ("x", "y")), DIALECT)
    assert asked_form(pairwise, DIALECT).endswith(
        "Better: WHICH\nReason: ...\nWHICH is first, second or tie."
    )


def test_the_reason_is_asked_for_behind_the_verdict() -> None:
    asked = chat(render(Task("What?", ("x",)), DIALECT), DIALECT, [])
    roles = [message["role"] for message in asked_reason(asked, "Score: 7")]
    assert roles == ["system", "user", "assistant", "user"]


TOKENS = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|image_pad|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<s>",
    "</s>",
    "<image>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<__media__>",
    "[INST]",
    "[/INST]",
    "[IMG]",
    "</think>",
]


@given(st.lists(st.sampled_from([*TOKENS, "<", "|", "s", ">", "a"]), max_size=8).map("".join))
def test_no_control_token_is_left(text: str) -> None:
    assert not [token for token in TOKENS if token in defused(text)]
    assert defused(text).replace(" ", "") == text


@pytest.mark.parametrize("text", ["a < b", "x <- y", "<b>bold</b>", "[1]", "a | b", "[INSTANT]"])
def test_ordinary_text_stays(text: str) -> None:
    assert defused(text) == text


def opened(url: str) -> Image.Image:
    kind, _, content = url.partition(";base64,")
    image = Image.open(io.BytesIO(b64decode(content, validate=True)))
    assert kind == f"data:image/{image.format.lower()}"
    return image


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_graphics_stay_exact() -> None:
    image = Image.new("RGB", (90, 60), "white")
    image.paste((200, 10, 10), (20, 10, 50, 40))
    (url,) = data_urls(image, LIMITS, 2048)
    assert np.array_equal(np.asarray(opened(url)), np.asarray(image))


def test_photographs_become_jpeg_and_stay_close() -> None:
    smooth = noise(40, 30).resize((1000, 800), Image.Resampling.BICUBIC)
    grainy = Image.blend(smooth, noise(1000, 800), 0.1)
    (url,) = data_urls(grainy, LIMITS, 2048)
    sent = opened(url)
    assert sent.format == "JPEG"
    assert len(url) < 2 << 20
    difference = np.asarray(sent).astype(int) - np.asarray(grainy).astype(int)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize(
    ("size", "longest", "sent"),
    [
        ((400, 100), 200, (200, 50)),
        ((100, 400), 200, (50, 200)),
        ((200, 200), 200, (200, 200)),
        ((5000, 2), 100, (100, 1)),
    ],
)
def test_large_pictures_are_shrunk(
    size: tuple[int, int], longest: int, sent: tuple[int, int]
) -> None:
    (url,) = data_urls(Image.new("RGB", size), LIMITS, longest)
    assert opened(url).size == sent


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_metadata_stays_at_home(format_: str) -> None:
    file = io.BytesIO()
    image = noise(900, 700) if format_ == "JPEG" else Image.new("RGB", (9, 9))
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    image.save(file, format_, exif=exif, icc_profile=b"profile of home", comment=b"home")
    (url,) = data_urls(file.getvalue(), LIMITS, 2048)
    content = b64decode(url.partition(",")[2])
    assert b"home" not in content
    assert opened(url).format == format_


def test_limits_hold_and_pictures_are_counted() -> None:
    assert data_urls(None, LIMITS, 2048) == []
    assert len(data_urls([Image.new("RGB", (5, 5))] * 3, LIMITS, 2048)) == 3
    with pytest.raises(ImageError, match="megapixels"):
        data_urls(Image.new("RGB", (50, 50)), ImageLimits(max_pixels=100), 2048)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        data_urls(Image.new("RGB", (5, 5)), LIMITS, 2048, cancel)
