"""VL-RewardBench: three scorers, three numbers, all worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_files import as_base64, png, write_lines, write_parquet
from edgecritic import InputError
from edgecritic_bench.protocols.importers import import_replies
from edgecritic_bench.protocols.reading import named_answer, overall_judgment
from edgecritic_bench.protocols.replies import Reply
from edgecritic_bench.protocols.vl_rewardbench import group, kit_group, kit_order, load, score


def row(name: str, query: str, first: str, second: str, ranking: list[int]) -> dict:
    return {
        "id": name,
        "query": query,
        "response": [first, second],
        "image": {"bytes": png(), "path": None},
        "human_ranking": ranking,
        "models": ["m1", "m2"],
        "judge": "human",
        "rationale": "",
        "query_source": "",
    }


# Two general rows, two of hallucination (an id twice, as in the data set), one of reasoning.
ROWS = [
    row("VLFeedback-1", "What is it?", "the right one", "other", [0, 1]),
    row("wildvision_battle-2", "And here?", "wrong", "right", [1, 0]),
    row("RLAIF-V-3", "What colour?", "right", "wrong", [0, 1]),
    row("RLAIF-V-3", "What shape?", "right", "wrong", [1, 0]),
    row("mathverse_4", "How many?", "no", "right!", [1, 0]),
]


@pytest.fixture
def rows(tmp_path: Path):
    return load(write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", ROWS).parents[1])


def test_rows_are_read(rows):
    assert [r.key for r in rows] == [
        *("VLFeedback-1", "wildvision_battle-2", "RLAIF-V-3", "RLAIF-V-3~2", "mathverse_4")
    ]
    assert [r.gold for r in rows] == ["first", "second", "first", "second", "second"]
    assert [r.category for r in rows] == [
        *("general", "general", "hallucination", "hallucination", "reasoning")
    ]
    assert rows[0].images == (png(),)
    assert rows[0].models == ("m1", "m2")
    # 13 + 5 letters, 5 + 5, 5 + 5, 5 + 5, 2 + 6: all even.
    assert [kit_order(r) for r in rows] == ["given"] * 5


def test_the_kits_table_is_read_too(tmp_path):
    path = tmp_path / "vl.tsv"
    cells = ["0", as_base64(png()), "What?", "['a', 'bc']", "[1, 0]", "reasoning"]
    path.write_text(
        "index\timage\tquestion\tresponse\tanswer\tcategory\n" + "\t".join(cells) + "\n"
    )
    (only,) = load(path)
    assert (only.key, only.gold, only.category, only.images) == (
        "0",
        "second",
        "reasoning",
        (png(),),
    )
    assert kit_order(only) == "swapped"


def test_groups_follow_the_id_and_the_kit_ignores_case():
    names = ["RLHF-V_1", "hallucination_pair-2", "mmmu-3", "Mathverse-4", "povid-5", "17"]
    assert [group(name) for name in names] == [
        *("hallucination", "hallucination", "reasoning", "general", "general", "general")
    ]
    assert kit_group("Mathverse-4") == "reasoning"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Overall Judgment: Answer 2 is better.", 2),
        ("**Overall judgment**\n\nAnswer 1 is the slightly better one", 1),
        ("Therefore, Answer 1 is better. No: Answer 2 is better.", 2),
        ("Answer 1 is better.", None),
        ("Therefore Answer 1 wins.", None),
        ("Overall Judgment: Answer 3 is better", 3),
    ],
)
def test_texts_are_read_as_the_authors_do(text, number):
    assert overall_judgment(text) == number


def test_extracted_answers_are_read_as_the_kits_do():
    assert named_answer("I say ANSWER 2") == 2
    assert named_answer("Answer 2, not Answer 1") == 1
    assert named_answer("neither") is None


def says(number: int) -> str:
    return f"Overall Judgment: Answer {number} is better."


def test_the_official_numbers_by_hand(rows):
    samples = {
        # right, right, unread: agrees with 2 of 3
        "VLFeedback-1": ["given 1", "swapped 2", "given ?"],
        # one each way and one unread: no majority, dropped
        "wildvision_battle-2": ["given 2", "given 1", "given ?"],
        # both wrong, and "Answer 3", which is not the rejected one: rejects with 2 of 3
        "RLAIF-V-3": ["given 2", "swapped 1", "given 3"],
        # right three times
        "RLAIF-V-3~2": ["given 2", "given 2", "swapped 1"],
        # mostly unread: dropped
        "mathverse_4": ["given ?", "given ?", "given 2"],
    }
    replies = [
        Reply(key, shown.split()[0], text=says(int(n)) if (n := shown.split()[1]) != "?" else "")
        for key, given in samples.items()
        for shown in given
    ]
    found = score(rows[:4], [r for r in replies if r.key != "mathverse_4"])
    # general 1/1, hallucination 1/2.
    assert found.metrics["general"].value == 1
    assert found.metrics["hallucination"].value == pytest.approx(1 / 2)
    assert found.metrics["macro"].value == pytest.approx((1 + 1 / 2) / 2)
    assert found.metrics["overall"].value == pytest.approx(2 / 3)
    assert found.rules == "3 samples a row, strict majority; 1 rows without one are dropped"
    whole = score(rows, replies)
    assert "reasoning" not in whole.metrics
    assert (whole.rows, whole.unread) == (5, 1)


def test_samples_beyond_k_do_not_count(rows):
    # Ten samples a row, alike within a row: any k of them say the same.
    replies = [Reply(r.key, text=says(1)) for r in rows for _ in range(10)]
    one, nine = (score(rows, replies, k=k) for k in (1, 9))
    assert one.metrics == nine.metrics
    assert one.rules.startswith("1 samples")
    assert one.metrics["overall"].value == pytest.approx(2 / 5)


def test_the_kits_numbers_by_hand(rows):
    replies = [
        Reply("VLFeedback-1", text=says(1)),
        # Unread by the pattern; the language model reads 2, which is right.
        Reply("wildvision_battle-2", text="2 it is", extracted="Answer 2"),
        Reply("RLAIF-V-3", text=says(2), extracted="Answer 2"),
        # Nobody can read it: lmms-eval guesses, VLMEvalKit counts it wrong.
        Reply("RLAIF-V-3~2", text="both are fine", extracted="unclear"),
        # Pattern and language model disagree: each kit believes its own.
        Reply("mathverse_4", text=says(2), extracted="Answer 1"),
    ]
    lmms = score(rows, replies, "lmms-eval")
    # random.Random(0).choice([1, 2]) is 2, which is right.
    assert lmms.metrics["general"].value == 1
    assert lmms.metrics["hallucination"].value == pytest.approx(1 / 2)
    assert lmms.metrics["reasoning"].value == 1
    assert lmms.metrics["macro"].value == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert "1 unread are guessed" in lmms.rules
    replies[0] = Reply("VLFeedback-1", text=says(1), extracted="Answer 1")
    kit = score(rows, replies, "vlmevalkit")
    assert kit.metrics["overall"].value == pytest.approx(2 / 5)
    assert kit.metrics["macro"].value == pytest.approx((1 + 0 + 0) / 3)
    assert "1 unread are wrong" in kit.rules


def test_other_orders_than_the_kits_are_refused(rows):
    replies = [Reply(r.key, "swapped", text=says(1)) for r in rows]
    with pytest.raises(InputError, match="judged in the swapped order, and lmms-eval shows"):
        score(rows, replies, "lmms-eval")
    with pytest.raises(InputError, match="has no `extracted`"):
        score(rows, [Reply(r.key, text=says(1)) for r in rows], "vlmevalkit")


def test_a_critic_is_judged_end_to_end_by_every_protocol(rows, judged):
    replies = judged(rows)
    assert [r.shown for r in replies[:3]] == ["given", "swapped", "both"]
    # The critic prefers what says "right": right on every row but the fourth.
    for protocol in ("official", "lmms-eval", "vlmevalkit"):
        found = score(rows, replies, protocol)
        assert found.protocol == protocol
        assert found.metrics["general"].value == 1
        assert found.metrics["hallucination"].value == pytest.approx(1 / 2)
        assert found.metrics["macro"].value == pytest.approx((1 + 1 / 2 + 1) / 3)
        assert found.metrics["overall"].value == pytest.approx(4 / 5)
    ours = score(rows, replies, "both-orders")
    assert ours.metrics["accuracy without ties"].value == pytest.approx(4 / 5)
    assert ours.metrics["consistency"].value == 1
    with pytest.raises(InputError, match="no protocol 'mine'"):
        score(rows, replies, "mine")


def test_rows_without_a_verdict_are_not_passed_over(rows):
    replies = [Reply(rows[0].key, text=says(1))]
    with pytest.raises(InputError, match="4 of 5 rows have no verdict; the first is 'wildvision"):
        score(rows, replies)
    assert score(rows, replies, partial=True).rows == 1
    with pytest.raises(InputError, match="'elsewhere', which is no row"):
        score(rows, [Reply("elsewhere", text="")])


def test_the_authors_own_files_are_imported(rows, tmp_path):
    lines = [
        {
            "id": data["id"],
            "query": data["query"],
            "response": data["response"],
            "ranking": data["human_ranking"],
            "meta": {"filter_choice": says(1), "random_number": n % 2, "flag_status": "agree"},
        }
        for n, data in enumerate(ROWS)
    ]
    replies = import_replies("vl-rewardbench", rows, write_lines(tmp_path / "out.jsonl", lines))
    assert [r.key for r in replies] == [r.key for r in rows]
    assert [r.shown for r in replies] == ["given", "swapped", "given", "swapped", "given"]
    # Answer 1 of the swapped second row is its second response.
    assert score(rows, replies).metrics["overall"].value == pytest.approx(4 / 5)
    strange = [{**lines[0], "query": "Something else?"}]
    with pytest.raises(InputError, match="'VLFeedback-1' is no row"):
        import_replies("vl-rewardbench", rows, write_lines(tmp_path / "odd.jsonl", strange))


def test_the_kits_files_are_imported(rows, tmp_path):
    samples = [
        {"doc_id": n, "doc": {"human_ranking": data["human_ranking"]}, "filtered_resps": [says(1)]}
        for n, data in enumerate(ROWS)
    ]
    path = write_lines(tmp_path / "samples.jsonl", samples)
    found = score(rows, import_replies("lmms-eval", rows, path), "lmms-eval")
    assert found.metrics["overall"].value == pytest.approx(2 / 5)
    table = "index\tprediction\tscore\n" + "".join(f"{n}\tsome words\t{n % 2}\n" for n in range(5))
    (tmp_path / "kit.tsv").write_text(table)
    replies = import_replies("vlmevalkit", rows, tmp_path / "kit.tsv")
    found = score(rows, replies, "vlmevalkit")
    # The score column alone says what was read.
    assert [hit.value for hit in found.hits] == [0, 1, 0, 1, 0]


def test_other_tables_are_refused(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"id": "a", "query": "q", "response": ["a", "b"]}])
    with pytest.raises(InputError, match=r"x\.jsonl:1: there is no 'human_ranking'"):
        load(path)
    ties = write_lines(
        tmp_path / "y.jsonl", [{**ROWS[0], "image": "a.png", "human_ranking": [0, 0]}]
    )
    with pytest.raises(InputError, match=r"human_ranking is \[0, 0\]"):
        load(ties)
    with pytest.raises(InputError, match="holds none of"):
        load(tmp_path / "nowhere")
