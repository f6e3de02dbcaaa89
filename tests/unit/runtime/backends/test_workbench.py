"""Whatever sequences do, the one that is continued lies on the stretch as it was computed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic.backends.workbench import Slots, Workbench


class Paper:
    """A stretch of characters, which counts what it is asked to copy."""

    def __init__(self) -> None:
        self.text: list[str] = ["?"] * 1000
        self.taken = 0
        self.put_back = 0

    def take(self, slots: Slots) -> str:
        self.taken += len(slots)
        return "".join(self.text[slot] for slot in slots)

    def put(self, start: int, copy: str) -> None:
        self.put_back += len(copy)
        self.text[start : start + len(copy)] = copy


def write(bench: Workbench[str], paper: Paper, sequence: int, words: str) -> str:
    """Continue a sequence as an engine does; returns all that it reads."""
    start = bench.lay(sequence)
    paper.text[start : start + len(words)] = words
    bench.extend(sequence, np.arange(start, start + len(words)))
    return "".join(paper.text[: start + len(words)])


def write_both(bench: Workbench[str], paper: Paper, sequences: list[int], words: str) -> list[str]:
    """Continue sequences by the same words, a letter of each in turn; returns what each reads."""
    start, n = bench.lay(*sequences, room=len(sequences) * len(words)), len(sequences)
    assert start + n * len(words) <= len(paper.text)
    for place, sequence in enumerate(sequences):
        slots = start + place + n * np.arange(len(words))
        for slot, letter in zip(slots, words, strict=True):
            paper.text[slot] = letter
        bench.extend(sequence, slots)
    return ["".join(paper.text[k] for k in bench.slots(sequence)) for sequence in sequences]


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "fork", "fork", "close", "write", "write", "both", "both"]),
        st.integers(0, 7),
        st.text(alphabet="abcxyz", min_size=1, max_size=6),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_every_sequence_reads_its_own_history(steps: list[Step]) -> None:
    paper = Paper()
    bench = Workbench(paper, len(paper.text))
    histories: dict[int, str] = {}
    for index, (step, which, words) in enumerate(steps):
        known = sorted(histories)
        if step == "open" or not known:
            bench.open(index)
            histories[index] = ""
            continue
        sequence = known[which % len(known)]
        if step == "fork":
            length = len(histories[sequence]) * len(words) // 6
            bench.fork(sequence, index, length)
            histories[index] = histories[sequence][:length]
        elif step == "close":
            bench.close(sequence)
            del histories[sequence]
        elif step == "both" and len(known) > 1:
            several = known[which % len(known) :] + known[: which % len(known)]
            several = several[: 2 + len(words) // 2]
            for writer in several:
                histories[writer] += words
            found = write_both(bench, paper, several, words)
            assert found == [histories[writer] for writer in several]
        else:
            histories[sequence] += words
            assert write(bench, paper, sequence, words) == histories[sequence]
    for sequence, history in histories.items():
        assert write(bench, paper, sequence, "!") == history + "!"


def test_branches_that_are_closed_in_turn_move_nothing() -> None:
    paper = Paper()
    bench = Workbench(paper, len(paper.text))
    bench.open(0)
    write(bench, paper, 0, "a long prefix")
    for branch in range(1, 5):
        bench.fork(0, branch)
        assert write(bench, paper, branch, f" {branch}") == f"a long prefix {branch}"
        bench.close(branch)
    assert (paper.taken, paper.put_back) == (0, 0)


def test_branches_side_by_side_move_only_what_is_their_own() -> None:
    paper = Paper()
    bench = Workbench(paper, len(paper.text))
    bench.open(0)
    write(bench, paper, 0, "a long prefix")
    for branch in (1, 2, 3):
        bench.fork(0, branch)
        write(bench, paper, branch, "xy")
    assert (paper.taken, paper.put_back) == (4, 0)
    for _ in range(5):  # a copy that was made once stays good
        for branch in (1, 2):
            bench.lay(branch)
    assert paper.taken == 6
    assert write(bench, paper, 1, "z") == "a long prefixxyz"


def test_the_last_branch_goes_on_in_place() -> None:
    paper = Paper()
    bench = Workbench(paper, len(paper.text))
    bench.open(0)
    write(bench, paper, 0, "prefix")
    bench.fork(0, 1)
    bench.close(0)
    for letter in "generated":
        write(bench, paper, 1, letter)
    assert write(bench, paper, 1, ".") == "prefixgenerated."
    assert (paper.taken, paper.put_back) == (0, 0)


def test_sequences_that_go_on_together_move_nothing_once_they_lie_there() -> None:
    paper = Paper()
    bench = Workbench(paper, len(paper.text))
    bench.open(0)
    write(bench, paper, 0, "a long prefix")
    for branch in (1, 2, 3):
        bench.fork(0, branch)
    for letter in "generated":
        write_both(bench, paper, [1, 2, 3], letter)
    assert (paper.taken, paper.put_back) == (0, 0)
    write_both(bench, paper, [1, 3], "!")  # one pauses, and stays
    bench.close(2)
    texts = write_both(bench, paper, [3, 1], "?")
    assert texts == ["a long prefixgenerated!?"] * 2
    assert (paper.taken, paper.put_back) == (0, 0)


def test_a_place_that_is_wanted_is_made_free_of_what_is_not() -> None:
    paper = Paper()
    paper.text = paper.text[:43]
    bench = Workbench(paper, len(paper.text))
    for sequence in range(5):
        bench.open(sequence)
        write(bench, paper, sequence, f"text {sequence}")
    written = write_both(bench, paper, [0, 1], "++")
    written += write_both(bench, paper, [2, 3], "--")
    assert written == ["text 0++", "text 1++", "text 2--", "text 3--"]
    last = write_both(bench, paper, [4, 0, 1, 2, 3], "!")  # all slots are taken then
    assert last == ["text 4!", "text 0++!", "text 1++!", "text 2--!", "text 3--!"]


def test_where_sequences_lie_does_not_depend_on_what_was_there_before() -> None:
    places = []
    for before in ("", "something else", "much more of something else, put aside"):
        paper = Paper()
        bench = Workbench(paper, len(paper.text))
        bench.open(0)
        write(bench, paper, 0, "a stem")
        for other in (8, 9) if before else ():
            bench.fork(0, other)
        if before:
            write_both(bench, paper, [8, 9], before)
            write(bench, paper, 8, before)
            bench.close(8)
            bench.close(9)
        for branch in (1, 2):
            bench.fork(0, branch)
        write_both(bench, paper, [1, 2], "xyz")
        places.append([bench.slots(branch).tolist() for branch in (1, 2)])
    assert places[0] == places[1] == places[2]
