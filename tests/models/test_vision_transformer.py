"""Patches that look at each other: attention by torch's own, and what positions are for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.attention import SelfAttention
from hlml.models.vision_transformer import VisionTransformer


def test_attention_is_torchs_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = SelfAttention(12, 3)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_()
    ours.queries_keys_values.load_state_dict(
        {"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias}
    )
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


def test_attention_drops_out_in_training_only() -> None:
    torch.manual_seed(0)
    attention, x = SelfAttention(8, 2, dropout=0.5), torch.randn(1, 9, 8)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def shuffled(pictures: Tensor, patch: int) -> Tensor:
    """The same patches in another order."""
    patches = F.unfold(pictures, patch, stride=patch)
    patches = patches[..., torch.randperm(patches.shape[-1])]
    return F.fold(patches, pictures.shape[-2:], patch, stride=patch)


def test_without_positions_a_picture_is_a_bag_of_patches() -> None:
    torch.manual_seed(0)
    pictures = torch.randn(3, 2, 12, 12)
    for positions in ("none", "learned"):
        model = VisionTransformer(2, 12, 5, 4, 16, 2, 2, 0, positions)  # type: ignore[arg-type]
        if model.positions is not None:
            nn.init.normal_(model.positions)
        model.eval()
        same = torch.allclose(model(pictures), model(shuffled(pictures, 4)), atol=1e-5)
        assert same == (positions == "none")


def test_parameters_by_the_formula() -> None:
    """Of a layer: 4 D^2 + 4 D for attention, 8 D^2 + 5 D for thought, 4 D for norms."""
    model = VisionTransformer(3, 32, 10, patch=4, width=24, layers=3, heads=2)
    count = sum(weight.numel() for weight in model.parameters())
    layer = 12 * 24**2 + 13 * 24
    assert count == (3 * 16 + 1) * 24 + 64 * 24 + 3 * layer + 2 * 24 + (24 + 1) * 10


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"patch: 5 .* size 28; these do: 2, 4, 7, 14, 28"):
        VisionTransformer(1, 28, 10, patch=5)
    with pytest.raises(UserError, match="heads: 5 heads"):
        VisionTransformer(1, 28, 10, heads=5)
