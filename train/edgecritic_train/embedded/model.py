"""The embedded critic as transformers' LLaVA-OneVision, with the pieces that training moves."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecritic.vision import ImageGeometry
from edgecritic_train.embedded.config import LoraShape, TowerShape
from edgecritic_train.embedded.language_model import (
    build_tokenizer,
    load_language_model,
    special_ids,
)

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import (
        LlamaConfig,
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
    )
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        LlavaOnevisionMultiModalProjector,
    )

IMAGE_TOKEN = "<empty_output>"  # noqa: S105 - no password
"""A control token of SmolLM2 that no prompt uses; transformers wants one to mark image tokens."""
VIDEO_TOKEN = "<jupyter_script>"  # noqa: S105 - no password

ADAPTED = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def llava_config(
    text: LlamaConfig,
    tower: TowerShape,
    geometry: ImageGeometry,
    image_token: int,
    video_token: int,
) -> LlavaOnevisionConfig:
    """LLaVA-OneVision's configuration around a language model."""
    from transformers import LlavaOnevisionConfig, SiglipVisionConfig

    vision = SiglipVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.mlp,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.heads,
        image_size=geometry.tile_size,
        patch_size=geometry.patch_size,
        vision_use_head=False,
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        video_token_index=video_token,
        image_grid_pinpoints=[list(pinpoint) for pinpoint in geometry.pinpoints],
        vision_aspect_ratio=f"anyres_max_{geometry.anyres_max}",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=text.tie_word_embeddings,
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """The modules of a LLaVA-OneVision model that training addresses one by one.

    Tower and decoder are `Any`: their classes moved between transformers' 5.x releases.

    Attributes:
        tower: SigLIP encoder; its last hidden state before the closing norm is the feature.
        projector: two-layer MLP into the language model's space.
        newline: (d,) the learned row separator.
        decoder: the language model without its head.
        head: (d) to (vocab) logits.
    """

    tower: Any
    projector: LlavaOnevisionMultiModalProjector
    newline: nn.Parameter
    decoder: Any
    head: nn.Linear


def parts(model: Any) -> Parts:
    """Name the parts of a `LlavaOnevisionForConditionalGeneration`."""
    inner = model.model
    tower = inner.vision_tower
    return Parts(
        tower=getattr(tower, "vision_model", tower),
        projector=inner.multi_modal_projector,
        newline=inner.image_newline,
        decoder=inner.language_model,
        head=model.lm_head,
    )


def tower_features(tower: Any, pixels: Tensor) -> Tensor:
    """Last hidden states before the closing norm, as LLaVA-OneVision takes them.

    Args:
        tower: a SigLIP vision model.
        pixels: (n, 3, S, S), normalised.

    Returns:
        (n, patches, width).
    """
    embeddings = tower.embeddings
    hidden: Tensor = patch_embeddings(embeddings.patch_embedding, pixels)
    hidden = hidden + embeddings.position_embedding.weight
    for layer in tower.encoder.layers:
        hidden = layer(hidden, attention_mask=None)
    return hidden


def patch_embeddings(convolution: nn.Conv2d, pixels: Tensor) -> Tensor:
    """(n, patches, width) what a convolution says of patches that do not overlap.

    As one matrix product, because cuDNN is slow at the gradient of such a convolution.
    """
    n, channels, side, _ = pixels.shape
    patch = convolution.kernel_size[0]
    grid = side // patch
    patches = pixels.view(n, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
    return functional.linear(
        patches.reshape(n, grid * grid, -1), convolution.weight.flatten(1), convolution.bias
    )


def build(
    language_model: Path, tower: TowerShape, geometry: ImageGeometry
) -> LlavaOnevisionForConditionalGeneration:
    """A critic with a fresh tower and projector around the weights of a GGUF file, in float32."""
    from transformers import LlavaOnevisionForConditionalGeneration

    tokenizer = build_tokenizer(language_model)
    control = special_ids(tokenizer)
    text = load_language_model(language_model)
    config = llava_config(text.config, tower, geometry, control[IMAGE_TOKEN], control[VIDEO_TOKEN])
    model = LlavaOnevisionForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    model.tie_weights()
    with torch.no_grad():
        model.model.image_newline.normal_(std=embedding_rms(parts(model)))
    return model


def embedding_rms(model: Parts) -> float:
    """Root mean square of the language model's token embeddings."""
    return float(model.decoder.embed_tokens.weight.float().pow(2).mean().sqrt())


@torch.no_grad()
def rescale_tower(tower: Any, pixels: Tensor) -> float:
    """Centre the tower's features and bring them to standard deviation 1, in place.

    LLaVA-OneVision reads the residual stream, whose size nothing holds during pretraining. Every
    block normalises what it reads, so dividing all that is written into the stream by one number
    divides the features by it; the last bias is added after the last reading and may carry off
    the mean of each channel. Only the epsilon of the norms tells the two towers apart: by 0.1% of
    the features where 28.5 was divided by.

    Args:
        tower: a SigLIP vision model.
        pixels: (n, 3, S, S) a sample of pictures to measure the features on.

    Returns:
        The standard deviation around the channels' means before, by which was divided.
    """
    features = tower_features(tower, pixels).float().flatten(0, 1)
    centre = features.mean(0)
    spread = float((features - centre).std())
    embeddings, layers = tower.embeddings, tower.encoder.layers
    layers[-1].mlp.fc2.bias -= centre
    embeddings.position_embedding.weight /= spread
    writers = [embeddings.patch_embedding]
    writers += [module for layer in layers for module in (layer.self_attn.out_proj, layer.mlp.fc2)]
    for writer in writers:
        writer.weight /= spread
        writer.bias /= spread
    return spread


@torch.no_grad()
def start_projector(model: Parts, pixels: Tensor) -> None:
    """Let image features enter the language model at the size of its token embeddings.

    Args:
        model: the parts, with a pretrained tower, which is rescaled.
        pixels: (n, 3, S, S) a sample of pictures to measure the tower's features on.
    """
    rescale_tower(model.tower, pixels)
    first, second = model.projector.linear_1, model.projector.linear_2
    features = tower_features(model.tower, pixels)
    for linear, inputs in ((first, features), (second, None)):
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        nn.init.zeros_(linear.bias)
        if inputs is not None:
            linear.weight /= linear(inputs).float().std()
    second.weight *= embedding_rms(model) / model.projector(features).float().std()


def with_lora(model: LlavaOnevisionForConditionalGeneration, shape: LoraShape) -> PeftModel:
    """Wrap the language model's linear layers; the adapter is kept in float32."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, target_modules=ADAPTED, lora_dropout=0.0, bias="none"
    )
    with warnings.catch_warnings():  # peft asks transformers for a property by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        wrapped: PeftModel = get_peft_model(model, config)
    return wrapped
