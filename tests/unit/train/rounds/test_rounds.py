"""Whole rounds over a tiny policy, with a critic that likes what says "right"."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from edgecritic.errors import (
    ArtifactError,
    BackendUnavailableError,
    ContextOverflowError,
    InputError,
)
from edgecritic.vision import load_image
from edgecritic_train import cli
from edgecritic_train.critic_data.rows import read_rows
from edgecritic_train.rounds.config import JudgeSettings, RoundsConfig, read_rounds
from edgecritic_train.rounds.figure import draw_rounds
from edgecritic_train.rounds.judges import PreferenceJudge, judge_source
from edgecritic_train.rounds.policy import Answer, Drawing, loaded_policy
from edgecritic_train.rounds.questions import read_questions
from edgecritic_train.rounds.run import run_rounds
from edgecritic_train.tuning.arguments import without_renamings
from edgecritic_train.tuning.pairs import policy_prompt
from tiny_checkpoints import write_llava_onevision, write_qwen2_5_vl
from tiny_policies import WORDS, CountingJudge, open_scripted, write_rounds_config

Configure = Callable[..., RoundsConfig]
STAGES = ("samples.jsonl", "rankings.jsonl", "choices.jsonl", "rows.jsonl")


def quiet(_: str) -> None:
    """Nobody listens."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def report(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "report.json").read_text())["rounds"]
    return found


def test_the_policy_learns_what_the_critic_likes(finished: Path) -> None:
    shares = []
    for number in (1, 2):
        samples = lines(finished / f"round-{number}" / "samples.jsonl")
        assert len(samples) == 30
        assert len({sample["key"] for sample in samples}) == 30
        shares.append(sum(sample["text"] == "right" for sample in samples) / 30)
    assert shares[1] > shares[0] > 0
    first, second = report(finished)
    assert second["outside"]["win_rate"] > 0.5
    assert second["outside"]["right"] > second["outside"]["first"]["right"]
    assert second["outside"]["judge"] == "truth"
    assert second["inside"]["judge"] == "scripted-1"
    assert second["inside"]["win_rate"] > 0.5
    assert second["sampling"]["right"] == pytest.approx(shares[1])
    assert first["selection"]["chosen_right"] == 1.0
    assert first["selection"]["rejected_right"] == 0.0
    low, high = second["outside"]["interval"]
    assert 0 < low < second["outside"]["win_rate"] <= high + 1e-9
    assert first["sampling"]["answers"] == 30
    assert first["judging"]["flip_rate"] == 0.0
    assert first["judging"]["one_right"].pop("pairs") > 0
    assert first["judging"]["one_right"] == {"preferred": 1.0, "tied": 0.0}
    left = sum(first["selection"]["dropped"].values()) + first["selection"]["pairs"]
    assert left == 6
    assert sum(first["judging"]["rewards"]["histogram"]) == 30
    # One loss is ln 2: the reference of a round is the policy that it begins with.
    assert second["training"]["loss"][0] == pytest.approx(0.6931, abs=1e-3)
    assert (finished / "report.png").read_bytes().startswith(b"\x89PNG")


def test_right_answers_are_drawn_where_there_are_references(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    facts = report(finished)
    draw_rounds(facts)
    for round_facts in facts:
        round_facts["sampling"]["right"] = None
    draw_rounds(facts)
    with_truth, without = ([axes.get_title("left") for axes in f.axes] for f in drawn)
    assert set(with_truth) - set(without) == {"What the critic prefers", "Right answers"}
    assert len(without) == 4
    right = next(a for a in drawn[0].axes if a.get_title("left") == "Right answers").get_lines()[0]
    expected = [facts[0]["inside"]["first"]["right"], *(f["inside"]["right"] for f in facts)]
    assert right.get_ydata() == pytest.approx(expected)


def test_the_report_tells_question_types_apart(finished: Path) -> None:
    for facts in report(finished):
        learned, held_out = facts["sources"]["learned"], facts["sources"]["held_out"]
        assert list(learned) == list(held_out) == ["kind-0", "kind-1"]
        samples = lines(finished / f"round-{facts['round']}" / "samples.jsonl")
        for number, kind in enumerate(learned.values()):
            own = [s for s in samples if int(s["question"][1:]) % 2 == number]
            assert kind["sampled_right"] == sum(s["text"] == "right" for s in own) / len(own)
            assert kind["questions"] == 3
        assert sum(kind["pairs"] for kind in learned.values()) == facts["selection"]["pairs"]
        told = sum(kind["one_right"].get("pairs", 0) for kind in learned.values())
        assert told == facts["judging"]["one_right"]["pairs"]
        outside, n = facts["outside"], facts["outside"]["questions"]
        assert sum(kind["right"] for kind in held_out.values()) == round(outside["right"] * n)
        assert sum(kind["became_right"] for kind in held_out.values()) == outside["wins"]
        assert sum(kind["became_wrong"] for kind in held_out.values()) == outside["losses"]
        for kind in held_out.values():
            change = kind["became_right"] - kind["became_wrong"]
            assert kind["first_right"] + change == kind["right"]


def test_pairs_are_what_the_critic_said(finished: Path) -> None:
    rows = list(read_rows(finished / "round-1" / "rows.jsonl"))
    assert rows
    for row in rows:
        chosen = row.responses[0 if row.verdict == "first" else 1]
        assert chosen == "right"
        assert row.judge == "scripted-1"
        assert row.split == "train"
    ranked = lines(finished / "round-1" / "rankings.jsonl")
    assert all(len(set(entry["responses"])) == len(entry["responses"]) for entry in ranked)
    for entry in ranked:
        n = len(entry["responses"])
        assert len(entry["matches"]) == n * (n - 1) // 2
        assert all(len(match["verdicts"]) == 2 for match in entry["matches"])


def test_an_answer_depends_on_its_own_seed_alone(configure: Configure) -> None:
    config = configure()
    question = read_questions(config.questions, config.output, 0)[1]
    drawing = Drawing(1.5, 0.95, 12)
    with loaded_policy(config, None) as policy:
        [together] = policy.answers([question], drawing, [list(range(12))])
        alone = [policy.answers([question], drawing, [[seed]])[0][0] for seed in range(12)]
        greedy = {a.text for a in policy.answers([question], Drawing(0, 1, 12), [[1, 2, 3]])[0]}
        [[cut]] = policy.answers([question], Drawing(0, 1, 2), [[1]])
    assert together == alone
    assert len({answer.text for answer in together}) > 1
    assert len(greedy) == 1
    assert greedy < set(WORDS)
    assert (cut.tokens, cut.ended) == (2, False)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_questions_of_any_shape_that_are_asked_together_get_the_same_answers(
    tmp_path: Path, table: Path, family: str
) -> None:
    base = tmp_path / "base"
    {"llava_onevision": write_llava_onevision, "qwen2_5_vl": write_qwen2_5_vl}[family](base)
    path = write_rounds_config(tmp_path / "c.yaml", base, table, tmp_path / "run")
    config = read_rounds(path)
    questions = read_questions(config.questions, tmp_path, 0)
    longer = replace(questions[0], id="longer", text="And what would you say it is?")
    several = replace(questions[1], id="several", images=questions[1].images + questions[2].images)
    blind = replace(questions[1], id="blind", images=())
    questions = [blind, *questions[:3], longer, several]
    repeats = [2, 1, 0, 1, 3, 2]
    with loaded_policy(config, None) as policy:
        assert len({policy.prompt_tokens(question) for question in questions}) >= 4
        for drawing in (Drawing(0, 1, 12), Drawing(1.5, 0.95, 12)):
            seeds = [[10 * k + j for j in range(n)] for k, n in enumerate(repeats)]
            together = policy.answers(questions, drawing, seeds)
            alone = [
                policy.answers([question], drawing, [own])[0] if own else []
                for question, own in zip(questions, seeds, strict=True)
            ]
            assert together == alone
            assert len({answer.text for own in together for answer in own}) > 1


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_greedy_answers_are_those_of_transformers(tmp_path: Path, table: Path, family: str) -> None:
    """Against `generate` on the same tokens."""
    base = tmp_path / "base"
    {"llava_onevision": write_llava_onevision, "qwen2_5_vl": write_qwen2_5_vl}[family](base)
    path = write_rounds_config(tmp_path / "c.yaml", base, table, tmp_path / "run")
    config = read_rounds(path)
    question = read_questions(config.questions, tmp_path, 0)[1]
    with loaded_policy(config, None) as policy:
        [found] = policy.answers([question], Drawing(0, 1, 12), [[0, 0]])
        model, opened, banned = policy._model, policy._base, policy._banned.tolist()
        image = load_image(question.image_sources[0])
        prompt = policy_prompt(question.text, 1, framed=opened.eye.framed)
        tokens = torch.tensor([policy._maker.prompt(prompt, [(image.height, image.width)])])
        seen = opened.eye.inputs([[opened.eye.look(image, single=False)]], tokens, torch.float32)
        with without_renamings():
            whole = model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                max_new_tokens=12,
                suppress_tokens=banned,
                **seen,
            )
    control = opened.folder.tokenizer.control_tokens
    if family == "qwen2_5_vl":  # a picture stands between its marks
        marks = [control["<|vision_start|>"], control["<|vision_end|>"]]
        assert [token for token in tokens[0].tolist() if token in marks] == marks
    written = whole[0, tokens.shape[1] :].tolist()
    spelled = b"".join(map(opened.folder.tokenizer.bytes_of, written))
    assert (
        found
        == [Answer(spelled.decode("utf-8", "replace").strip(), len(written), found[0].ended)] * 2
    )


def test_drawing_follows_the_softmax_within_top_p(configure: Configure) -> None:
    from edgecritic_train.rounds.policy import Policy

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    stand_in = object.__new__(Policy)
    stand_in._banned = torch.tensor([], dtype=torch.long)
    n = 4000
    generators = [torch.Generator().manual_seed(seed) for seed in range(n)]
    drawn = stand_in._next(logits.repeat(n, 1), Drawing(1.0, 0.9, 1), generators)
    shares = torch.bincount(drawn, minlength=4) / n
    # 0.5 + 0.3 are below 0.9, with 0.15 above it: the last one is out.
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95
    assert torch.allclose(shares, expected, atol=0.03)
    assert shares[3] == 0
    stand_in._banned = torch.tensor([0])
    assert 0 not in stand_in._next(logits.repeat(n, 1), Drawing(1.0, 1.0, 1), generators)


def test_a_killed_run_goes_on_without_loss_or_repeat(
    policy_folder: Path, table: Path, finished: Path, tmp_path: Path
) -> None:
    config = write_rounds_config(tmp_path / "c.yaml", policy_folder, table, tmp_path / "run")
    killed_when(config, tmp_path / "run" / "round-1" / "rankings.jsonl", 3)
    samples = tmp_path / "run" / "round-1" / "samples.jsonl"
    ranked = tmp_path / "run" / "round-1" / "rankings.jsonl"
    before = samples.read_bytes(), ranked.read_bytes()
    assert len(before[1].splitlines()) < 6
    with ranked.open("ab") as file:  # as if it had been killed within a line, too
        file.write(b'{"key": "ab')
    judges: list[CountingJudge] = []

    def counting(settings: JudgeSettings) -> PreferenceJudge:
        judge = CountingJudge(open_scripted(settings))
        judges.append(judge)
        return judge

    run_rounds(read_rounds(config, ["rounds=1"]), quiet, counting)
    assert samples.read_bytes() == before[0]
    assert ranked.read_bytes().startswith(before[1])
    asked = {entry["question"] for entry in map(json.loads, before[1].splitlines())}
    again = {question for question, _ in judges[0].asked}
    assert again
    assert not asked & again
    assert_same_end(tmp_path / "run", finished, n_rounds=1)


def killed_when(config: Path, path: Path, n_lines: int) -> None:
    """Start the rounds in a process of their own, and kill it when a file has so many lines."""
    root = Path(__file__).parents[4]
    parts = [str(root / part) for part in ("runtime", "train", "tests")]
    script = (
        "import sys, time, pathlib, torch\n"
        "from edgecritic_train.rounds.config import read_rounds\n"
        "from edgecritic_train.rounds.run import run_rounds\n"
        "from tiny_policies import CountingJudge, open_scripted\n"
        "class Slow(CountingJudge):\n"
        "    def rank(self, *asked):\n"
        "        time.sleep(0.2)\n"
        "        return super().rank(*asked)\n"
        "torch.set_num_threads(1)\n"
        "config = read_rounds(pathlib.Path(sys.argv[1]))\n"
        "run_rounds(config, lambda _: None, lambda s: Slow(open_scripted(s)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(parts)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not path.exists() or path.read_bytes().count(b"\n") < n_lines:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def assert_same_end(run: Path, finished: Path, n_rounds: int = 2) -> None:
    for number in range(1, n_rounds + 1):
        for stage in STAGES:
            here, there = (folder / f"round-{number}" / stage for folder in (run, finished))
            # Lines that a kill cut off stay, and count for nothing.
            found = [line for line in here.read_text().splitlines() if line.endswith("}")]
            assert found == there.read_text().splitlines(), stage
        weights = [
            load_file(f / f"round-{number}" / "dpo" / "adapter" / "adapter_model.safetensors")
            for f in (run, finished)
        ]
        assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    assert report(run) == report(finished)[:n_rounds]


@pytest.mark.parametrize("lost", [STAGES[:1], ("report.json",), ("dpo", "report.json")])
def test_what_is_lost_is_made_again_to_the_same_end(
    finished: Path, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    """As after a kill at other moments: the end of a journal is gone, or the training, or both."""
    kept = tmp_path / "kept"
    shutil.copytree(finished, kept)
    (finished / "round-2" / "report.json").unlink()
    for name in lost:
        path = finished / "round-2" / name
        if name == "dpo":
            shutil.rmtree(path)
        elif name == "samples.jsonl":  # in the middle of a question, and of a line
            whole = path.read_bytes()
            path.write_bytes(whole[: whole.rindex(b"\n", 0, len(whole) * 2 // 3) + 20])
    config = read_rounds(finished / "config.yaml")
    judge = CountingJudge(open_scripted(config.judge), patience=0)
    try:
        run_rounds(config, quiet, lambda settings: judge)
        assert not judge.asked
        assert_same_end(finished, kept)
    finally:
        shutil.rmtree(finished)
        shutil.copytree(kept, finished)


def test_a_finished_run_is_not_run_again_and_can_be_made_longer(finished: Path) -> None:
    config = read_rounds(finished / "config.yaml")

    def nobody(settings: JudgeSettings) -> PreferenceJudge:
        raise AssertionError("no judge is needed")

    assert run_rounds(config, quiet, nobody) == finished / "round-2" / "dpo" / "adapter"
    with pytest.raises(ArtifactError, match=r"sampling\.responses was 5, now it is 6"):
        run_rounds(read_rounds(finished / "config.yaml", ["sampling.responses=6"]), quiet, nobody)
    # More rounds are no other settings; the judge is asked for the third one only.
    with pytest.raises(AssertionError, match="no judge"):
        run_rounds(read_rounds(finished / "config.yaml", ["rounds=3"]), quiet, nobody)
    shutil.rmtree(finished / "round-3")


def test_an_interrupt_closes_the_judge(configure: Configure) -> None:
    config = configure()
    judge = CountingJudge(open_scripted(config.judge), patience=2)
    with pytest.raises(KeyboardInterrupt):
        run_rounds(config, quiet, lambda settings: judge)
    assert len(lines(config.output / "round-1" / "rankings.jsonl")) == 2
    with pytest.raises(BackendUnavailableError, match="closed"):
        judge.judge.rank(read_questions(config.questions, config.output, 0)[0], ["a", "b"])


def test_an_interrupt_does_not_wait_for_the_judge(configure: Configure) -> None:
    class Slow(CountingJudge):
        stopped = Event()

        def rank(self, question: Any, responses: Any) -> Any:
            if question.id == "q0":
                raise KeyboardInterrupt
            assert self.stopped.wait(60)

        def stop(self) -> None:
            self.stopped.set()

    config = configure()
    with pytest.raises(KeyboardInterrupt):
        run_rounds(config, quiet, lambda settings: Slow(open_scripted(settings)))
    assert Slow.stopped.is_set()


def test_where_no_pair_is_left_the_filters_are_named(configure: Configure) -> None:
    config = configure("selection.margin=1000")
    with pytest.raises(InputError, match=r"no pair is left to learn from; left out:.*margin"):
        run_rounds(config, quiet, open_scripted)


def test_answers_longer_than_the_base_s_context_are_refused(configure: Configure) -> None:
    config = configure("sampling.max_tokens=2040")
    with pytest.raises(ContextOverflowError, match=r"question q\d .* made for 2048"):
        run_rounds(config, quiet, open_scripted)


def test_an_adapter_that_is_none_is_told_before_anything_is_asked(configure: Configure) -> None:
    config = configure("adapter.start=nowhere")
    with pytest.raises(ArtifactError, match="nowhere holds no adapter_model"):
        run_rounds(config, quiet, open_scripted)
    assert not config.output.exists()


def test_where_no_answer_ends_the_cure_is_told(configure: Configure) -> None:
    config = configure("sampling.max_tokens=1")
    with pytest.raises(InputError, match="left out: unfinished 6") as caught:
        run_rounds(config, quiet, open_scripted)
    assert "sampling.max_tokens" in caught.value.hint


@pytest.mark.parametrize(
    ("assignments", "said"),
    [
        (["sampling.responses=1"], "sampling.responses is 1"),
        (["sampling.top_p=0"], "sampling.top_p is 0"),
        (["judge.model=null"], "judge.model is None"),
        (["outside={truth: true, endpoint: 'https://x', model: m}"], "outside.truth is True"),
        (["selection.longer_share=0.4"], "longer_share is 0.4"),
        (["sampling.temprature=1"], "did you mean temperature"),
        (["questions.test=1"], "questions.test is 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    configure: Configure, assignments: list[str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        configure(*assignments)
    assert said in str(caught.value)


def test_the_outside_judge_is_another_one(configure: Configure) -> None:
    same = configure(
        "outside={endpoint: 'https://critic.example/v1', model: scripted, wording: 3, truth: false}"
    )
    with pytest.raises(InputError, match="outside is the judge that is learned from"):
        run_rounds(same, quiet, open_scripted)
    assert judge_source(JudgeSettings())[0] == "bundle"
    assert judge_source(JudgeSettings()) != judge_source(same.judge)


def test_several_processes_are_refused(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BackendUnavailableError, match="rounds run in one"):
        run_rounds(configure(), quiet, open_scripted)


def test_questions_are_read_once_each(configure: Configure, tmp_path: Path, table: Path) -> None:
    lines_ = table.read_text().splitlines()
    record = json.loads(lines_[0])
    picture = (table.parent / record["image"]).as_posix()
    other = tmp_path / "more.jsonl"
    other.write_text(
        json.dumps({**record, "id": "again", "image": picture})
        + "\n"
        + json.dumps({"question": "Without a picture?"})
        + "\n"
    )
    config = configure(f"questions.tables=[{table}, {other}]")
    found = read_questions(config.questions, tmp_path, 0)
    assert [question.id for question in found[:2]] == ["q0", "q1"]
    assert len(found) == 10
    assert found[-1].images == ()
    assert found[0].group == found[0].pictures[0]
    held_out = read_questions(configure("questions.test=0.5").questions, tmp_path, 0)
    assert sum(question.split == "test" for question in held_out) > 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "0.png"}', "the question is None"),
        ('{"question": "Why?", "image": "nowhere.png"}', "cannot be read"),
        ('{"question": "Why?", "split": "exam"}', "the split is 'exam'"),
        ('{"question": "Why?", "split": "test"}', "no question of the split train"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    configure: Configure, tmp_path: Path, line: str, said: str
) -> None:
    table = tmp_path / "bad.jsonl"
    table.write_text(line + "\n")
    config = configure(f"questions.tables={table}")
    with pytest.raises(InputError) as caught:
        read_questions(config.questions, tmp_path, 0)
    assert said in str(caught.value)
    assert "bad.jsonl" in str(caught.value)


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rounds", "--help"]) == 0
    assert "CONFIG.yaml" in capsys.readouterr().out
