"""Plans, ledgers, pace and what becomes rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic.errors import InputError
from edgecritic.task import Rubric
from edgecritic_train.critic_data.building.assemble import assemble
from edgecritic_train.critic_data.building.ledger import Entry, Ledger
from edgecritic_train.critic_data.building.pace import Pace
from edgecritic_train.critic_data.building.plan import Ask, PlanOptions, plan_case
from edgecritic_train.critic_data.building.teachers import CriticTeacher, PictureHashes, ask_key
from edgecritic_train.critic_data.rows import ImageFile
from edgecritic_train.critic_data.sources.cases import Case
from edgecritic_train.critic_data.sources.judged import JudgedOptions
from scripted_critic import REASON, scripted_critic

CASE = Case("c", "q?", ("a", "b", "c"), reference="r")


def test_every_pair_is_asked_in_both_orders_in_the_same_words():
    asks = plan_case(CASE, PlanOptions(("pairwise",)))
    assert len(asks) == 6
    assert len({ask.id for ask in asks}) == 6
    for given_, swapped in zip(asks[::2], asks[1::2], strict=True):
        assert given_.responses == swapped.responses[::-1]
        assert given_.pair == swapped.pair == given_.id
        assert (given_.wording, given_.rubric) == (swapped.wording, swapped.rubric)


def test_a_single_order_is_drawn_evenly():
    options = PlanOptions(("pairwise",), orders="one")
    firsts = Counter(
        plan_case(replace(CASE, id=f"c{k}", responses=("a", "b")), options)[0].responses[0]
        for k in range(400)
    )
    assert sum(firsts.values()) == 400
    assert 150 < firsts["a"] < 250


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 9))
def test_a_plan_is_bounded_and_the_same_each_time(scores, pairs, seed):
    options = PlanOptions(max_scores=scores, max_pairs=pairs, seed=seed)
    asks = plan_case(CASE, options)
    assert asks == plan_case(CASE, options)
    assert sum(len(ask.responses) == 1 for ask in asks) == min(scores, 3)
    assert sum(len(ask.responses) == 2 for ask in asks) == 2 * min(pairs, 3)


def test_known_verdicts_are_told_and_exchanged_with_the_order():
    case = replace(CASE, responses=("a", "b"), scores=("9", "4.5"), winner="first")
    options = PlanOptions(known=JudgedOptions(Rubric(1, 10, "truth")))
    told = {ask.id: ask for ask in plan_case(case, options)}
    assert {name: ask.verdict for name, ask in told.items()} == {
        "c/s1": 9,
        "c/s2": 9,
        "c/p1-2": "first",
        "c/p1-2~": "second",
    }
    assert (told["c/s2"].rubric.low, told["c/s2"].rubric.high) == (2, 20)
    assert told["c/p1-2~"].responses == ("b", "a")
    assert {ask.rubric.criteria for ask in told.values()} == {"truth"}
    assert not plan_case(CASE, options)


@pytest.mark.parametrize("wrong", [{"settings": ()}, {"max_pairs": 0}, {"max_scores": 0}])
def test_a_plan_that_asks_nothing_is_refused(wrong):
    with pytest.raises(InputError, match="ask nothing"):
        PlanOptions(**wrong)


def test_a_ledger_survives_being_cut_off(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append(Entry("k1", "ok", "first", "because\nof it"))
        ledger.append(Entry("k2", "unparsed"))
    whole = path.read_bytes()
    for end in (*range(0, len(whole), 23), len(whole) - 1, len(whole)):
        path.write_bytes(whole[:end])
        with Ledger(path) as ledger:
            kept = len(ledger.entries)
            assert set(ledger.entries) <= {"k1", "k2"}
            ledger.append(Entry("k3", "refused", why="no"))
        with Ledger(path) as ledger:
            assert len(ledger.entries) == kept + 1
            assert ledger.entries["k3"].why == "no"
    with Ledger(tmp_path / "new.jsonl", (path,)) as ledger:
        assert ledger.get("k1") is not None
        assert ledger.get("k1").at


@pytest.mark.parametrize(
    ("given_", "swapped", "kept", "reasons"),
    [
        ("first", "second", 2, {}),
        ("second", "first", 2, {}),
        ("tie", "tie", 2, {}),
        ("first", "first", 0, {"the orders contradict each other": 2}),
        ("tie", "first", 0, {"the orders contradict each other": 2}),
        (
            "first",
            None,
            0,
            {"the other order is missing": 1, "no verdict or no reason could be read": 1},
        ),
        (None, None, 0, {"no verdict or no reason could be read": 2}),
    ],
)
def test_a_pair_is_kept_if_both_orders_agree(tmp_path, given_, swapped, kept, reasons):
    options = PlanOptions(("pairwise",))
    asks = plan_case(replace(CASE, responses=("a", "b")), options)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for key, verdict in (("0", given_), ("1", swapped)):
            outcome = "unparsed" if verdict is None else "ok"
            ledger.append(Entry(key, outcome, verdict, "so"))
        dropped: Counter[str] = Counter()
        rows = list(assemble([("0", asks[0]), ("1", asks[1])], ledger, "me", dropped))
    assert len(rows) == kept
    assert dict(dropped) == reasons
    assert all(row.judge == "me" and row.reason == "so" for row in rows)


def test_requests_are_spread_over_a_minute():
    now, slept = 0.0, []

    def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += seconds

    pace = Pace(30, lambda: now, sleep)
    for _ in range(5):
        pace.wait(2)
    assert slept == [4.0] * 4
    Pace(None, lambda: now, sleep).wait(100)
    assert len(slept) == 4
    with pytest.raises(InputError, match="0 requests a minute"):
        Pace(0)


def test_a_critic_on_this_machine_judges_and_explains(tmp_path):
    teacher = CriticTeacher(scripted_critic(), "scripted", requests=1)
    scored = Ask(replace(CASE, reference=None), "c/s1", ("it is right",), Rubric(1, 10))
    answer = teacher.answer(scored)
    assert (answer.status, answer.verdict, answer.reason) == ("ok", 9, REASON)
    assert answer.output_tokens > 0
    pair = Ask(replace(CASE, reference=None), "c/p1-2", ("it is bad", "it is right"))
    assert teacher.answer(pair).verdict == "second"
    assert not teacher.concurrent
    with pytest.raises(InputError, match="judges for itself"):
        teacher.answer(replace(pair, verdict="first"))
    teacher.close()


def test_a_key_names_all_that_an_answer_depends_on(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    teacher = CriticTeacher(scripted_critic(), "scripted", requests=1)
    case = replace(CASE, images=(ImageFile(picture),))
    ask = Ask(case, "c/p1-2", ("a", "b"))
    others = [
        replace(ask, responses=("b", "a")),
        replace(ask, wording=1),
        replace(ask, rubric=Rubric(criteria="c")),
        replace(ask, verdict="first"),
        replace(ask, case=replace(case, question="other?")),
        replace(ask, case=replace(case, reference=None)),
        replace(ask, case=replace(case, images=())),
    ]
    keys = [ask_key(one, teacher, PictureHashes()) for one in (ask, *others)]
    assert len(set(keys)) == len(keys)
    assert (
        ask_key(replace(ask, id="x", case=replace(case, id="y")), teacher, PictureHashes()) in keys
    )
    picture.write_bytes(b"two")
    assert ask_key(ask, teacher, PictureHashes()) not in keys
    other = CriticTeacher(teacher.critic, "another", requests=1)
    assert ask_key(ask, other, PictureHashes()) not in keys
    teacher.close()
