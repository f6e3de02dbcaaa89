"""transformers: processor and `generate`, one request after another, as its examples have it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, TypeAlias

from PIL import Image

from edgecritic.vision import token_count
from edgecritic_bench.speed.dialogue import Dialogue
from edgecritic_bench.speed.engines.base import Setup
from edgecritic_bench.speed.engines.written import Written

Weights: TypeAlias = Literal["auto", "bf16", "nf4"]


class Generate(Written):
    """A critic as transformers runs it.

    Args:
        setup: how to run; names the checkpoint.
        weights: ``"auto"`` as they are stored, ``"nf4"`` by bitsandbytes.
    """

    def __init__(self, setup: Setup, weights: Weights) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoTokenizer

        torch.set_num_threads(setup.threads)
        folder = setup.checkpoint_folder()
        self._device = torch.device("cuda" if setup.gpu else "cpu")
        kinds: Any = AutoTokenizer, AutoImageProcessor
        self._tokenizer, self._pictures = (
            kind.from_pretrained(folder, local_files_only=True) for kind in kinds
        )
        self._model = _model(folder, weights, self._device)
        bundle = setup.bundle()
        super().__init__(bundle)
        self._geometry: Any = bundle.manifest.image
        self._answer_tokens = setup.answer_tokens

    def answer(self, picture: bytes, asked: Dialogue) -> str:
        import torch

        tokenizer = self._tokenizer
        inputs = self._read(picture, asked)
        n_prompt = inputs["input_ids"].shape[1]

        def states_it(ids: Any, _scores: Any, **_: Any) -> Any:
            written = tokenizer.decode(ids[0, n_prompt:])
            return torch.tensor([asked.stop in written], device=ids.device)

        with torch.inference_mode():
            ids = self._model.generate(
                **inputs,
                max_new_tokens=self._answer_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                stopping_criteria=[states_it],
            )
        found = ids[0, n_prompt:]
        self.tokens = {"prompt": n_prompt, "generated": len(found)}
        return str(tokenizer.decode(found, skip_special_tokens=True)).partition(asked.stop)[0]

    def _read(self, picture: bytes, asked: Dialogue) -> Any:
        """What transformers' processor gives; it would need torchvision, for videos."""
        import torch

        image = Image.open(io.BytesIO(picture)).convert("RGB")
        inputs = self._pictures(image, return_tensors="pt").to(self._device, self._model.dtype)
        token = self._model.config.image_token_id
        count = token_count((image.height, image.width), self._geometry)
        before, after = (
            self._tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in asked.text("\0").split("\0")
        )
        ids = torch.tensor([[*before, *[token] * count, *after]], device=self._device)
        inputs.pop("batch_num_images", None)
        return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _model(folder: Path, weights: Weights, device: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    dtype: Any = "auto" if weights == "auto" else torch.bfloat16
    kind: Any = AutoModelForImageTextToText
    if any(folder.glob("*.safetensors")):
        model = kind.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device)
    else:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with device:
            model = kind.from_config(config, dtype=dtype)
    if weights == "nf4":
        _to_nf4(model.model.language_model, device)
    return model.eval()


def _to_nf4(module: Any, device: Any) -> None:
    """Put bitsandbytes' four-bit layers in place of all linear ones, as transformers does."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, child in module.named_children():
        if isinstance(child, torch.nn.Linear):
            smaller = Linear4bit(
                child.in_features,
                child.out_features,
                child.bias is not None,
                compute_dtype=torch.bfloat16,
                quant_type="nf4",
                device="meta",
            )
            smaller.weight = Params4bit(child.weight.data, requires_grad=False, quant_type="nf4")
            smaller.bias = child.bias
            setattr(module, name, smaller.to(device))
        else:
            _to_nf4(child, device)
