"""The Python blocks of every page run as they stand, one after another as a reader would do it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path

import pytest

from code_blocks import ROOT, Block, blocks
from edgecritic.critic import Critic
from scripted_critic import scripted_critic

PAGES = {page: list(of_page) for page, of_page in groupby(blocks("python"), lambda b: b.page)}


def write_checkpoints(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny checkpoint in LLaVA-NeXT's format, and an adapter of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlavaOnevisionForConditionalGeneration

    from edgecritic_export.checkpoints.llava_next import import_checkpoint
    from original_checkpoints import towers, write_original
    from tiny_checkpoints import write_llava_onevision

    defaults = import_checkpoint.__kwdefaults__
    monkeypatch.setitem(defaults, "towers", towers(layers=3))
    write_llava_onevision(folder / "base")
    (folder / "lmms-lab").mkdir()
    write_original(folder / "base", folder / "lmms-lab" / "llava-critic-7b")
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder / "base")
    torch.manual_seed(3)
    targets = r".*language_model.*\.(q|v)_proj"
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder / "runs" / "dpo-3")


def write_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small table."""
    lines = ("image,question,response", "seven.png,Which digit?,A 7.", "seven.png,Which digit?,")
    (folder / "answers.csv").write_text("\n".join(lines))


NEEDS: Mapping[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "lmms-lab/llava-critic-7b": write_checkpoints,
    "answers.csv": write_answers,
}
"""What a block names, and what writes it."""


OTHERS = ("deepeval",)
"""Kits whose pages show how they are told of us."""


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_they_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for picture in (ROOT / "runtime" / "edgecritic" / "demo_images").glob("*.png"):
        shutil.copy(picture, tmp_path)
    for name, write in NEEDS.items():
        if any(name in block.code for block in PAGES[page]):
            write(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Critic, "load", lambda *_, **__: scripted_critic())
    monkeypatch.setattr(Critic, "remote", lambda *_, **__: scripted_critic())
    names: dict[str, object] = {"__name__": "__main__"}
    for block in PAGES[page]:
        for package in OTHERS:
            if f"from {package}" in block.code:
                pytest.importorskip(package, reason=f"{package} is none of our packages")
        exec(compile(block.code, block.place, "exec"), names)


def test_no_page_hides_python_in_another_fence() -> None:
    def imports(block: Block) -> bool:
        return re.search(r"^(from|import) \w+", block.code, re.MULTILINE) is not None

    assert [block.place for block in blocks("") + blocks("py") if imports(block)] == []
