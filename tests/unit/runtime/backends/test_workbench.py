"""Whatever sequences do, the one that is continued lies on the stretch as it was computed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgecritic.backends.workbench import Workbench


class Paper:
    """A stretch of characters, which counts what it is asked to copy."""

    def __init__(self) -> None:
        self.text: list[str] = ["?"] * 200
        self.taken = 0
        self.put_back = 0

    def take(self, start: int, stop: int) -> str:
        self.taken += stop - start
        return "".join(self.text[start:stop])

    def put(self, start: int, copy: str) -> None:
        self.put_back += len(copy)
        self.text[start : start + len(copy)] = copy


def write(bench: Workbench[str], paper: Paper, sequence: int, words: str) -> str:
    """Continue a sequence as an engine does; returns all that it reads."""
    start = bench.lay(sequence)
    paper.text[start : start + len(words)] = words
    bench.extend(sequence, len(words))
    return "".join(paper.text[: start + len(words)])


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "fork", "fork", "close", "write", "write", "write"]),
        st.integers(0, 7),
        st.text(alphabet="abcxyz", min_size=1, max_size=6),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_every_sequence_reads_its_own_history(steps: list[Step]) -> None:
    paper = Paper()
    bench = Workbench(paper)
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
        else:
            histories[sequence] += words
            assert write(bench, paper, sequence, words) == histories[sequence]
    for sequence, history in histories.items():
        assert write(bench, paper, sequence, "!") == history + "!"


def test_branches_that_are_closed_in_turn_move_nothing() -> None:
    paper = Paper()
    bench = Workbench(paper)
    bench.open(0)
    write(bench, paper, 0, "a long prefix")
    for branch in range(1, 5):
        bench.fork(0, branch)
        assert write(bench, paper, branch, f" {branch}") == f"a long prefix {branch}"
        bench.close(branch)
    assert (paper.taken, paper.put_back) == (0, 0)


def test_branches_side_by_side_move_only_what_is_their_own() -> None:
    paper = Paper()
    bench = Workbench(paper)
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
    bench = Workbench(paper)
    bench.open(0)
    write(bench, paper, 0, "prefix")
    bench.fork(0, 1)
    bench.close(0)
    for letter in "generated":
        write(bench, paper, 1, letter)
    assert write(bench, paper, 1, ".") == "prefixgenerated."
    assert (paper.taken, paper.put_back) == (0, 0)
