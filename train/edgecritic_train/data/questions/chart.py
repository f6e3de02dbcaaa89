"""Charts: the value of a bar, the largest or smallest one, the trend, the slices of a pie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from edgecritic_train.data.dice import chance, pick, sample, whole
from edgecritic_train.data.questions.draft import Draft, answer, with_choice
from edgecritic_train.data.responses import Answer
from edgecritic_train.data.scenes.charts import (
    ChartLook,
    Series,
    bar_chart,
    chart_labels,
    chart_look,
    line_chart,
    pie_chart,
)
from edgecritic_train.data.setting import Setting
from edgecritic_train.data.splits import number_allowed
from edgecritic_train.data.wording import Wordings

VALUE = Wordings(
    seen=(
        "What is the value of {label}?",
        "How high is the bar {label}?",
        "Which value does {label} have in the chart?",
        "Read the value of {label} from the chart.",
    ),
    held_out=("{label} comes to how much?", "Which figure belongs to {label}?"),
)
EXTREME = Wordings(
    seen=(
        "Which bar is the {word}?",
        "Which label has the {word} bar?",
        "What is the {word} bar in the chart?",
        "Which one has the {amount} value?",
    ),
    held_out=("Who comes {rank} in this chart?", "Point out the bar at the {end} of the ranking."),
)
TREND = Wordings(
    seen=(
        "Does the line go up or down?",
        "What is the trend of the line?",
        "Do the values rise or fall?",
        "How does the line change from left to right?",
    ),
    held_out=("As time passes, where is this heading?", "Sum up the course of the curve."),
)
SLICE = Wordings(
    seen=(
        "Which slice of the pie is the {word}?",
        "What colour is the {word} slice?",
        "Which colour has the {word} part of the pie?",
    ),
    held_out=("If I cut this pie as drawn, which colour is the {word} piece?",),
)
_VALUE_CLAUSES = (
    "the value of {label} is {v}",
    "{label} has the value {v}",
    "the bar {label} shows {v}",
)
_EXTREME_CLAUSES = ("{v} is the {word} bar", "the {word} bar is {v}", "{v} has the {amount} value")
_SLICE_CLAUSES = ("the {word} slice is {v}", "{v} is the {word} slice", "the {word} part is {v}")
_TRENDS = {
    "up": ("the line goes up", "the values rise", "the trend is upward"),
    "down": ("the line goes down", "the values fall", "the trend is downward"),
    "flat": ("the line stays level", "the values stay about the same", "the trend is flat"),
}


def build_value(setting: Setting) -> Draft:
    """The value of one named bar; printed at the bar or read from a scale in tens."""
    rng = setting.rng
    numbers = setting.split == "T2" or chance(rng, 0.65)
    look = chart_look(setting, numbers)
    labels = chart_labels(setting, whole(rng, 2, 5))
    first = _values(setting, len(labels), numbers)
    asked = int(rng.integers(len(labels)))
    second = _other_value(setting, first, asked, numbers)
    images = _bars(setting, labels, first, look), _bars(setting, labels, second, look)
    values = str(first[asked]), str(second[asked])
    question = with_choice(setting, VALUE.ask(setting, label=labels[asked]), *values)
    answers = tuple(answer(value, _VALUE_CLAUSES, label=labels[asked]) for value in values)
    facts = tuple(
        {
            "chart_value": values[side],
            "chart_label": labels[asked],
            "bars": "|".join(f"{label} {value}" for label, value in zip(labels, bars, strict=True)),
        }
        for side, bars in enumerate((first, second))
    )
    return Draft(images, question, (answers[0], answers[1]), (facts[0], facts[1]))


def build_extreme(setting: Setting) -> Draft:
    """The highest or lowest bar, which is clearly so, with another one on image B."""
    rng = setting.rng
    look = chart_look(setting, chance(rng, 0.5))
    labels = chart_labels(setting, whole(rng, 3, 5))
    highest = chance(rng, 0.65)
    colours = _bar_colours(setting, len(labels))
    one, two = (int(index) for index in rng.permutation(len(labels))[:2])
    images = tuple(
        bar_chart(
            setting,
            Series(labels, _standing_out(setting, len(labels), index, highest), colours),
            look,
        )
        for index in (one, two)
    )
    words = extreme_words(rng, highest, look)
    question = EXTREME.ask(setting, **words)
    question = with_choice(setting, question, labels[one], labels[two])
    answers = tuple(answer(labels[i], _EXTREME_CLAUSES, **words) for i in (one, two))
    key = "chart_max" if highest else "chart_min"
    return Draft(
        (images[0], images[1]),
        question,
        (answers[0], answers[1]),
        ({key: labels[one]}, {key: labels[two]}),
    )


def build_trend(setting: Setting) -> Draft:
    """A line that rises, falls or stays level."""
    rng = setting.rng
    one, two = sample(rng, ("up", "down", "flat") if chance(rng, 0.4) else ("up", "down"), 2)
    look = chart_look(setting, numbers=False)
    count = whole(rng, 4, 8)
    images = (
        line_chart(setting, _course(rng, one, count), look),
        line_chart(setting, _course(rng, two, count), look),
    )
    answers = Answer(one, _TRENDS[one], one), Answer(two, _TRENDS[two], two)
    return Draft(images, TREND.ask(setting), answers, ({"chart_trend": one}, {"chart_trend": two}))


def build_slice(setting: Setting) -> Draft:
    """The largest or smallest slice of a pie, by its colour."""
    rng = setting.rng
    look = chart_look(setting, numbers=False)
    count = whole(rng, 3, 5)
    colours = tuple(
        sample(rng, ("red", "orange", "yellow", "green", "blue", "purple", "pink"), count)
    )
    largest = chance(rng, 0.7)
    one, two = (int(index) for index in rng.permutation(count)[:2])
    images = tuple(
        pie_chart(setting, Series(colours, _slices(rng, count, index, largest), colours), look)
        for index in (one, two)
    )
    word = "largest" if largest else "smallest"
    question = with_choice(setting, SLICE.ask(setting, word=word), colours[one], colours[two])
    answers = tuple(answer(colours[i], _SLICE_CLAUSES, word=word) for i in (one, two))
    return Draft(
        (images[0], images[1]),
        question,
        (answers[0], answers[1]),
        ({"chart_slice": colours[one]}, {"chart_slice": colours[two]}),
    )


def extreme_words(rng: np.random.Generator, highest: bool, look: ChartLook) -> dict[str, str]:
    """The slots of the wordings about the highest or the lowest bar."""
    long_short = ("longest", "shortest")
    high_low = (
        long_short if look.lying else pick(rng, (("tallest", "shortest"), ("highest", "lowest")))
    )
    return {
        "word": high_low[0 if highest else 1],
        "amount": "largest" if highest else "smallest",
        "rank": "first" if highest else "last",
        "end": "top" if highest else "bottom",
    }


def _bars(
    setting: Setting, labels: tuple[str, ...], values: Sequence[int], look: ChartLook
) -> Image.Image:
    return bar_chart(setting, Series(labels, tuple(values)), look)


def _bar_colours(setting: Setting, count: int) -> tuple[str, ...]:
    if chance(setting.rng, 0.5):
        return ()
    named = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
    return tuple(sample(setting.rng, named, count))


def _value(setting: Setting, numbers: bool) -> int:
    while True:
        value = whole(setting.rng, 10, 99) if numbers else 10 * whole(setting.rng, 1, 10)
        if number_allowed(value, setting.split):
            return value


def _values(setting: Setting, count: int, numbers: bool) -> list[int]:
    """Different values, one for each bar."""
    values: list[int] = []
    while len(values) < count:
        value = _value(setting, numbers)
        if value not in values:
            values.append(value)
    return values


def _other_value(setting: Setting, values: list[int], asked: int, numbers: bool) -> list[int]:
    """The chart of image B: two bars exchanged, or a new value for the asked one."""
    other = list(values)
    if chance(setting.rng, 0.4):
        partner = pick(setting.rng, [i for i in range(len(values)) if i != asked])
        other[asked], other[partner] = other[partner], other[asked]
        return other
    while other[asked] in values:
        other[asked] = _value(setting, numbers)
    return other


def _standing_out(setting: Setting, count: int, index: int, highest: bool) -> tuple[int, ...]:
    """Values of which one is at least a fifth above, or below, all others."""
    rng = setting.rng
    low, high = (15, 70) if highest else (40, 98)
    values = [_in_range(setting, low, high) for _ in range(count)]
    rest = [value for i, value in enumerate(values) if i != index]
    if highest:
        floor = int(max(rest) * 1.25) + 1
        values[index] = _in_range(setting, floor, max(floor + 12, 98))
    else:
        roof = int(min(rest) * 0.78)
        values[index] = _in_range(setting, max(8, roof - whole(rng, 6, 16)), roof)
    return tuple(values)


def _in_range(setting: Setting, low: int, high: int) -> int:
    """A number of the range that the split allows; the range is wide enough to have one."""
    for _ in range(300):
        value = whole(setting.rng, low, high)
        if number_allowed(value, setting.split):
            return value
    return high


def _course(rng: np.random.Generator, trend: str, count: int) -> list[int]:
    """Values of a line with some noise that leaves the trend plain."""
    start, end = {"up": (15, 85), "down": (85, 15), "flat": (50, 50)}[trend]
    middle = 0 if trend != "flat" else whole(rng, -25, 25)
    noise = 4 if trend == "flat" else 9
    return [
        int(start + (end - start) * step / (count - 1)) + middle + whole(rng, -noise, noise)
        for step in range(count)
    ]


def _slices(rng: np.random.Generator, count: int, index: int, largest: bool) -> tuple[int, ...]:
    shares = [whole(rng, 16, 24) for _ in range(count)]
    shares[index] = whole(rng, 36, 60) if largest else whole(rng, 6, 10)
    return tuple(shares)
