"""What holds for every model of pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hlml.models.convolutional import CNN
from hlml.models.fully_connected import FullyConnected
from hlml.models.residual import ResNet
from hlml.models.vision_transformer import VisionTransformer

MODELS: dict[str, Callable[..., nn.Module]] = {
    "fully_connected": lambda *sizes: FullyConnected(*sizes, widths=[32], dropout=0.1),
    "cnn": lambda *sizes: CNN(*sizes, widths=[8, 16], depth=2, hidden=[16], dropout=0.1),
    "cnn_flat": lambda *sizes: CNN(*sizes, widths=[8], head="flatten", batch_norm=False),
    "resnet": lambda *sizes: ResNet(*sizes, depth=8, width=4),
    "projection": lambda *sizes: ResNet(*sizes, depth=8, width=4, shortcut="projection"),
    "plain": lambda *sizes: ResNet(*sizes, depth=8, width=4, shortcut="none"),
    "vit": lambda *sizes: VisionTransformer(*sizes, width=16, layers=2, heads=2),
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


@every_model
def test_a_gradient_reaches_every_parameter(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(3, 16, 4)
    scores = model(torch.randn(8, 3, 16, 16))
    assert scores.shape == (8, 4)
    nn.functional.cross_entropy(scores, torch.arange(8) % 4).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@every_model
def test_channels_last_gives_the_same_scores(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model, pictures = build(3, 16, 4).eval(), torch.randn(4, 3, 16, 16)
    before = model(pictures)
    after = model.to(memory_format=torch.channels_last)(
        pictures.to(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


@every_model
def test_one_batch_is_learnt_by_heart(build: Callable[..., nn.Module]) -> None:
    """Noise with noisy labels: no model can do that but by its own weights."""
    torch.manual_seed(0)
    model, pictures, labels = build(1, 8, 3), torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pictures), labels).backward()
        optimizer.step()
    assert torch.equal(model(pictures).argmax(1), labels)
