import pytest
import torch

from edgecritic_train.embedded.model import rescale_tower, tower_features


@pytest.fixture
def tower():
    """A tower whose residual stream has grown and drifted, as after a careless pretraining."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(3)
    config = SiglipVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=48,
        patch_size=16,
        vision_use_head=False,
    )
    model = SiglipVisionModel(config)
    model = getattr(model, "vision_model", model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.embeddings.patch_embedding.weight.mul_(4)
        model.encoder.layers[1].mlp.fc2.bias[5] += 90
    return model


def features(tower, pixels):
    with torch.no_grad():
        return tower_features(tower, pixels).double()


def test_rescaled_features_are_the_old_ones_centred_and_divided(tower):
    measured, other = torch.rand(2, 6, 3, 48, 48) * 2 - 1
    before, before_other = features(tower, measured), features(tower, other)
    spread = rescale_tower(tower, measured)
    centre = before.flatten(0, 1).mean(0)
    for old, pixels in ((before, measured), (before_other, other)):
        expected = (old - centre) / spread
        error = (features(tower, pixels) - expected).abs().max()
        assert error < 1e-4 * expected.abs().max()
    assert spread > 2


def test_rescaled_features_have_mean_zero_in_each_channel_and_standard_deviation_one(tower):
    measured = torch.rand(6, 3, 48, 48) * 2 - 1
    rescale_tower(tower, measured)
    after = features(tower, measured).flatten(0, 1)
    assert after.std() == pytest.approx(1, abs=1e-3)
    assert after.mean(0).abs().max() < 1e-3


def test_rescaling_again_changes_nothing(tower):
    measured = torch.rand(6, 3, 48, 48) * 2 - 1
    rescale_tower(tower, measured)
    assert rescale_tower(tower, measured) == pytest.approx(1, abs=1e-4)
