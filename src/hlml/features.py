"""Fixed feature spaces to score generated pictures in: small classifiers, shipped as weights.

Two sets of pictures are compared by what a classifier's last layer makes of them, not pixel by
pixel. `homeworks/hw6_faces/make_features.py` trained these: `digits` to read handwritten digits,
`faces` to name a cartoon face's hair and its colour. A space never changes under its full name,
so that scores of different days compare: a new one gets a new number. A distance in one of them is
no FID, which is measured in the features of an Inception network (see fid.py) on another scale.
"""

from __future__ import annotations

import io
from importlib import resources
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError, did_you_mean

SPACES = {"digits": ("digits-1", 1), "faces": ("faces-1", 3)}  # the full name, and its channels
SIZE = 32  # every picture is brought to it
FEATURES = 64
CHUNK = 500  # pictures at once


class FeatureNet(nn.Module):
    """Three convolutions, each followed by a halving of the picture; the features are the means of
    the last one's channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, 24, 48, FEATURES]
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for before, after in pairwise(widths)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, C, 32, 32) standardised -> (B, 64)"""
        for step in self.steps:
            pictures = step(pictures)
        return pictures.mean((2, 3))


class FeatureSpace:
    """Turns pictures into features, wherever they lie."""

    def __init__(self, name: str) -> None:
        if name not in SPACES:
            raise UserError(f"score: no feature space {name!r}; {did_you_mean(name, SPACES)}")
        self.name, self.channels = SPACES[name]
        packed = resources.files("hlml").joinpath(f"weights/{self.name}.pt").read_bytes()
        weights = torch.load(io.BytesIO(packed), weights_only=True)
        weights = {key: tensor.float() for key, tensor in weights.items()}
        self.mean: Tensor = weights.pop("mean")
        self.std: Tensor = weights.pop("std")
        self.net = FeatureNet(self.channels).to(memory_format=torch.channels_last)
        self.net.load_state_dict(weights)
        self.net.eval().requires_grad_(False)

    @torch.no_grad()
    def of(self, pictures: Tensor) -> Tensor:
        """Features (N, 64) float64 of pictures (N, C, S, S) uint8, whatever the side.

        In float32 whatever the rest is computed in: scores must not depend on trainer.precision.
        """
        device = pictures.device
        if self.mean.device != device:
            self.mean, self.std = self.mean.to(device), self.std.to(device)
            self.net.to(device)
        with torch.autocast(device.type, enabled=False):
            chunks = [self.net(self._prepared(some)) for some in pictures.split(CHUNK)]
        features: Tensor = torch.cat(chunks).double()
        return features

    def _prepared(self, pictures: Tensor) -> Tensor:
        """(N, C, S, S) in 0..255 -> (N, C, 32, 32) standardised"""
        x = fitted(pictures, self.channels, self.name)
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def fitted(pictures: Tensor, channels: int, name: str) -> Tensor:
    """float32 pictures of 32 x 32 with so many channels, in 0..255.

    28 x 28 is what MNIST has: it gets a black frame, as it does where a GAN learns it.
    """
    if pictures.shape[1] != channels:
        if pictures.shape[1] != 1:
            raise UserError(
                f"task.score={name}: made for {channels} channel, and the pictures have "
                f"{pictures.shape[1]}; leave it at auto"
            )
        pictures = pictures.expand(-1, channels, -1, -1)
    x = pictures.float()
    if x.shape[-1] == 28:
        return F.pad(x, (2, 2, 2, 2))
    if x.shape[-1] == SIZE:
        return x
    return F.interpolate(x, size=(SIZE, SIZE), mode="bilinear", antialias=True)
