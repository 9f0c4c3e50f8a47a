"""A convolutional network: lecture 3, "Convolutional Neural Network".

Two simplifications of a fully connected network suit pictures: a neuron looks at a small receptive
field, for the patterns that matter are small; and the neurons of one channel share their weights,
for a pattern may be anywhere. Pooling is the third: a smaller picture still shows the same thing.
Batch norm: Ioffe and Szegedy 2015.
B batch, C channels, S height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from hlml.errors import UserError
from hlml.models.layers import fully_connected, initialise

POOLS = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}
SLIDING = (nn.Conv2d, *POOLS.values())
Pair = tuple[int, int]  # height and width


class CNN(nn.Module):
    """Stages of convolutions (each with batch norm and ReLU) that end with pooling; then a head.

    `widths`: channels of each stage. `depth`: convolutions in a stage. `kernels`, `strides` (of a
    stage's first convolution) and `pools`: one number for all stages, or a list with one for each;
    a kernel in a list may be [height, width]. `padding`: zeros on each side; "same" adds half a
    kernel, which keeps the size where kernels are odd. `groups`: a neuron sees the channels of its
    group only (of the picture itself all). `head`: the "mean" of each channel's last map, or all of
    it ("flatten"); `hidden`: widths of fully connected layers after that.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        widths: Sequence[int] = (32, 64, 128),
        depth: int = 1,
        kernels: int | list[int | list[int]] = 3,
        strides: int | list[int] = 1,
        padding: int | Literal["same"] = "same",
        groups: int = 1,
        pooling: Literal["max", "mean", "none"] = "max",
        pools: int | list[int] = 2,
        batch_norm: bool = True,
        dropout: float = 0.0,
        head: Literal["mean", "flatten"] = "mean",
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        given = {"kernels": kernels, "strides": strides, "pools": pools}
        per_stage = [_each(name, value, len(widths)) for name, value in given.items()]
        for width, kernel, stride, pool in zip(widths, *per_stage, strict=True):
            stage = nn.Sequential()
            for turn in range(depth):
                shared = groups if turn or len(self.stages) else 1
                step = 1 if turn else stride
                stage.append(_convolution(channels, width, _pair(kernel), step, padding, shared))
                stage.extend([nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()])
                channels = width
            if pooling != "none":
                stage.append(POOLS[pooling](pool))
            self.stages.append(stage)
        height, wide = _last_map(self.stages, (size, size))
        self.gather = nn.Sequential(*([nn.AdaptiveAvgPool2d(1)] * (head == "mean")), nn.Flatten())
        features = channels if head == "mean" else channels * height * wide
        self.hidden = nn.Sequential(*([nn.Dropout(dropout)] * (dropout > 0)))
        self.hidden.extend(fully_connected(features, hidden, dropout))
        self.head = nn.Linear([features, *hidden][-1], classes)
        initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, C, S, S) -> scores (B, classes)"""
        maps = self.stages(pictures)  # (B, widths[-1], H, W)
        scores: Tensor = self.head(self.hidden(self.gather(maps)))
        return scores


def _each(name: str, given: Any, stages: int) -> list[Any]:
    """One value for each stage."""
    values = given if isinstance(given, list | tuple) else [given] * stages
    if len(values) != stages:
        raise UserError(
            f"model.{name}: {given} names {len(values)}, and model.widths has {stages} stages"
        )
    return list(values)


def _pair(kernel: int | list[int]) -> Pair:
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return height, width


def _convolution(
    inputs: int, width: int, kernel: Pair, stride: int, padding: int | Literal["same"], groups: int
) -> nn.Conv2d:
    if inputs % groups or width % groups:
        raise UserError(
            f"model.groups: {inputs} and {width} channels cannot be shared among {groups} groups"
        )
    # not torch's own "same", which takes no stride
    around = (kernel[0] // 2, kernel[1] // 2) if padding == "same" else (padding, padding)
    return nn.Conv2d(inputs, width, kernel, stride, around, groups=groups)


def _last_map(stages: nn.Sequential, shape: Pair) -> Pair:
    """Height and width behind the last stage; UserError: a kernel that the map is too small for."""
    for number, stage in enumerate(stages, 1):
        for layer in stage.children():
            if isinstance(layer, SLIDING):
                shape = _shape_after(layer, shape, number)
    return shape


def _shape_after(layer: Any, shape: Pair, stage: int) -> Pair:
    kernel, stride, around = (
        (value, value) if isinstance(value, int) else value
        for value in (layer.kernel_size, layer.stride, layer.padding)
    )
    padded = [side + 2 * zeros for side, zeros in zip(shape, around, strict=True)]
    if padded[0] < kernel[0] or padded[1] < kernel[1]:
        name = "kernels" if isinstance(layer, nn.Conv2d) else "pools"
        raise UserError(
            f"model.{name}: in stage {stage} the picture is {shape[0]} x {shape[1]} by now, too "
            f"small for {kernel[0]} x {kernel[1]}; take fewer stages, or less stride and pooling"
        )
    height, width = (
        (side - size) // step + 1 for side, size, step in zip(padded, kernel, stride, strict=True)
    )
    return height, width
