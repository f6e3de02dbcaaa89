"""A tiny policy that answers, with one of a few words, and what it is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from transformers import LlavaOnevisionForConditionalGeneration

from edgecritic.prompts import load_dialect
from edgecritic_train.rounds.config import JudgeSettings
from edgecritic_train.rounds.judges import CriticJudge, PreferenceJudge, TruthJudge
from edgecritic_train.tuning.base import Base
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.families import open_folder
from edgecritic_train.tuning.pairs import policy_prompt
from scripted_critic import scripted_critic
from tiny_checkpoints import write_llava_onevision

WORDS = ("right", "wrong", "never")
QUESTIONS = ("Is it so?", "Or so?")
SIZES = ((28, 28), (56, 28))


def write_questions(folder: Path, n_train: int = 6, n_test: int = 3) -> Path:
    """A table of questions; the first ones are learned."""
    lines = []
    for k in range(n_train + n_test):
        picture = folder / f"{k}.png"
        Image.new("RGB", SIZES[k % 2], (20 * k, 200 - 20 * k, 10)).save(picture)
        line = {
            "id": f"q{k}",
            "image": picture.name,
            "question": QUESTIONS[k % 2],
            "reference": "Right.",
            "split": "train" if k < n_train else "test",
            "source": f"kind-{k % 2}",
        }
        lines.append(json.dumps(line) + "\n")
    path = folder / "questions.jsonl"
    path.write_text("".join(lines))
    return path


def write_policy(folder: Path) -> None:
    """A LLaVA-OneVision folder whose model says each word about as often."""
    write_llava_onevision(folder)
    family, opened = open_folder(folder)
    base = Base(family, opened, family.eye(opened, None))
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
    batches = [_lesson(base, question, size) for question in QUESTIONS for size in SIZES]
    optimizer = torch.optim.AdamW(model.model.language_model.parameters(), lr=3e-3)
    for step in range(60):
        batch = batches[step % len(batches)]
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


def _lesson(base: Base, question: str, size: tuple[int, int]) -> dict[str, Any]:
    maker = ExampleMaker(base, load_dialect("edgecritic-v1"))
    image = Image.new("RGB", size, (120, 80, 10))
    prompt = policy_prompt(question, 1, framed=False)
    asked = maker.prompt(prompt, [(image.height, image.width)])
    end = maker.text(prompt.end.text, control=True)[:1]
    answers = [[*maker.text(word), *end] for word in WORDS]
    tokens = torch.tensor([[*asked, *answer] for answer in answers])
    labels = tokens.clone()
    labels[:, : len(asked)] = -100
    seen = base.eye.inputs([[base.eye.look(image, single=False)]] * 3, tokens, torch.float32)
    return {"input_ids": tokens, "labels": labels, **seen}


def write_rounds_config(path: Path, policy: Path, questions: Path, output: Path) -> Path:
    settings = {
        "base": {"model": str(policy), "quantization": "none", "dtype": "float32"},
        "adapter": {"rank": 4, "alpha": 8, "dropout": 0.0},
        "questions": {"tables": [str(questions)], "test": 0.0, "max_tokens": 900, "workers": 0},
        "output": str(output),
        "rounds": 2,
        "sampling": {"max_tokens": 12},
        "judge": {"endpoint": "https://critic.example/v1", "model": "scripted"},
        "outside": {"truth": True},
        "optimizer": {
            "batch": 1,
            "accumulation": 2,
            "learning_rate": 3e-3,
            "gradient_checkpointing": False,
        },
        "checkpoints": {"every": 1},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def open_scripted(settings: JudgeSettings) -> PreferenceJudge:
    """The critic that likes what says "right", whatever critic the settings name."""
    return TruthJudge() if settings.truth else CriticJudge(scripted_critic())


class CountingJudge:
    """Counts what a judge is asked, and gives up after some questions."""

    def __init__(self, judge: PreferenceJudge, patience: int | None = None) -> None:
        self.judge, self.patience = judge, patience
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.name = judge.name

    def rank(self, question: Any, responses: Sequence[str]) -> Any:
        if self.patience is not None and len(self.asked) >= self.patience:
            raise KeyboardInterrupt
        self.asked.append((question.id, tuple(responses)))
        return self.judge.rank(question, responses)

    def stop(self) -> None:
        self.judge.stop()

    def close(self) -> None:
        self.judge.close()
