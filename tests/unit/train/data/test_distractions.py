"""What stands beside an answer leaves it whole, and comes in every kind."""

from __future__ import annotations

import re

import numpy as np

from edgecritic_train.data.distractions import FILLINGS, WORDINGS, distracted

ANSWER = "The digit is {7}."


def test_the_answer_stays_whole_and_no_slot_stays_open() -> None:
    rng = np.random.default_rng(3)
    texts = {distracted(rng, ANSWER) for _ in range(2000)}
    assert len(texts) > 300
    for text in texts:
        assert ANSWER in text
        assert len(text) > len(ANSWER)
        assert not re.search(r"\{\w+\}", text.replace(ANSWER, ""))


def test_every_wording_has_the_answer_and_known_slots() -> None:
    for wording in WORDINGS:
        slots = re.findall(r"\{(\w+)\}", wording)
        assert slots.count("answer") == 1
        assert {slot.lower() for slot in slots} <= {"answer", *FILLINGS}


def test_attacks_of_the_bench_are_worded_otherwise() -> None:
    from edgecritic_bench.robustness.families import families

    ours = {wording.strip() for wording in WORDINGS}
    theirs = {template.strip() for family in families().values() for template in family.templates}
    # Control tokens have one spelling; what is said with them differs.
    assert {text for text in ours & theirs if "<|" not in text} == set()
