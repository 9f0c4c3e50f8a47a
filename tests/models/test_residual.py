"""Residual networks and the same without shortcuts, by the paper's table and its argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.residual import Block, ResNet


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
@pytest.mark.parametrize("shortcut", ["pad", "none"])
def test_layers_and_parameters_of_table_6(depth: int, millions: float, shortcut: Any) -> None:
    with torch.device("meta"):
        model = ResNet(3, 32, 10, depth, shortcut=shortcut)
    weights = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(weights) == depth
    count = sum(weight.numel() for weight in model.parameters())
    assert abs(count / 1e6 - millions) < 0.05 * millions


def test_a_projection_costs_a_1_x_1_convolution_and_its_norm_twice() -> None:
    def count(shortcut: Any) -> int:
        return sum(weight.numel() for weight in ResNet(3, 32, 10, 20, 16, shortcut).parameters())

    assert count("projection") - count("pad") == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


def test_with_nothing_to_add_a_residual_network_is_its_shortcuts() -> None:
    torch.manual_seed(0)
    model = ResNet(3, 16, 10, depth=20).eval()
    for block in model.blocks:
        nn.init.zeros_(block.second[1].weight)  # the batch norm that ends the branch
    first = F.relu(model.stem(torch.randn(2, 3, 16, 16)))
    last = model.blocks(first)
    assert torch.equal(last[:, :16], first[:, :, ::4, ::4])
    assert not last[:, 16:].any()


def test_the_shortcut_is_the_only_difference() -> None:
    torch.manual_seed(0)
    residual, plain = Block(4, 8, 2, "pad"), Block(4, 8, 2, "none")
    plain.load_state_dict(residual.state_dict())  # the same weights, by the same names
    maps = torch.randn(2, 4, 6, 6)
    change = plain.second(F.relu(plain.first(maps)))
    assert torch.equal(plain(maps), F.relu(change))
    shortcut = torch.cat([maps[:, :, ::2, ::2], torch.zeros(2, 4, 3, 3)], 1)
    assert torch.equal(residual(maps), F.relu(change + shortcut))


def growth(depth: int, shortcut: Any) -> float:
    """How much larger the first block's gradient is than the last one's, weights being equal."""
    torch.manual_seed(0)
    model = ResNet(1, 8, 10, depth, 4, shortcut)
    F.cross_entropy(model(torch.randn(32, 1, 8, 8)), torch.arange(32) % 10).backward()
    weights = [model.blocks[0].first[0].weight, model.blocks[-1].second[0].weight]
    first, last = (float(weight.grad.norm() / weight.detach().norm()) for weight in weights)
    return first / last


def test_depth_spoils_gradients_of_plain_networks_alone() -> None:
    """Measured, seeds 0-2: 20 layers 17 and 56 layers 6,000 plain; 5 and 20 with shortcuts."""
    assert growth(56, "none") > 100 * growth(20, "none")
    assert growth(56, "pad") < 10 * growth(20, "pad")


@pytest.mark.parametrize(
    ("depth", "nearest"), [(21, "20 and 26"), (18, "14 and 20"), (2, "8"), (7, "8")]
)
def test_another_depth_is_refused_with_the_nearest(depth: int, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"model.depth: {depth} .*; nearest: {nearest}$"):
        ResNet(3, 32, 10, depth)
