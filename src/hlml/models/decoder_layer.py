"""What writes looks back at what it has written and across at what was read (lecture 5;
Vaswani et al. 2017).

B batch, S and T tokens of source and target, D width, H heads. Masks: True = may be looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.attention import Cache, SelfAttention


class CrossAttention(nn.Module):
    """Questions come from the one sequence, keys and values from the other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries, self.keys_values = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def remember(self, memory: Tensor) -> Cache:
        """What was read (B, S, D) -> its keys and values, the same however often one looks."""
        key, value = (self._heads(part) for part in self.keys_values(memory).chunk(2, -1))
        return key, value

    def forward(
        self, x: Tensor, memory: Cache, mask: Tensor, looking: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D), mask (B, 1, 1, S) -> (B, T, D) and, where one wants to know, how much each
        (second) looks at each (third), (B, T, S) of a sum of 1: the mean over heads, in float32 at
        least."""
        query, (key, value) = self._heads(self.queries(x)), memory
        looks = None
        if looking:
            # divided first: in float16 the sum of the products might be too large for a number
            scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
            kind = torch.promote_types(scores.dtype, torch.float32)
            shares = scores.to(kind).masked_fill(~mask, -math.inf).softmax(-1)
            mixed, looks = shares.to(value.dtype) @ value, shares.mean(1)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, mask)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out, looks

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)"""
        heads: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return heads


class DecoderLayer(nn.Module):
    """Tokens look back, then across, then each thinks for itself; all three add to what was there.

    `pre`: norms stand before what they prepare for, not after the sum.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        pre: bool,
        dropout: float,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.pre = pre
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = SelfAttention(width, heads)
        self.across = CrossAttention(width, heads)
        self.thought = nn.Sequential(nn.Linear(width, inner), activation(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Cache,
        mask: Tensor,
        angles: Tensor | None = None,
        past: Cache | None = None,
        looking: bool = False,
    ) -> tuple[Tensor, Cache, Tensor | None]:
        """x (B, T, D) -> (B, T, D), own keys and values, and looks. See SelfAttention.follow and
        CrossAttention."""
        own, cache = self.attention.follow(self._before(0, x), angles, past)
        x = self._add(0, x, own)
        found, looks = self.across(self._before(1, x), memory, mask, looking)
        x = self._add(1, x, found)
        return self._add(2, x, self.thought(self._before(2, x))), cache, looks

    def _before(self, part: int, x: Tensor) -> Tensor:
        return self.norms[part](x) if self.pre else x

    def _add(self, part: int, x: Tensor, more: Tensor) -> Tensor:
        x = x + self.dropout(more)
        return x if self.pre else self.norms[part](x)
