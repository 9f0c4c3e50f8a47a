"""Random numbers without a generator: a hash of (seed, epoch, row), the same in any batch.

A generator's numbers depend on what was drawn before. These depend on their key alone, so a
picture changes in the same way whatever batch, process, worker or resumed run reads it. The hash
is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators"), in int64 arithmetic that wraps: integers, so that every device gives the same ones.
B rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(bits: int) -> int:
    """The int64 with the lowest 64 of these bits."""
    return (bits + 2**63) % 2**64 - 2**63


GAMMA = _signed(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: steps that spread evenly
FIRST, SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shift(numbers: Tensor, places: int) -> Tensor:
    """To the right, filled with zeros: torch's >> repeats the sign."""
    return (numbers >> places) & ((1 << (64 - places)) - 1)


def _hash(numbers: Tensor) -> Tensor:
    """int64 -> int64, one to one; a flipped bit flips each bit of the result half the time."""
    numbers = (numbers ^ _shift(numbers, 30)) * FIRST
    numbers = (numbers ^ _shift(numbers, 27)) * SECOND
    return numbers ^ _shift(numbers, 31)


def keys(seed: int, epoch: int, rows: Tensor) -> Tensor:
    """One int64 for each of rows (B,): a pure function of (seed, epoch, row)."""
    start = torch.full_like(rows, _signed(seed), dtype=torch.int64)
    start = _hash(_hash(start + GAMMA) + epoch)
    return _hash(start + (rows + 1) * GAMMA)


def bits(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """keys (B,) -> (B, count) int64: streams `first`, `first` + 1 and so on of each key."""
    streams = torch.arange(first + 1, first + count + 1, device=keys.device)
    return _hash(keys[:, None] + streams * GAMMA)


def uniform(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """keys (B,) -> (B, count) float32 in [0, 1): as many bits as float32 has, so never rounded."""
    return _shift(bits(keys, count, first), 40).float() * 2.0**-24
