"""Every frame for itself, or with the neighbours that the data set joins to it (data.context).

The course's sample: 5 frames before and 5 after make a window of 11 x 39 = 429 numbers, and three
layers of 1024, 512 and 128 sigmoids look at it. B batch, T frames, F numbers a frame, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from hlml.models.frame_layers import FrameNorm
from hlml.models.piecewise import ACTIVATIONS
from hlml.models.tagger import Tagger


class Linear(Tagger):
    """Classes are told apart by a weighted sum of a frame's numbers (one label: of their mean)."""

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """(B, T, F) -> the same"""
        return frames


class MLP(Tagger):
    """`widths` of the hidden layers. Options of the head: see Tagger."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        widths: Sequence[int] = (256, 256),
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        norm: Literal["none", "layer", "batch"] = "none",
        dropout: float = 0.0,
        **head: Any,
    ) -> None:
        super().__init__([inputs, *widths][-1], classes, one_label, **head)
        before = [inputs, *widths]
        self.layers = nn.ModuleList(map(nn.Linear, before, widths))
        self.norms = nn.ModuleList(FrameNorm(norm, width) for width in widths)
        self.bend = nn.Sequential(ACTIVATIONS[activation](), nn.Dropout(dropout))

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, D)"""
        x = frames
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.bend(norm(layer(x), mask))
        return x
