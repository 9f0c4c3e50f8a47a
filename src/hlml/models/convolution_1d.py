"""Frames seen through a window that slides over time: convolutions of one dimension (lecture 3).

With gaps between the frames of a window that double from block to block, what the last one sees
grows twofold with each (van den Oord et al. 2016, "WaveNet").
B batch, T frames, F numbers a frame, D width. Masks: True = real frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.frame_layers import FrameConvolution, FrameNorm, Norm
from hlml.models.tagger import Tagger


class Convolution1d(Tagger):
    """`dilations`: of each block, so as many blocks. Options of the head: see Tagger.

    A frame sees (kernel - 1) times the sum of 1 and all dilations around it, and itself.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        width: int = 128,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2, 4),
        norm: Literal["layer", "batch"] = "batch",
        dropout: float = 0.1,
        **head: Any,
    ) -> None:
        super().__init__(width, classes, one_label, **head)
        self.first = FrameConvolution(inputs, width, kernel)
        self.blocks = nn.ModuleList(
            Block(width, kernel, dilation, norm, dropout) for dilation in dilations
        )
        self.norm = FrameNorm(norm, width)

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, D)"""
        x = self.first(frames, mask)
        for block in self.blocks:
            x = block(x, mask)
        return F.relu(self.norm(x, mask))


class Block(nn.Module):
    """A convolution over frames and one over a frame's numbers, and around both a shortcut; norms
    come first (He et al. 2016, "Identity mappings")."""

    def __init__(self, width: int, kernel: int, dilation: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.first_norm, self.second_norm = FrameNorm(norm, width), FrameNorm(norm, width)
        self.over_time = FrameConvolution(width, width, kernel, dilation)
        self.over_numbers = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) -> (B, T, D)"""
        change = self.over_time(F.relu(self.first_norm(x, mask)), mask)
        change = self.over_numbers(F.relu(self.second_norm(change, mask)))
        out: Tensor = x + self.dropout(change)
        return out
