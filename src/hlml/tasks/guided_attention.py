"""Guided attention: who reads aloud or spells goes through the source in order, and so should the
attention (lecture 5).

Tachibana et al. 2018, "Efficiently Trainable Text-to-Speech System Based on Deep Convolutional
Networks with Guided Attention". B batch, S and T tokens of source and target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hlml.tokens import PAD


def off_diagonal(looks: Tensor, source: Tensor, labels: Tensor, width: float) -> Tensor:
    """looks (B, T, S), source (B, S), labels (B, T) -> (B, T): how far from the diagonal each token
    looks, 0 of PAD: 1 - exp(-(t / T - s / S)^2 / 2 width^2), the mean over its looks.

    T and S are each row's own. The paper takes the mean over the source's places, too, which makes
    it the smaller the longer the source.
    """
    read, written = source != PAD, labels != PAD
    along = torch.arange(source.shape[1], device=source.device) / read.sum(1, keepdim=True)
    down = torch.arange(labels.shape[1], device=source.device) / written.sum(1, keepdim=True)
    apart = down[:, :, None] - along[:, None]
    penalty = (1 - torch.exp(-apart.square() / (2 * width**2))) * read[:, None]
    return (looks * penalty).sum(2) * written
