"""Question types that training never asks: the odd one, a difference, the second, the middle."""

from __future__ import annotations

from edgecritic_train.data.dice import chance, shuffled, whole
from edgecritic_train.data.questions.count import countable
from edgecritic_train.data.questions.draft import Draft, answer
from edgecritic_train.data.scenes.charts import Series, bar_chart, chart_labels, chart_look
from edgecritic_train.data.scenes.layout import canvas_size, in_line, scattered
from edgecritic_train.data.scenes.things import compose, draw_things
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.wording import Wordings

ODD = Wordings(
    seen=(),
    held_out=("Which one is the odd one out?", "One thing does not fit with the others. Which?"),
)
MORE = Wordings(
    seen=(),
    held_out=("How many more {plural} than {others} are there?",),
)
SECOND = Wordings(
    seen=(),
    held_out=("Which bar is the second highest?", "Which label has the second largest value?"),
)
MIDDLE = Wordings(
    seen=(),
    held_out=("What is in the middle?", "Which thing stands between the other two?"),
)


def build_odd(setting: Setting) -> Draft:
    """Three or four things alike and one other; image B has them the other way round."""
    one, two = countable(setting)
    size = canvas_size(setting.rng, 176, 288)
    count = whole(setting.rng, 3, 4)
    images = []
    for odd, common in ((one, two), (two, one)):
        things = shuffled(setting.rng, [odd] + [common] * count)
        places = scattered(setting.rng, size, count + 1, (0.7, 0.95))
        images.append(compose(setting, size, list(zip(things, places, strict=True))))
    clauses = ("the odd one out is the {v}", "the {v} does not fit with the others")
    answers = tuple(answer(thing.name, clauses) for thing in (one, two))
    labels = {"objects": f"{one.name}|{two.name}"}
    return Draft(
        (images[0], images[1]), ODD.ask(setting), (answers[0], answers[1]), (labels, labels)
    )


def build_more(setting: Setting) -> Draft:
    """By how many one kind outnumbers another."""
    rng = setting.rng
    many, few = countable(setting)
    base = whole(rng, 1, 2)
    one, two = shuffled(rng, (1, 2, 3, 4))[:2]
    size = canvas_size(rng, 200, 304)
    images = []
    for more in (one, two):
        things = shuffled(rng, [many] * (base + more) + [few] * base)
        places = scattered(rng, size, len(things), (0.7, 0.95))
        images.append(compose(setting, size, list(zip(things, places, strict=True))))
    clauses = ("the difference is {v}", "there are {v} more {plural} than {others}")
    slots = {"plural": many.plural, "others": few.plural}
    answers = tuple(answer(str(more), clauses, **slots) for more in (one, two))
    labels = {"objects": f"{many.name}|{few.name}"}
    question = MORE.ask(setting, **slots)
    return Draft((images[0], images[1]), question, (answers[0], answers[1]), (labels, labels))


def build_second(setting: Setting) -> Draft:
    """The second highest bar, with clear steps between the bars."""
    rng = setting.rng
    look = chart_look(setting, chance(rng, 0.5))
    labels = chart_labels(setting, whole(rng, 3, 4))
    heights = [92, 68, 46, 24][: len(labels)]
    one, two = (int(index) for index in rng.permutation(len(labels))[:2])
    images = []
    for second in (one, two):
        values = shuffled(rng, [height + whole(rng, -5, 5) for height in heights])
        ranked = sorted(range(len(values)), key=lambda i: -values[i])
        values[second], values[ranked[1]] = values[ranked[1]], values[second]
        images.append(bar_chart(setting, Series(labels, tuple(values)), look))
    clauses = ("the second highest bar is {v}", "{v} has the second largest value")
    answers = tuple(answer(labels[i], clauses) for i in (one, two))
    return Draft((images[0], images[1]), SECOND.ask(setting), (answers[0], answers[1]), ({}, {}))


def build_middle(setting: Setting) -> Draft:
    """Three things in a row; another one stands in the middle on image B."""
    rng = setting.rng
    one, two, three = draw_things(setting, 3)
    width = whole(rng, 240, 304)
    size = (width, whole(rng, 112, 160))
    images = []
    for order in ((two, one, three), (one, two, three)):
        places = in_line(rng, size, 3, across=True)
        images.append(compose(setting, size, list(zip(order, places, strict=True))))
    clauses = ("in the middle there {be} {v}", "{v} {be} in the middle")
    answers = tuple(answer(thing.phrase, clauses, be=thing.is_are) for thing in (one, two))
    labels = {"objects": "|".join(thing.name for thing in (one, two, three))}
    question = MIDDLE.ask(setting)
    return Draft((images[0], images[1]), question, (answers[0], answers[1]), (labels, labels))
