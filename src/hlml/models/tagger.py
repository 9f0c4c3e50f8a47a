"""A sequence of vectors in; a label for each of them, or one for all, out (lecture 4).

What differs from model to model is how frames look at each other: `encode`. The rest is here: the
pooling that makes one vector of many, and the head that scores classes.
B batch, T frames, F numbers a frame, D width, K classes. Masks: True = real frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.layers import fully_connected
from hlml.models.pooling import Pool


class Tagger(nn.Module, ABC):
    """`inputs`: of the head, so a frame's numbers after `encode`. `one_label`: for the whole
    utterance, whose frames are pooled. `hidden`: widths of layers before the last one. `cosine`:
    scores are `scale` times the cosine between vector and class, so that a loss can ask for a
    margin between angles (Wang et al. 2018, "Additive margin softmax"); else `scale` is None."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        pool: Literal["mean", "max", "attention"] = "mean",
        hidden: Sequence[int] = (),
        cosine: bool = False,
        scale: float = 30.0,
    ) -> None:
        super().__init__()
        self.scale = scale if cosine else None
        self.pool = Pool(pool, inputs) if one_label else None
        self.hidden = nn.Sequential(*fully_connected(inputs, hidden, dropout=0.0))
        last = [inputs, *hidden][-1]
        self.head = Cosine(last, classes, scale) if cosine else nn.Linear(last, classes)

    @abstractmethod
    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, D); what is padding must not change the rest"""

    def vectors(self, frames: Tensor, mask: Tensor) -> Tensor:
        """What the last layer is given, (B, T, D), or with `one_label` (B, D): speakers' vectors"""
        x = self.encode(frames, mask)
        if self.pool is not None:
            x = self.pool(x, mask)
        out: Tensor = self.hidden(x)
        return out

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> scores (B, T, K), or with `one_label` (B, K)"""
        scores: Tensor = self.head(self.vectors(frames, mask))
        return scores


class Cosine(nn.Module):
    """Only directions count: neither a loud vector nor a class with large weights wins by that."""

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(classes, width))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., K) from -scale to scale"""
        # bfloat16 would round a score of 30 to eighths
        with torch.autocast(x.device.type, enabled=False):
            directions = F.normalize(x.to(self.weight.dtype), dim=-1)
            return self.scale * F.linear(directions, F.normalize(self.weight, dim=-1))
