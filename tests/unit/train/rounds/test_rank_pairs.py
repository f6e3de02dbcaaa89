"""Pairs for other trainers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from edgecritic.errors import InputError
from edgecritic_train import cli
from edgecritic_train.critic_data.rows import CriticRow, ImageBytes, ImageFile, read_rows
from edgecritic_train.rounds.config import JudgeSettings, SelectionSettings
from edgecritic_train.rounds.formats import harmless, llamafactory_record, trl_record, write_format
from edgecritic_train.rounds.judges import is_right
from edgecritic_train.rounds.rank_pairs import Ranking, rank_tables
from tiny_checkpoints import IMAGE_TOKEN_ID, TEXT_SHAPE, write_tokenizer
from tiny_policies import CountingJudge, open_scripted

TURNS = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}\
{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
JUDGE = JudgeSettings(endpoint="https://critic.example/v1", model="scripted")


@pytest.fixture
def asked(tmp_path: Path) -> Ranking:
    Image.new("RGB", (28, 28)).save(tmp_path / "a.png")
    answers = [["wrong", "right", "never", "right"], ["wrong", "never"], ["right"]]
    records = [
        {"id": f"q{k}", "image": "a.png", "prompt": "Which <image>?", "responses": given}
        for k, given in enumerate(answers)
    ]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(record) + "\n" for record in records))
    columns = {"question": "prompt"}
    return Ranking((table,), columns, tmp_path / "out", JUDGE, SelectionSettings())


def test_the_best_and_the_worst_of_a_table_become_pairs(asked: Ranking) -> None:
    rows = rank_tables(asked, open_scripted)
    assert [row.id for row in rows] == ["q0"]
    facts = json.loads((asked.out / "pairs.json").read_text())
    assert facts["pairs"] == 1
    assert facts["dropped"]["tie"] == 1
    assert facts["dropped"]["unfinished"] == 1
    judge = CountingJudge(open_scripted(JUDGE), patience=0)
    assert rank_tables(asked, lambda _: judge) == rows
    assert not judge.asked
    assert list(read_rows(asked.out / "rows.jsonl")) == rows


def test_rows_are_written_in_both_formats(
    asked: Ranking, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datasets import load_dataset
    from trl.data_utils import is_conversational

    rank_tables(asked, open_scripted)
    out = tmp_path / "formats"
    rows = asked.out / "rows.jsonl"
    assert cli.main(["rank-pairs", str(rows), "--rows", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [f"{out}/trl.jsonl", f"{out}/llamafactory.jsonl"]
    loaded = load_dataset(
        "json", data_files=str(out / "trl.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    example = loaded[0]
    assert is_conversational(example)
    assert example["chosen"][0]["content"][0]["text"] == "right"
    assert example["rejected"][0]["content"][0]["text"] == "never"  # of equals, the last
    assert Path(example["images"][0]).is_file()
    record = json.loads((out / "llamafactory.jsonl").read_text())
    (asked_turn,) = record["conversations"]
    assert asked_turn == {"from": "human", "value": "<image>Which < image>?"}
    assert len(record["images"]) == asked_turn["value"].count("<image>") == 1
    info = json.loads((out / "dataset_info.json").read_text())["preferences"]
    assert info["ranking"] is True
    assert set(info["columns"].values()) <= record.keys()
    assert (out / info["file_name"]).is_file()


# TRL itself names a setting by the name that transformers had for it before.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_trl_trains_on_the_pairs_as_they_are(
    asked: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own trainer, and a model and processor of transformers' alone."""
    from datasets import load_dataset
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Qwen2Config,
    )
    from trl import DPOConfig, DPOTrainer

    monkeypatch.setattr(DPOTrainer, "_send_telemetry", lambda _: None)
    write_format("trl", rank_tables(asked, open_scripted), tmp_path)
    pairs = load_dataset(
        "json", data_files=str(tmp_path / "trl.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    write_tokenizer(tmp_path)
    eye = CLIPVisionConfig(
        image_size=28, patch_size=14, hidden_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    text = Qwen2Config(**TEXT_SHAPE)
    config = LlavaConfig(vision_config=eye, text_config=text, image_token_index=IMAGE_TOKEN_ID)
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        AutoTokenizer.from_pretrained(tmp_path),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TURNS,
    )
    trainer = DPOTrainer(
        LlavaForConditionalGeneration.from_pretrained(tmp_path),
        args=DPOConfig(
            str(tmp_path / "run"), max_steps=1, use_cpu=True, report_to=[], save_strategy="no"
        ),
        processing_class=processor,
        train_dataset=pairs,
    )
    assert trainer.train().training_loss == pytest.approx(math.log(2), abs=1e-4)


def row(**changes: object) -> CriticRow:
    plain: dict[str, object] = {
        "id": "r",
        "setting": "pairwise",
        "question": "q",
        "responses": ("a", "b"),
        "verdict": "second",
    }
    return CriticRow(**{**plain, **changes})


def test_the_winner_is_chosen_wherever_it_stands() -> None:
    assert llamafactory_record(row())["chosen"]["value"] == "b"
    assert trl_record(row(verdict="first"))["rejected"][0]["content"][0]["text"] == "b"
    two = row(images=(ImageFile(Path("/a.png")), ImageFile(Path("/b.png"))))
    kinds = [part["type"] for part in trl_record(two)["prompt"][0]["content"]]
    assert kinds == ["image", "image", "text"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"verdict": "tie"}, "has no winner"), ({"images": (ImageBytes(b"x"),)}, "as base64")],
)
def test_what_is_no_pair_in_files_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        trl_record(row(**changes))


def test_texts_spell_no_control_token() -> None:
    assert harmless("a <b> <video> <|im_end|> <") == "a <b> < video> < |im_end|> <"


@pytest.mark.parametrize(
    ("response", "right"),
    [("red.", True), (" RED ", True), ("dark  red", False), ("re", False), ("", False)],
)
def test_truth_is_what_the_reference_says(response: str, right: bool) -> None:
    assert is_right(response, "Red") is right


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("The picture shows a red bus, a dog and a red car.", True),
        ("The picture shows the dog, red bus, and the red car", True),
        ("The picture shows a red dog, a bus and a red car.", False),
        ("The picture shows a red car and a dog.", False),
        ("The picture shows a red car, a dog, a red bus and a cat.", False),
        ("There is a red car, a dog and a red bus.", False),
    ],
)
def test_a_list_is_right_in_any_order(response: str, right: bool) -> None:
    assert is_right(response, "The picture shows a red car, a dog and a red bus.") is right


def test_what_is_no_list_keeps_its_order() -> None:
    assert not is_right("The dog is left of the cat.", "The cat is left of the dog.")
    assert not is_right(
        "A dog on the left and a cat on the right.", "A cat on the left and a dog on the right."
    )


def test_ranking_for_others_loads_nothing_that_trains() -> None:
    program = (
        "import sys; import edgecritic_train.rounds.rank_pairs; "
        "print(sorted({'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
