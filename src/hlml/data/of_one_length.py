"""Batches of sequences that are about as long as each other: padding costs as much as what is real.

A budget is how many places a batch may have: its longest sequence times their number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hlml import distributed
from hlml.data.module import generator

Pool = tuple[Tensor, int]  # rows of about the same length, and how many of them make a batch


def pools(lengths: Tensor, order: Tensor, budget: int, batches: int) -> list[Pool]:
    """lengths (N,), order (N,): rows from the longest to the shortest -> pools of so many batches.

    They are the same in each epoch, and so is the number of batches.
    """
    found, start = [], 0
    while start < len(order):
        # a batch of fewer rows than processes would be left out
        size = max(distributed.world(), budget // int(lengths[order[start]]))
        found.append((order[start : start + batches * size], size))
        start += batches * size
    return found


def shuffled(pools: list[Pool], seed: int, epoch: int) -> list[Tensor]:
    """The epoch's batches: rows change places within their pool, and then batches among all."""
    draw = generator(seed, epoch)
    batches: list[Tensor] = []
    for pool, size in pools:
        batches += pool[torch.randperm(len(pool), generator=draw)].split(size)
    return [batches[place] for place in torch.randperm(len(batches), generator=draw)]


def within_budget(lengths: Tensor, order: Tensor, budget: int) -> list[Tensor]:
    """lengths (N,), order (N,) -> its rows as they stand there, as many at once as may be."""
    batches, longest, start = [], 0, 0
    for place, length in enumerate(lengths[order].tolist()):
        longest = max(longest, length)
        if place > start and longest * (place + 1 - start) > budget:
            batches.append(order[start:place])
            start, longest = place, length
    return [*batches, order[start:]]
