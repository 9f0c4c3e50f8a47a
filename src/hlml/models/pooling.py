"""Many vectors become one: their mean, their maximum, or a mean whose weights are learnt.

Self-attentive pooling: Lin et al. 2017, "A structured self-attentive sentence embedding"; for
speakers Safari et al. 2020. Not every frame says as much about who speaks: a pause says nothing.
B batch, T frames, D width. Masks: True = real frame.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn


class Pool(nn.Module):
    """Over the real frames of each utterance."""

    def __init__(self, kind: Literal["mean", "max", "attention"], width: int) -> None:
        super().__init__()
        self.kind = kind
        self.question = nn.Linear(width, 1, bias=False) if kind == "attention" else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) -> (B, D)"""
        mask = (mask | ~mask.any(1, keepdim=True))[..., None]  # of no frames: all, and no nan
        if self.kind == "max":
            return x.masked_fill(~mask, -math.inf).amax(1)
        if self.question is None:
            return (x * mask).sum(1) / mask.sum(1)
        scores = self.question(x).masked_fill(~mask, -math.inf)
        pooled: Tensor = (x * scores.softmax(1)).sum(1)
        return pooled
