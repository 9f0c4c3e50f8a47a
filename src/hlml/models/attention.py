"""Self-attention: every vector looks at all the others (lecture 4; Vaswani et al. 2017).

Who may look at whom is a mask: nobody looks at padding, in truncated attention a frame looks at its
neighbours only, on a graph a node at those it has an edge to, and what is written at what was.
B batch, T vectors of a sequence, D width, H heads. Masks: True = there, may be looked at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.positions import turn

Cache = tuple[Tensor, Tensor]  # keys and values, (B, H, T, D / H) each
BLOCK = 32  # vectors whose neighbours are gathered at once: on a CPU 16 and 64 are slower


class SelfAttention(nn.Module):
    """`heads` questions at once, each with its own D / heads numbers of query, key and value.

    `dropout`: the share of looks that training leaves out. At 400 vectors a CPU takes five times as
    long with it. `window`: how many vectors to each side one may look at; 0: at all.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0, window: int = 0) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.heads: {heads} heads cannot share out model.width={width}")
        self.heads, self.dropout, self.window = heads, dropout, window
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D)

        mask (B, T): which vectors are there. Or (B, H, T, T): which (third) may look at which, at
        least one each; B and H may be 1. angles (T, D / 2H): rotary positions.
        """
        query, key, value = self._project(x, angles)
        dropout = self.dropout if self.training else 0.0
        side = max(self.window, BLOCK)
        plain = mask is None or mask.dim() == 2
        if self.window and plain and x.shape[1] > side + 2 * self.window:
            real = x.new_ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
            mixed = _in_blocks(query, key, value, real, self.window, side, dropout)
        else:
            pairs = _pairs(x, mask, self.window)
            mixed = F.scaled_dot_product_attention(query, key, value, pairs, dropout)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def follow(
        self, x: Tensor, angles: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """x (B, T, D) -> (B, T, D), where each looks at itself and at those before it; and the
        keys and values of all. With the `past` ones, x is the one vector (B, 1, D) behind them."""
        query, key, value = self._project(x, angles)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=past is None
        )
        return self.output(mixed.transpose(1, 2).flatten(2)), (key, value)

    def weights(
        self, x: Tensor, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """(B, H, T, T): how much each vector looks at each, of a sum of 1; without dropout."""
        query, key, _ = self._project(x, angles)
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        pairs = _pairs(x, mask, self.window)
        if pairs is not None:
            scores = scores.masked_fill(~pairs, -math.inf)
        return scores.softmax(-1)

    def _project(self, x: Tensor, angles: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (B, H, T, D / H) each."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.queries_keys_values(x).chunk(3, -1)
        )
        if angles is not None:
            query, key = turn(query, angles), turn(key, angles)
        return query, key, value


def _pairs(x: Tensor, mask: Tensor | None, window: int) -> Tensor | None:
    """Who may look at whom, (B, H, T, T) with 1 where all do the same; None: everyone at all."""
    if mask is not None and mask.dim() == 2:
        # where nobody is there, all may be looked at: a softmax over nothing is not a number
        mask = (mask | ~mask.any(1, keepdim=True))[:, None, None]
    if not window:
        return mask
    place = torch.arange(x.shape[1], device=x.device)
    distance = (place[:, None] - place).abs()[None, None]
    # padding too far from all that is there looks at itself, for the same reason
    return distance <= window if mask is None else (distance <= window) & mask | (distance == 0)


def _in_blocks(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, window: int, side: int, dropout: float
) -> Tensor:
    """Truncated attention at the cost of T times the window, not T squared.

    `side` vectors at a time look at themselves and `window` more at either end of them.
    """
    batch, _, count, _ = query.shape
    blocks = -(-count // side)
    after = blocks * side - count

    def around(x: Tensor) -> Tensor:
        """(B, H, T, D / H) -> (B blocks, H, side + 2 window, D / H)"""
        x = F.pad(x, (0, 0, window, window + after)).unfold(2, side + 2 * window, side)
        return x.permute(0, 2, 1, 4, 3).flatten(0, 1)

    queries = F.pad(query, (0, 0, 0, after)).unflatten(2, (blocks, side))
    queries = queries.transpose(1, 2).flatten(0, 1)
    real = F.pad(mask, (window, window + after)).unfold(1, side + 2 * window, side).flatten(0, 1)
    here = torch.arange(side, device=query.device)[:, None]
    distance = (torch.arange(side + 2 * window, device=query.device) - window - here).abs()
    pairs = (distance <= window) & real[:, None] | (distance == 0)
    mixed = F.scaled_dot_product_attention(
        queries, around(key), around(value), pairs[:, None], dropout
    )
    mixed = mixed.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)
    out: Tensor = mixed[:, :, :count]
    return out
