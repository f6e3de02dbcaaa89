from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecritic_train.data.dice import generator
from edgecritic_train.data.questions.listing import grade_list
from edgecritic_train.data.scenes.things import Thing

EXACT = ("correct", 10, "is right")
NAMES = ("dog", "car", "hat", "owl", "pie")
SETS = st.frozensets(st.sampled_from([Thing(n, f"{n}s", f"a {n}") for n in NAMES]), min_size=1)


def _set(*names: str) -> frozenset[Thing]:
    return frozenset(Thing(name, f"{name}s", f"a {name}") for name in names)


def test_grades_of_lists() -> None:
    truth = _set("dog", "car")
    assert grade_list(truth, truth, EXACT) == EXACT
    assert grade_list(_set("dog"), truth, EXACT) == ("partial", 6, "leaves out the car")
    assert grade_list(_set("dog", "car", "hat"), truth, EXACT) == (
        "hallucinated",
        4,
        "adds a hat that is not there",
    )
    assert grade_list(_set("dog", "hat"), truth, EXACT) == (
        "wrong_value",
        3,
        "names a hat and leaves out the car",
    )
    assert grade_list(_set("owl", "hat"), truth, EXACT) == ("other_image", 2, "names other things")
    three = _set("dog", "car", "owl")
    assert grade_list(truth, three, EXACT)[1] == 7
    assert grade_list(_set("dog"), three, EXACT)[1] == 5


@given(SETS, SETS, SETS)
def test_naming_one_more_true_thing_never_costs_points(
    said: frozenset[Thing], truth: frozenset[Thing], more: frozenset[Thing]
) -> None:
    fuller = said | (truth & more)
    assert grade_list(fuller, truth, EXACT)[1] >= grade_list(said, truth, EXACT)[1]


@given(SETS, SETS, SETS)
def test_naming_one_more_false_thing_never_wins_points(
    said: frozenset[Thing], truth: frozenset[Thing], more: frozenset[Thing]
) -> None:
    worse = said | (more - truth)
    assert grade_list(worse, truth, EXACT)[1] <= grade_list(said, truth, EXACT)[1]


def test_streams_are_named_not_ordered() -> None:
    one, again, other = generator("a", 1), generator("a", 1), generator("a1")
    assert one.random() == again.random() != other.random()
