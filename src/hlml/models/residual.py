"""Deep networks with shortcuts and without: He et al. 2016, "Deep residual learning".

Lecture 3's picture: 56 plain layers fit the *training* data worse than 20, which is not
overfitting but optimisation that fails. A layer that adds to its input, in place of replacing it,
only has to learn what is missing, and gradients stay of one size: in 56 plain layers those of the
first are thousands of times those of the last (tests/models/test_residual.py).
These are the paper's networks for small pictures (section 4.2): three stages of n blocks with
16, 32 and 64 channels, 6n + 2 layers that hold weights.
B batch, C channels, H and W of the current map, S of the picture.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.layers import initialise


class ResNet(nn.Module):
    """`shortcut`: where the shape changes, "pad" takes every second pixel and adds channels of
    zeros (option A: no weights), "projection" learns a 1 x 1 convolution (option B). "none" leaves
    every shortcut out, and that alone makes the plain network. `width`: channels of the first
    stage."""

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        depth: int = 20,
        width: int = 16,
        shortcut: Literal["pad", "projection", "none"] = "pad",
    ) -> None:
        super().__init__()
        self.stem = _convolution(channels, width, 3)
        self.blocks = nn.Sequential()
        before = width
        for stage in range(3):
            for block in range(_blocks_in_a_stage(depth)):
                stride = 2 if stage and not block else 1
                self.blocks.append(Block(before, width << stage, stride, shortcut))
                before = width << stage
        self.gather = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(before, classes)
        initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, C, S, S) -> scores (B, classes)"""
        maps = self.blocks(F.relu(self.stem(pictures)))  # (B, 4 width, S / 4, S / 4)
        scores: Tensor = self.head(self.gather(maps))
        return scores


class Block(nn.Module):
    """Two convolutions, and around both the shortcut."""

    def __init__(
        self, inputs: int, width: int, stride: int, shortcut: Literal["pad", "projection", "none"]
    ) -> None:
        super().__init__()
        self.first = _convolution(inputs, width, 3, stride)
        self.second = _convolution(width, width, 3)
        self.shortcut: nn.Module | None = None
        if shortcut == "projection" and (stride, width) != (1, inputs):
            self.shortcut = _convolution(inputs, width, 1, stride)
        elif shortcut != "none":
            self.shortcut = Pad(width - inputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """maps (B, C, H, W) -> (B, width, H / stride, W / stride)"""
        change: Tensor = self.second(F.relu(self.first(maps)))
        return F.relu(change if self.shortcut is None else self.shortcut(maps) + change)


class Pad(nn.Module):
    """The identity, as far as it fits: every `stride`-th pixel, and `more` channels of zeros."""

    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, maps: Tensor) -> Tensor:
        """maps (B, C, H, W) -> (B, C + more, H / stride, W / stride)"""
        if self.stride > 1:
            maps = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(maps, (0, 0, 0, 0, 0, self.more)) if self.more else maps


def _convolution(inputs: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """With batch norm, whose shift makes a bias of its own superfluous."""
    convolution = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width))


def _blocks_in_a_stage(depth: int) -> int:
    """n of depth = 6n + 2; UserError: there is none."""
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        nearest = [str(6 * near + 2) for near in (n, n + 1) if near >= 1]
        raise UserError(
            f"model.depth: {depth} is not 6n + 2 layers; nearest: {' and '.join(nearest) or 8}"
        )
    return n
