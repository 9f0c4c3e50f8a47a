"""A picture as a sequence of patches: Dosovitskiy et al. 2021, "An image is worth 16x16 words".

Lecture 4: a convolution is self-attention that may look at its neighbours only. Without that
limit the model can learn more, and with few pictures it learns less than a convolution.
Norms come before what they prepare for (Xiong et al. 2020), so that training needs no warm-up.
B batch, C channels, S height and width, T patches, D width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hlml.errors import UserError
from hlml.models.attention import SelfAttention
from hlml.models.layers import initialise


class VisionTransformer(nn.Module):
    """`patch`: its height and width. `positions`: learned vectors that say where a patch was; with
    "none" a picture is a bag of patches."""

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        patch: int = 4,
        width: int = 96,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        positions: Literal["learned", "none"] = "learned",
    ) -> None:
        super().__init__()
        if size % patch:
            fitting = [str(side) for side in range(2, size + 1) if size % side == 0]
            raise UserError(
                f"model.patch: {patch} does not divide the picture's size {size}; "
                f"these do: {', '.join(fitting)}"
            )
        self.patches = nn.Conv2d(channels, width, patch, patch)
        count = (size // patch) ** 2 if positions == "learned" else 0
        self.positions = nn.Parameter(torch.empty(count, width)) if count else None
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(Layer(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        initialise(self, gain=1)  # no ReLUs
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, C, S, S) -> scores (B, classes)"""
        x = self.patches(pictures).flatten(2).transpose(1, 2)  # (B, T, D)
        if self.positions is not None:
            x = x + self.positions
        x = self.norm(self.layers(self.dropout(x)))
        scores: Tensor = self.head(x.mean(1))
        return scores


class Layer(nn.Module):
    """Patches look at each other, then each thinks for itself; both add to what was there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout)
        self.thought = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)"""
        x = x + self.dropout(self.attention(self.first_norm(x)))
        out: Tensor = x + self.dropout(self.thought(self.second_norm(x)))
        return out
