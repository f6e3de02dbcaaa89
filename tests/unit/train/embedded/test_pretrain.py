import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.embedded.pretrain import (
    END,
    TEXT_CHARS,
    attribute_loss,
    characters,
    spelling_loss,
)

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(TEXT, TEXT)
def test_question_and_answer_always_fit_and_the_answer_starts_where_it_says(question, answer):
    codes, start = characters(question, answer)
    assert len(codes) <= TEXT_CHARS
    asked, told = codes[:start], codes[start:]
    assert asked[-1] == told[-1] == END
    assert question.endswith("".join(map(chr, asked[:-1])))
    assert answer.startswith("".join(map(chr, told[:-1])))


def test_a_long_question_keeps_its_end_where_a_short_answer_leaves_room():
    codes, start = characters("x" * 200 + "?", "7")
    assert (len(codes), start) == (TEXT_CHARS, TEXT_CHARS - 2)
    assert codes[start - 2] == ord("?")


def test_only_the_answers_characters_count_as_spelt():
    text, start = characters("How many?", "42")
    codes = torch.tensor([text])
    logits = 20.0 * torch.nn.functional.one_hot(codes[:, 1:], 128).float()
    logits[:, : start - 1] = 0  # knows nothing of the question
    loss, exact = spelling_loss(logits, codes, torch.tensor([start]))
    assert (float(loss), float(exact)) == (pytest.approx(0, abs=1e-3), 1)
    logits[:, start - 1] = 0  # nor of the answer's first character
    loss, exact = spelling_loss(logits, codes, torch.tensor([start]))
    assert float(loss) > 1
    assert float(exact) == 0


def test_several_objects_share_the_target():
    values = torch.full((1, 2, 4), -1)
    values[0, 0, :2] = torch.tensor([3, 5])
    logits = torch.full((1, 2, 8), -30.0)
    logits[0, 0, [3, 5]] = 0
    loss, hits = attribute_loss(logits, values)
    assert float(loss) == pytest.approx(torch.log(torch.tensor(2.0)))
    assert float(hits[0]) == 1
    assert hits[1].isnan()  # no picture has the second attribute
