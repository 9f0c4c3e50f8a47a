"""Tiny pictures that train in a second: a bright column says the class, and noise hides it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hlml.data import generator
from hlml.data.augment import Augment
from hlml.data.images import Images

CLASSES, SIZE = 3, 6


class Columns(Images):
    """`labelled` training pictures with labels and `unlabelled` without, 20 to validate, 11 to
    test; each row's class is known from `truth`."""

    def __init__(
        self,
        batch_size: int = 8,
        seed: int = 0,
        augment: Any = None,
        strong_view: Any = None,
        unlabelled_ratio: int = 0,
        labelled: int = 20,
        unlabelled: int = 30,
        noise: float = 40.0,
        channels: int = 1,
    ) -> None:
        super().__init__(batch_size, seed, 0, augment, strong_view, unlabelled_ratio)
        counts = [labelled, unlabelled, 20, 11]
        number = sum(counts)
        draw = generator(5)
        labels = torch.randint(CLASSES, (number,), generator=draw)
        pictures = 100 + noise * torch.randn(number, channels, SIZE, SIZE, generator=draw)
        pictures[torch.arange(number), :, :, 2 * labels] += 100
        rows = torch.arange(number).split(counts)
        parts = [(some, labels[some]) for some in rows]
        self.class_names = ["left", "middle", "right"]
        self.hidden_labels = parts[1][1]
        self.fill(
            pictures.clamp(0, 255).byte(), parts[0], parts[1] if unlabelled else None, *parts[2:]
        )


class Small(nn.Module):
    """A convolution with batch norm and dropout, and a linear layer."""

    def __init__(self, channels: int = 1, classes: int = CLASSES, dropout: float = 0.0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(4 * SIZE * SIZE, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = self.norm(self.convolution(pictures)).relu()
        scores: Tensor = self.linear(self.dropout(maps.flatten(1)))
        return scores


def shifting(**options: Any) -> Augment:
    return Augment(**{"shift": 1, "border": "zero", **options})
