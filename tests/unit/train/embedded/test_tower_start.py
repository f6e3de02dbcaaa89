import pytest
import torch

from edgecritic_train.embedded.tower_start import start_tower, waves, whitening


def drawings(n):
    """Mostly white paper with a coloured box somewhere, (n, 3, 48, 48) in [-1, 1]."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.ones(n, 3, 48, 48)
    for picture in pixels:
        top, left = (int(x) for x in torch.randint(0, 40, (2,), generator=generator))
        colour = torch.rand(3, 1, 1, generator=generator) * 2 - 1
        picture[:, top : top + 8, left : left + 8] = colour
    return pixels + 0.05 * torch.randn(pixels.shape, generator=generator)


@pytest.fixture
def tower():
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=48,
        patch_size=8,
        vision_use_head=False,
    )
    model = SiglipVisionModel(config)
    return getattr(model, "vision_model", model)


def test_patches_of_paper_no_longer_drown_what_is_drawn(tower):
    pixels = drawings(200)
    start_tower(tower, pixels)
    with torch.no_grad():
        embedded = tower.embeddings.patch_embedding(pixels)
    assert embedded.std() == pytest.approx(1, abs=0.01)
    assert embedded.mean((0, 2, 3)).abs().max() < 0.01


def test_every_place_has_an_embedding_of_its_own(tower):
    start_tower(tower, drawings(50))
    places = tower.embeddings.position_embedding.weight.detach()
    assert places.std() == pytest.approx(1, abs=1e-4)
    distances = torch.cdist(places, places) + 99 * torch.eye(len(places))
    assert distances.min() > 1


def test_neighbours_are_more_alike_than_far_places():
    places = waves(12, 64).view(12, 12, 64)
    beside = float((places[5, 5] - places[5, 6]).norm())
    below = float((places[5, 5] - places[6, 5]).norm())
    assert beside < (places[5, 5] - places[5, 11]).norm()
    assert beside == pytest.approx(below, rel=1e-4)


def test_strong_directions_come_out_equally_strong():
    pixels = torch.randn(64, 3, 32, 32)
    pixels[:, 0] *= 20
    weight, bias = whitening(pixels, width=192, patch=8)
    patches = torch.nn.functional.unfold(pixels, 8, stride=8).transpose(1, 2).flatten(0, 1)
    spectrum = torch.linalg.eigvalsh(torch.cov((patches @ weight.T + bias).T))
    assert spectrum[64:].max() / spectrum[64:].min() < 4
    assert spectrum.max() < 100 * spectrum.min()
