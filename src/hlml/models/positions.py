"""Where in a sequence a vector stands, which attention alone cannot see (lecture 4).

Three ways to tell: a pattern of sines that is added (Vaswani et al. 2017), a learned vector that is
added, and queries and keys that are turned as far as their place says, so that a score depends on
the distance of the two only (RoFormer: Su et al. 2021). T vectors of a sequence, D width, H heads.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hlml.errors import UserError

Kind = Literal["none", "sinusoidal", "learned", "rotary"]


def angles(count: int, width: int, device: torch.device | None = None) -> Tensor:
    """(count, width / 2): t / 10000^(2i / width), where hand i of a clock stands at time t."""
    times = torch.arange(count, device=device, dtype=torch.float32)
    pairs = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    return times[:, None] * 10000 ** (-pairs / width)


def sinusoidal(count: int, width: int, device: torch.device | None = None) -> Tensor:
    """(count, width): of each angle its sine and its cosine, side by side."""
    hands = angles(count, width, device)
    return torch.stack([hands.sin(), hands.cos()], -1).flatten(-2)[:, :width]


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """x (..., T, D), angles (T, D / 2): numbers i and i + D / 2 are a point of a plane, which is
    turned around its origin. In float32 at least: bfloat16 would blur where a vector stands."""
    first, second = x.chunk(2, -1)
    cosine, sine = angles.cos(), angles.sin()
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(turned, -1).to(x.dtype)


class Positions(nn.Module):
    """`longest`: how many learned vectors there are; what stands behind them shares the last."""

    def __init__(self, kind: Kind, width: int, heads: int, longest: int) -> None:
        super().__init__()
        self.kind, self.head_width = kind, width // heads
        if kind == "rotary" and self.head_width % 2:
            raise UserError(
                f"model.positions=rotary: turns pairs of numbers, and model.width={width} / "
                f"model.heads={heads} is no even number"
            )
        self.vectors = nn.Parameter(torch.empty(longest, width)) if kind == "learned" else None
        if self.vectors is not None:
            nn.init.normal_(self.vectors, std=0.02)

    def forward(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor | None]:
        """x (B, T, D) at places `start`, `start` + 1, ... -> x with what is added, and how far
        heads turn (T, D / 2H) where they do"""
        end, width = start + x.shape[1], x.shape[2]
        if self.kind == "rotary":
            return x, angles(end, self.head_width, x.device)[start:]
        if self.kind == "sinusoidal":
            x = x + sinusoidal(end, width, x.device)[start:]
        if self.vectors is not None:
            place = torch.arange(start, end, device=x.device).clamp(max=len(self.vectors) - 1)
            x = x + self.vectors[place]
        return x, None
