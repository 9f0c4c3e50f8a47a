"""What generators and critics are built of: blocks that double or halve a picture's sides.

A stride of 2 does it within a 4 x 4 convolution, whose kernel covers every pixel equally often: no
checkerboard, and no second layer that only resizes. B batch, C channels, S side.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["none", "batch", "instance", "layer"]
START = 4  # the side of the smallest picture
SLOPE = 0.2  # of a LeakyReLU below 0 (Radford et al. 2016)
NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)
MAPS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
WEIGHED = (*MAPS, nn.Embedding)


def norm(kind: Norm, channels: int) -> nn.Module:
    """Whose mean and deviation a channel is freed of: the batch's, or each picture's own."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "instance":  # over the places of one channel
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


def embedding(classes: int, width: int) -> nn.Embedding | None:
    """A vector for each class, and a last one, which `label % (classes + 1)` finds for -1."""
    return nn.Embedding(classes + 1, width) if classes else None


class Residual(nn.Module):
    """y = activation(main(x) + shortcut(x)) (He et al. 2016)."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.main, self.shortcut, self.activation = main, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.main(x) + self.shortcut(x))
        return y


def doubling(inputs: int, outputs: int, kind: Norm, residual: bool) -> nn.Module:
    """(B, inputs, S, S) -> (B, outputs, 2S, 2S)"""
    up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    block = nn.Sequential(up, norm(kind, outputs), nn.ReLU())
    if not residual:
        return block
    main = nn.Sequential(*block, nn.Conv2d(outputs, outputs, 3, padding=1), norm(kind, outputs))
    # the 1 x 1 convolution first: it gives the same on a quarter of the places
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2))
    return Residual(main, shortcut, nn.ReLU())


def halving(inputs: int, outputs: int, kind: Norm, residual: bool) -> nn.Module:
    """(B, inputs, S, S) -> (B, outputs, S/2, S/2)"""
    down = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
    block = nn.Sequential(down, norm(kind, outputs), nn.LeakyReLU(SLOPE))
    if not residual:
        return block
    main = nn.Sequential(*block, nn.Conv2d(outputs, outputs, 3, padding=1), norm(kind, outputs))
    shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1))
    return Residual(main, shortcut, nn.LeakyReLU(SLOPE))


def initialise(*modules: nn.Module, normed: bool = True) -> None:
    """Weights from N(0, 0.02), gains of norms from N(1, 0.02), no offset (Radford et al. 2016).

    Without norms such weights would halve a signal in each layer, and the critic begin all but
    flat: they are then as wide as keeps its size behind a LeakyReLU (He et al. 2015).
    """
    for module in modules:
        for layer in module.modules():
            gain = isinstance(layer, NORMS)
            if isinstance(layer, MAPS) and not normed:
                nn.init.kaiming_normal_(layer.weight, SLOPE)
            elif gain or isinstance(layer, WEIGHED):
                nn.init.normal_(layer.weight, float(gain), 0.02)  # type: ignore[arg-type]
            if isinstance(getattr(layer, "bias", None), Tensor):
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def normalise_spectrum(module: nn.Module) -> None:
    """Divide every weight matrix by its largest singular value, now and after each update.

    A layer then stretches nothing, and neither do many (Miyato et al. 2018). One step of power
    iteration at each forward pass in training keeps up with the weights. Layers that are normalised
    already stay as they are.
    """
    for layer in list(module.modules()):
        if isinstance(layer, WEIGHED) and not parametrize.is_parametrized(layer, "weight"):
            spectral_norm(layer)
