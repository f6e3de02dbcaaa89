"""Packed rows: each judgement computes what it would alone, and its targets are its answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgecritic.prompts import render
from edgecritic.task import Rubric, Task
from edgecritic.vision import pack_features, pixel_values, tile
from edgecritic_train.data.assets import Assets
from edgecritic_train.data.distractions import FILLINGS
from edgecritic_train.data.engine import item_at
from edgecritic_train.data.preferences import preferences
from edgecritic_train.embedded.language_model import special_ids
from edgecritic_train.embedded.model import IMAGE_TOKEN, parts
from edgecritic_train.embedded.rows import (
    IMAGE,
    RowMaker,
    item_rows,
    pack_image,
    pack_row,
    scaled,
    swap_ordinals,
    training_branches,
    transcript,
)
from edgecritic_train.embedded.sft import hidden_states, stack_rows

NOISE = np.random.default_rng(4).integers(0, 256, (150, 230, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)
SQUARE = Image.fromarray(NOISE[:100, :100])


@pytest.fixture(scope="module")
def branches(maker):
    tasks = (
        Task("Which digit?", ("a 7",), 1),
        Task("Which digit?", ("a 7", "an 8"), 1),
        Task("Which digit?", ("",), 1, "It is 7.", Rubric(0, 100)),
    )
    prompts = [render(task, maker.dialect, number) for number, task in enumerate(tasks)]
    return [maker.judgement(prompt, 1, "The digit is 7.") for prompt in prompts]


def logits_of(critic, rows, geometry):
    """(b, T, vocab) of packed rows."""
    pieces = parts(critic.base_model.model)
    length = max(len(row.tokens) for row in rows)
    batch = stack_rows(rows, length, geometry.patches_per_side**2)
    with torch.no_grad():
        return pieces.head(hidden_states(pieces, batch)).view(len(rows), length, -1)


def through_transformers(critic, token, prefix, picture, branch, geometry):
    """(n, vocab) logits of one branch, by transformers' own forward from pixels to logits."""
    tiled = tile(picture, geometry)
    n_tokens = len(pack_image(picture, geometry).gather)
    ids = [*prefix, *[token] * n_tokens, *branch.tokens]
    with torch.no_grad():
        output = critic.base_model.model(
            input_ids=torch.tensor([ids]),
            pixel_values=torch.from_numpy(pixel_values(tiled.tiles, geometry))[None],
            image_sizes=torch.tensor([[picture.height, picture.width]]),
        )
    return output.logits[0, -len(branch.tokens) :]


@pytest.mark.parametrize("picture", [PICTURE, SQUARE], ids=["wide", "square"])
def test_packed_branches_equal_single_ones_and_transformers(
    picture, branches, tiny_critic, maker, geometry
):
    prefix = maker.split(render(Task("?", ("",), 1), maker.dialect))[0]
    image = pack_image(picture, geometry)
    other = pack_row(prefix, pack_image(SQUARE, geometry), branches[1:], 4096)
    packed = pack_row(prefix, image, branches, 4096)
    together = logits_of(tiny_critic, [other, packed], geometry)[1]
    token = special_ids(maker.tokenize.tokenizer)[IMAGE_TOKEN]
    for number, branch in enumerate(branches, start=1):
        inside = together[: len(packed.tokens)][torch.from_numpy(packed.segments == number)]
        alone = logits_of(tiny_critic, [pack_row(prefix, image, [branch], 4096)], geometry)[0]
        np.testing.assert_allclose(inside, alone[-len(branch.tokens) :], atol=5e-5)
        whole = through_transformers(tiny_critic, token, prefix, picture, branch, geometry)
        np.testing.assert_allclose(inside, whole, atol=5e-5)


def test_a_branch_that_does_not_fit_is_left_out(branches, maker, geometry):
    image = pack_image(SQUARE, geometry)
    front = 5 + len(image.gather)
    limit = front + len(branches[0].tokens) + len(branches[2].tokens)
    assert len(branches[1].tokens) > len(branches[2].tokens)
    row = pack_row([1] * 5, image, branches, limit)
    assert row.n_judgements == 2
    assert len(row.tokens) == limit
    assert row.tokens[row.segments == 2].tolist() == list(branches[2].tokens)
    assert (row.tokens == IMAGE).sum() == len(image.gather)
    assert row.positions[row.segments == 2][0] == front


def test_targets_are_the_answer_and_its_end(branches, maker):
    end = maker.ids([render(Task("?", ("",), 1), maker.dialect).end])[:1]
    expected = (
        "Score: 2\nReason: The digit is 7.",
        "Better: second\nReason: The digit is 7.",
        "Score: 1\nReason: The digit is 7.",
    )
    for branch, text in zip(branches, expected, strict=True):
        tokens = [token for _, token, _ in branch.targets]
        assert maker.tokenize.decode(tokens[:-1]) == text
        assert (tokens[-1],) == end
        assert all(branch.tokens[place + 1] == token for place, token, _ in branch.targets)


def test_only_what_tells_verdicts_apart_weighs_as_a_verdict(branches, maker, config):
    for branch, text in zip(branches, ("2", "s", "1\n"), strict=True):
        weights = [weight for _, _, weight in branch.targets]
        verdict = [t for _, t, weight in branch.targets if weight == config.verdict_weight]
        assert maker.tokenize.decode(verdict) == text
        assert weights[0] == config.form_weight
        assert weights[-1] == config.reason_weight


def test_rows_of_an_item_state_its_gold(packs, maker, geometry):
    item = item_at(Assets.load(*packs), "train", 3, 5)
    rng = np.random.default_rng(0)
    for side in (0, 1):
        stated = []
        for branch in training_branches(item, side, list(preferences(item)), maker, rng):
            text = maker.tokenize.decode([token for _, token, _ in branch.targets])
            stated.append((branch.setting, text))
        assert stated[0] == ("answer", item.references[side])
        assert stated[1] == ("answer", transcript(item.labels[side]))
        reasons = {text.partition("Reason: ")[2] for s, text in stated if s == "pointwise"}
        assert reasons <= {response.reasons[side] for response in item.responses}
        assert {s for s, _ in stated} == {"answer", "pairwise", "pointwise"}
    for row in item_rows(item, maker, geometry, judged=False, limit=4096):
        assert row.n_judgements == 2
        assert row.targets[:, 0].min() >= (row.segments == 0).sum()


def test_some_responses_say_something_beside_their_answer(packs, maker):
    item = item_at(Assets.load(*packs), "train", 3, 5)
    pairs = list(preferences(item))

    def told(share):
        distracting = RowMaker(
            maker.tokenize, maker.dialect, replace(maker.config, distractions=share)
        )
        branches = training_branches(item, 0, pairs, distracting, np.random.default_rng(0))
        return [(b.setting, maker.tokenize.decode(b.tokens)) for b in branches]

    always, never = told(1.0), told(0.0)
    assert always[:2] == never[:2]  # plain answers stay as they are
    texts = [response.text for response in item.responses if response.text]
    for _, judged in always[2:]:
        assert any(text in judged for text in texts)
    slots = {word for fillings in FILLINGS.values() for word in fillings if " " in word}
    assert not any(word in judged for _, judged in never for word in slots)
    assert any(word in judged for _, judged in always for word in slots)


def test_packing_reads_patches_in_the_order_of_the_runtime(geometry):
    tiled = tile(PICTURE, geometry)
    patches = geometry.patches_per_side**2
    features = np.random.default_rng(1).standard_normal((2, patches, 4), dtype=np.float32)
    newline = np.full(4, 9, dtype=np.float32)
    image = pack_image(PICTURE, geometry)
    table = np.concatenate([features.reshape(-1, 4), newline[None]])
    expected = pack_features(features, tiled, geometry, newline)
    assert np.array_equal(table[image.gather], expected)  # the newline is the last row, -1


@given(st.lists(st.sampled_from(["first", "second", "First", "Second", "7", "is"]), max_size=9))
def test_swapped_ordinals_swap_back(words):
    reason = " ".join(words)
    assert swap_ordinals(swap_ordinals(reason)) == reason
    swapped = swap_ordinals(reason).split()
    assert [w.lower() == "first" for w in words] == [w.lower() == "second" for w in swapped]


def test_swapped_ordinals_keep_their_case():
    assert swap_ordinals("First is right, the second says 3.") == (
        "Second is right, the first says 3."
    )


@given(
    st.integers(0, 5).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, low + 99)))
)
def test_scaled_scores_keep_ends_and_order(ends):
    rubric = Rubric(*ends)
    levels = [scaled(score, rubric) for score in range(1, 11)]
    assert (levels[0], levels[-1]) == ends
    assert levels == sorted(levels)


def test_a_transcript_tells_every_label():
    labels = {"objects": "red square|cat", "chart_value": "12"}
    assert transcript(labels) == "objects: red square, cat; chart value: 12"
