"""Mixup: a picture that is 0.7 a cat and 0.3 a dog, with a label that says so.

Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond empirical risk minimization". What a
picture is mixed with, and how much of it stays, depends on its key alone, like its augmentation.
B batch, C channels, S side, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.data import randomness

STREAM = 1000  # far from those of the augmentation, so that mixup changes none of its numbers


def partners(keys: Tensor, labelled: int, alpha: float) -> tuple[Tensor, Tensor]:
    """keys (B,) -> the row each is mixed with, one of the first `labelled`, and its own weight.

    Rows (B,) int64; weights (B,) float32, from Beta(alpha, alpha).
    """
    chosen = randomness.bits(keys, 1, STREAM).squeeze(1) & (2**62 - 1)
    numbers = randomness.uniform(keys, 2, STREAM + 1)
    return chosen % labelled, symmetric_beta(numbers, alpha)


def symmetric_beta(numbers: Tensor, alpha: float) -> Tensor:
    """Two uniform numbers (B, 2) in [0, 1) -> (B,) from Beta(alpha, alpha), exactly, for any alpha.

    Student's t with 2 alpha degrees of freedom has a polar form (Bailey 1994), and t maps to a
    symmetric beta (Devroye 1996, "Random variate generation in one line of code"): no rejection,
    so each picture needs the same two numbers.
    """
    radius, angle = numbers.double().unbind(1)
    # float64: for a small alpha this power is far beyond float32, and inf is right where it ends
    squared = (1 - radius).pow(-1 / alpha) - 1
    cosine = (2 * math.pi * angle).cos()
    return (0.5 + 0.5 * cosine / (1 / squared + cosine.square()).sqrt()).float()


def mix(
    pictures: Tensor,
    others: Tensor,
    labels: Tensor,
    their_labels: Tensor,
    weights: Tensor,
    classes: int,
) -> tuple[Tensor, Tensor]:
    """Pictures (B, C, S, S) float32 and labels (B, K) float32: `weights` (B,) of a picture stays.

    A picture without a label (-1) stays whole, and its row of labels is zero.
    """
    known = labels >= 0
    weights = weights.where(known, 1.0)
    mixed = torch.lerp(others.float(), pictures.float(), weights[:, None, None, None])
    own, theirs = (F.one_hot(one.clamp(min=0), classes) for one in (labels, their_labels))
    return mixed, torch.lerp(theirs.float(), own.float(), weights[:, None]) * known[:, None]
