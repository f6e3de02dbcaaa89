"""Estimates against measured peaks, and against what a loaded model really holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, LlavaOnevisionConfig, Qwen2Config, SiglipVisionConfig

from edgecritic.errors import ArtifactError, BackendUnavailableError, InputError
from edgecritic.prompts import load_dialect
from edgecritic_train import cli
from edgecritic_train.embedded.config import TowerShape, embedded_geometry
from edgecritic_train.embedded.model import llava_config
from edgecritic_train.tuning.adapters import adapted
from edgecritic_train.tuning.base import load_base, open_base
from edgecritic_train.tuning.config import TuningConfig
from edgecritic_train.tuning.estimate import device_tflops, estimate, lengths_of
from edgecritic_train.tuning.examples import ExampleMaker
from edgecritic_train.tuning.pairs import PairMaker, prepare_pairs
from edgecritic_train.tuning.probe import Probe, probe
from tiny_checkpoints import IMAGE_TOKEN_ID, write_tokenizer
from tiny_tuning import FAMILIES, Configure

GIB = 2**30


@dataclass(frozen=True)
class Cell:
    """A batch that was measured: LLaVA-OneVision-7B's shape, r=64, paged 8-bit AdamW, on a GPU.

    Attributes:
        tokens: of a row or pair, as they are computed.
        peak: GiB that torch had allocated, with one batch a step on an H100; None if not measured.
        accumulated: the same with two batches a step, on an H200.
        seconds: of a batch, on the H200.
        batch: rows.
        form: of a pair; None for a row.
    """

    tokens: int
    peak: float | None
    accumulated: float
    seconds: float
    batch: int = 1
    form: str | None = None


# The tables of docs/training.md.
MEASURED = [
    Cell(2042, 8.1, 8.4, 2042 / 2527),
    Cell(3486, 8.7, 9.3, 3486 / 3004),
    Cell(5282, 9.7, 10.4, 5282 / 6362),
    Cell(7826, 11.5, 12.1, 7826 / 7075),
    Cell(7826, None, 17.0, 15652 / 7681, 2),
    Cell(7826, None, 26.7, 31304 / 7912, 4),
    Cell(2324, 8.7, 9.1, 2324 / 1332, 1, "shared_prefix"),
    Cell(3768, 9.3, 9.9, 3768 / 2831, 1, "shared_prefix"),
    Cell(5564, 10.3, 10.9, 5564 / 2984, 1, "shared_prefix"),
    Cell(8108, 12.1, 12.7, 8108 / 4348, 1, "shared_prefix"),
    Cell(4134, 9.4, 10.0, 4134 / 2611, 1, "two_rows"),
    Cell(7022, 11.0, 11.6, 7022 / 3994, 1, "two_rows"),
    Cell(10614, 12.9, 13.5, 10614 / 5626, 1, "two_rows"),
    Cell(15702, 16.1, 16.7, 15702 / 5991, 1, "two_rows"),
]


def write_seven_billion(folder: Path) -> Path:
    """Settings and a tokenizer; no weights."""
    folder.mkdir()
    vision = SiglipVisionConfig(
        hidden_size=1152,
        intermediate_size=4304,
        num_hidden_layers=26,
        num_attention_heads=16,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    text = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152000,
    )
    LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN_ID
    ).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def seven_billion(configure: Configure, base: Path, *changes: str) -> TuningConfig:
    return configure(
        "llava_onevision",
        f"base.model={base}",
        *("base.quantization=nf4", "base.dtype=bfloat16", "adapter.rank=64"),
        *("optimizer.gradient_checkpointing=true", "optimizer.name=paged_adamw_8bit"),
        *changes,
    )


def test_a_seven_billions_peaks_are_within_a_tenth(configure: Configure, tmp_path: Path) -> None:
    folder = write_seven_billion(tmp_path / "base")
    for cell in MEASURED:
        changes = [f"optimizer.batch={cell.batch}", f"dpo.form={cell.form or 'two_rows'}"]
        for accumulation, peak in ((1, cell.peak), (2, cell.accumulated)):
            config = seven_billion(
                configure, folder, *changes, f"optimizer.accumulation={accumulation}"
            )
            base = open_base(config, weights=False)
            found = estimate(config, base, [cell.tokens] * 8, 989, dpo=cell.form is not None)
            assert found.parameters == 161_480_704
            assert found.tokens == cell.batch * cell.tokens
            if peak is not None:
                assert found.peak / GIB == pytest.approx(peak, rel=0.1), cell
        assert found.seconds is not None
        # The processor decides of most of them, and two were 1.5 times apart.
        batches = 8 / cell.batch
        assert found.seconds / batches == pytest.approx(cell.seconds, rel=0.3), cell


def test_compiled_layers_keep_less(configure: Configure, tmp_path: Path) -> None:
    """Of the embedded critic's shape by its recipe: on an H200, batches of up to 1,151 tokens."""
    text = LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )
    settings = llava_config(text, TowerShape(), embedded_geometry(), IMAGE_TOKEN_ID, 1)
    settings.save_pretrained(tmp_path / "base")
    write_tokenizer(tmp_path / "base")
    for batch, peak in ((32, 24.1), (64, 47.5)):
        config = configure(
            "llava_onevision",
            f"base.model={tmp_path / 'base'}",
            *("base.dtype=bfloat16", "adapter.rank=32", "adapter.vision_tower=full"),
            *("adapter.projector=true", f"optimizer.batch={batch}", "optimizer.compile=true"),
            "optimizer.gradient_checkpointing=false",
        )
        found = estimate(config, open_base(config, weights=False), [1151] * 320)
        assert found.peak / GIB == pytest.approx(peak, rel=0.1)


def test_the_longest_pair_is_computed_in_one_row_or_two(
    configure: Configure, tmp_path: Path
) -> None:
    folder = write_seven_billion(tmp_path / "base")
    for form, times in (("shared_prefix", 1), ("two_rows", 2)):
        config = seven_billion(configure, folder, "optimizer.batch=1", f"dpo.form={form}")
        longest = estimate(config, open_base(config, weights=False), dpo=True).tokens
        assert longest == times * config.data.max_tokens


def test_slower_cards_are_held_up_by_arithmetic(configure: Configure, tmp_path: Path) -> None:
    config = seven_billion(configure, write_seven_billion(tmp_path / "base"), "optimizer.batch=1")
    base = open_base(config, weights=False)
    slow, fast = (estimate(config, base, [3486], tflops).seconds for tflops in (71, 142))
    assert slow == pytest.approx(2 * fast)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "assignments",
    [[], ["adapter.dora=true"], ["adapter.projector=true", "adapter.vision_tower=lora"]],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_weights_are_counted_as_they_are_loaded(
    configure: Configure, family: str, assignments: list[str]
) -> None:
    config = configure(family, *assignments)
    base = open_base(config)
    found = estimate(config, base)
    model = load_base(base, config)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    assert found.weights == held
    trained = adapted(model, base.family, config.adapter)
    assert found.parameters == sum(p.numel() for p in trained.parameters() if p.requires_grad)
    assert found.trained == 16 * found.parameters
    assert found.tokens == 2 * config.data.max_tokens  # no rows: two of the longest


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_that_is_gone_on_with_is_counted_by_its_own_rank(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure("llava_onevision", "adapter.rank=3", "adapter.projector=true")
    base = open_base(config)
    saved = adapted(load_base(base, config), base.family, config.adapter)
    saved.save_pretrained(tmp_path / "adapter")
    wanted = estimate(config, base).parameters
    config = configure("llava_onevision", f"adapter.start={tmp_path}/adapter", "adapter.rank=64")
    assert estimate(config, base).parameters == wanted
    command = ["estimate", str(tmp_path / "config.yaml"), "--set", "adapter.start=nowhere"]
    with pytest.raises(ArtifactError, match="nowhere holds no adapter_model"):
        cli.main(command)


def test_four_bits_are_counted_as_they_are_stored(configure: Configure) -> None:
    config = configure("llava_onevision", "base.quantization=nf4", "base.dtype=bfloat16")
    base = open_base(config)
    model = load_base(base, config)
    held = 0
    for parameter in model.parameters():
        held += parameter.numel() * parameter.element_size()
        if (state := getattr(parameter, "quant_state", None)) is not None:
            held += state.absmax.numel() * state.absmax.element_size()
            held += 4 * -(-state.absmax.numel() // 256)
    assert estimate(config, base).weights == pytest.approx(held, rel=0.005)


def test_the_command_needs_no_weights(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure("llava_onevision")
    folder = Path(config.base.model)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (bare / path.name).write_bytes(path.read_bytes())
    command = ["estimate", str(tmp_path / "config.yaml"), "--set", f"base.model={bare}"]
    assert cli.main([*command, "--device", "RTX 4090"]) == 0
    said = capsys.readouterr().out
    assert "at the peak" in said
    assert "5      steps, about 1 min" in said
    assert cli.main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["peak"] == record["weights"] + record["trained"] + record["activations"]


def test_pairs_are_counted_as_they_are_computed(configure: Configure) -> None:
    config = configure("llava_onevision", "optimizer.batch=1")
    base = open_base(config)
    shared = lengths_of(config, base, dpo=True)
    config = configure("llava_onevision", "optimizer.batch=1", "dpo.form=two_rows")
    twice = lengths_of(config, base, dpo=True)
    row = prepare_pairs(config, base, lambda _: None).train[0]
    prompt = len(
        PairMaker(ExampleMaker(base, load_dialect("edgecritic-v1")), base).make(row).prompt
    )
    assert twice[0] - shared[0] == prompt


def test_a_probe_runs_the_longest_rows_in_a_process_of_its_own(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("llava_onevision")
    command = ["estimate", str(tmp_path / "config.yaml"), "--probe", "--json"]
    assert cli.main([*command, "--set", "optimizer.batch=1"]) == 0
    record = json.loads(capsys.readouterr().out)
    found = Probe(**record["probe"])
    assert found.fits
    assert found.tokens == record["tokens"]
    assert found.peak > 100e6  # Python and torch themselves
    assert 0 < found.seconds < 60
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendUnavailableError, match=r"status 1: .*is no folder"):
        probe(tmp_path / "config.yaml", ["base.model=./nowhere"], dpo=False, cap=None)


def test_a_probe_tells_what_all_batches_would_take(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The machine may be slower than those of the prediction."""
    monkeypatch.setattr(
        "edgecritic_train.tuning.estimate.probe", lambda *_, **__: Probe(True, 100, seconds=900.0)
    )
    configure("llava_onevision")
    settings = ["--set", "optimizer.max_steps=7", "--set", "optimizer.accumulation=2"]
    assert cli.main(["estimate", str(tmp_path / "config.yaml"), "--probe", *settings]) == 0
    assert (
        "900.00 s a batch of 100 tokens; 3.5 hours for all, were they as long"
        in capsys.readouterr().out
    )


def test_what_does_not_fit_is_an_answer(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    configure("llava_onevision")
    monkeypatch.setattr(
        "edgecritic_train.tuning.estimate.probe", lambda *_, **__: Probe(False, device="a card")
    )
    command = ["estimate", str(tmp_path / "config.yaml"), "--probe", "--cap", "11"]
    assert cli.main(command) == 1
    assert "does not fit 11 GiB (a card)" in capsys.readouterr().out


def test_cards_are_known_by_their_names() -> None:
    assert device_tflops("NVIDIA H100 80GB HBM3") == 989
    assert device_tflops("NVIDIA L40S") == 362
    assert device_tflops("NVIDIA GeForce RTX 4070 Ti SUPER") == 88
    assert device_tflops("a toaster") is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--device", "a toaster"], "RTX 3060"),
        (["--cap", "11"], "--probe"),
        (["--cap", "nan", "--probe"], "above 0"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    configure: Configure, tmp_path: Path, arguments: list[str], told: str
) -> None:
    configure("llava_onevision")
    with pytest.raises(InputError) as caught:
        cli.main(["estimate", str(tmp_path / "config.yaml"), *arguments])
    assert told in caught.value.hint


def test_rows_that_are_not_there_are_told(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("llava_onevision")
    config = str(tmp_path / "config.yaml")
    assert cli.main(["estimate", config, "--set", "data.train=[nowhere.jsonl]"]) == 0
    assert "nowhere.jsonl is not there" in capsys.readouterr().err
