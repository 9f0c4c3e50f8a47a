"""Frames that look at each other: the encoder of the Transformer (lecture 4; Vaswani et al. 2017).

With norms before what they prepare for (Xiong et al. 2020) it trains without warm-up; after it, as
in the paper, it needs one. B batch, T frames, F numbers a frame, D width, H heads.
Masks: True = real frame.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from hlml.models.attention import SelfAttention
from hlml.models.positions import Positions
from hlml.models.tagger import Tagger


class SelfAttentionTagger(Tagger):
    """`inner`: neurons of each layer's thought (0: 4 width). `window`: frames to each side that one
    may look at (0: all). `longest`: see Positions. Options of the head: see Tagger."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        inner: int = 0,
        window: int = 0,
        positions: Literal["none", "sinusoidal", "learned", "rotary"] = "rotary",
        longest: int = 1000,
        norm: Literal["pre", "post"] = "pre",
        dropout: float = 0.1,
        **head: Any,
    ) -> None:
        super().__init__(width, classes, one_label, **head)
        self.embedding = nn.Linear(inputs, width)
        self.positions = Positions(positions, width, heads, longest)
        self.dropout = nn.Dropout(dropout)
        inner = inner or 4 * width
        self.layers = nn.ModuleList(
            Layer(width, heads, inner, window, norm == "pre", dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, D)"""
        x, angles = self.positions(self.embedding(frames))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask, angles)
        out: Tensor = self.norm(x)
        return out

    def attention_maps(self, frames: Tensor, mask: Tensor) -> list[Tensor]:
        """Of each layer (B, H, T, T): how much each frame (third) looks at each (fourth)."""
        x, angles = self.positions(self.embedding(frames))
        maps = []
        for layer in self.layers:
            assert isinstance(layer, Layer)
            maps.append(layer.attention_map(x, mask, angles))
            x = layer(x, mask, angles)
        return maps


class Layer(nn.Module):
    """Frames look at each other, then each thinks for itself; both add to what was there."""

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        window: int,
        pre: bool,
        dropout: float,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.pre = pre
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # dropout for what is added alone, as in the paper: of single looks (see SelfAttention) and
        # of the many inner neurons it takes a CPU long
        self.attention = SelfAttention(width, heads, window=window)
        self.thought = nn.Sequential(nn.Linear(width, inner), activation(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, angles: Tensor | None = None) -> Tensor:
        """x (B, T, D), mask (B, T), angles (T, D / 2H) -> (B, T, D)"""
        if self.pre:
            x = x + self.dropout(self.attention(self.first_norm(x), mask, angles))
            out: Tensor = x + self.dropout(self.thought(self.second_norm(x)))
        else:
            x = self.first_norm(x + self.dropout(self.attention(x, mask, angles)))
            out = self.second_norm(x + self.dropout(self.thought(x)))
        return out

    def attention_map(self, x: Tensor, mask: Tensor, angles: Tensor | None = None) -> Tensor:
        """(B, H, T, T)"""
        return self.attention.weights(self.first_norm(x) if self.pre else x, mask, angles)
