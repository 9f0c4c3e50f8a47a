"""Attention for what is far and a convolution for what is near: Gulati et al. 2020, "Conformer".

A block adds half a thought, what it looked up, what its convolution sees, and half a thought.
Positions are rotary where the paper has relative ones. B batch, T frames, F numbers a frame,
D width, H heads. Masks: True = real frame.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.attention import SelfAttention
from hlml.models.frame_layers import FrameConvolution, FrameNorm, Norm
from hlml.models.positions import Positions
from hlml.models.tagger import Tagger


class Conformer(Tagger):
    """`kernel`: frames that a convolution sees. `norm`: of the convolution; the paper has "batch".
    `inner`, `window`, `longest`: as in SelfAttentionTagger. Options of the head: see Tagger."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
        inner: int = 0,
        kernel: int = 15,
        window: int = 0,
        positions: Literal["none", "sinusoidal", "learned", "rotary"] = "rotary",
        longest: int = 1000,
        norm: Literal["layer", "batch"] = "batch",
        dropout: float = 0.1,
        **head: Any,
    ) -> None:
        super().__init__(width, classes, one_label, **head)
        self.embedding = nn.Linear(inputs, width)
        self.positions = Positions(positions, width, heads, longest)
        self.dropout = nn.Dropout(dropout)
        inner = inner or 4 * width
        self.blocks = nn.ModuleList(
            Block(width, heads, inner, kernel, window, norm, dropout) for _ in range(layers)
        )

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, D)"""
        given, angles = self.positions(self.embedding(frames))
        x: Tensor = self.dropout(given)
        for block in self.blocks:
            x = block(x, mask, angles)
        return x

    def attention_maps(self, frames: Tensor, mask: Tensor) -> list[Tensor]:
        """Of each block (B, H, T, T): how much each frame (third) looks at each (fourth)."""
        x, angles = self.positions(self.embedding(frames))
        maps = []
        for block in self.blocks:
            assert isinstance(block, Block)
            maps.append(block.attention_map(x, mask, angles))
            x = block(x, mask, angles)
        return maps


class Block(nn.Module):
    """Each part has its norm before it, and the whole one behind it."""

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        kernel: int,
        window: int,
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first_half, self.second_half = (_thought(width, inner, dropout) for _ in range(2))
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, window=window)
        self.convolution = ConvolutionModule(width, kernel, norm, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, angles: Tensor | None = None) -> Tensor:
        """x (B, T, D), mask (B, T), angles (T, D / 2H) -> (B, T, D)"""
        x = x + self.first_half(x) / 2
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, angles))
        x = x + self.convolution(x, mask)
        out: Tensor = self.norm(x + self.second_half(x) / 2)
        return out

    def attention_map(self, x: Tensor, mask: Tensor, angles: Tensor | None = None) -> Tensor:
        """(B, H, T, T)"""
        x = x + self.first_half(x) / 2
        return self.attention.weights(self.attention_norm(x), mask, angles)


class ConvolutionModule(nn.Module):
    """What of a frame counts is decided by a gate; then each channel has a kernel of its own."""

    def __init__(self, width: int, kernel: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GLU())
        self.depthwise = FrameConvolution(width, width, kernel, groups=width)
        self.norm = FrameNorm(norm, width)
        self.after = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) -> (B, T, D)"""
        x = self.norm(self.depthwise(self.before(x), mask), mask)
        out: Tensor = self.after(F.silu(x))
        return out


def _thought(width: int, inner: int, dropout: float) -> nn.Sequential:
    """Without the paper's dropout of the inner neurons, a fifth of a step's time on a CPU."""
    layers = [nn.Linear(width, inner), nn.SiLU(), nn.Linear(inner, width)]
    return nn.Sequential(nn.LayerNorm(width), *layers, nn.Dropout(dropout))
