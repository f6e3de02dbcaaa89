"""What does the photograph show? Only for the split with an unseen domain."""

from __future__ import annotations

from edgecritic_train.data.dice import pick
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.questions.objects import NAMING
from edgecritic_train.data.scenes.exhibits import framed
from edgecritic_train.data.setting import Setting

_CLAUSES = ("the picture shows {v}", "this is {v}", "I see {v}")


def build(setting: Setting) -> Draft:
    """One captioned photograph on either image."""
    photos = setting.photos()
    one, first = pick(setting.rng, photos)
    two, second = pick(setting.rng, photos)
    while set(one.lower().split()) & set(two.lower().split()) - {"a", "an", "the", "of"}:
        two, second = pick(setting.rng, photos)
    question = with_choice(setting, NAMING.ask(setting), one, two)
    answers = answer(one, _CLAUSES), answer(two, _CLAUSES)
    labels = {"objects": one}, {"objects": two}
    return Draft((framed(first), framed(second)), question, answers, labels)
