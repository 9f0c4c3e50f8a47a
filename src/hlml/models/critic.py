"""The critic of a DCGAN: a picture halved until it is 4 x 4, and scored with one number.

With labels, it adds to the score how well its features fit the label: the inner product of the two
(the projection of Miyato & Koyama 2018). B batch, C channels, S side.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models.game_layers import SLOPE, START, Norm, embedding, halving, initialise

PLAIN = {nn.Sequential, nn.Conv2d, nn.Identity, nn.LeakyReLU}


class Critic(nn.Module):
    """`widths`: the channels of each smaller picture, down to 4 x 4; `classes`: 0 for no labels."""

    def __init__(
        self, channels: int, widths: list[int], classes: int, kind: Norm, residual: bool
    ) -> None:
        super().__init__()
        # no norm beside the picture: the critic may see how bright it is (Radford et al.)
        first = halving(channels, widths[0], "none", residual)
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(first, *(halving(a, b, kind, residual) for a, b in pairs))
        features = widths[-1] * START**2
        self.score = nn.Linear(features, 1)
        self.labels = embedding(classes, features)
        initialise(self, normed=kind != "none")

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """pictures (B, C, S, S) in [-1, 1], labels (B,) -> scores (B,), of any size and sign"""
        features = self.blocks(pictures).flatten(1)
        scores: Tensor = self.score(features).squeeze(1)
        if self.labels is not None and labels is not None:
            scores = scores + (self.labels(labels % self.labels.num_embeddings) * features).sum(1)
        return scores

    @property
    def plain(self) -> bool:
        """Nothing but convolutions and LeakyReLUs: linear, until a ReLU turns."""
        return {type(module) for module in self.blocks.modules()} <= PLAIN

    def gradient(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """The gradient (B, C, S, S) of each picture's score; the critic has to be `plain`.

        The transposed layers in reverse, each behind its ReLUs' slopes: what autograd finds too.
        But these slopes are constants almost everywhere, so that a penalty on the gradient needs no
        way back through the layers' outputs, and autograd would take it, to find zeros.
        """
        slopes = []
        convolutions = [layer for layer in self.blocks.modules() if isinstance(layer, nn.Conv2d)]
        with torch.no_grad():
            for convolution in convolutions:
                pictures = convolution(pictures)
                slopes.append(torch.where(pictures > 0, 1.0, SLOPE))
                pictures = pictures * slopes[-1]
        weights = self.score.weight
        if self.labels is not None and labels is not None:
            weights = weights + self.labels(labels % self.labels.num_embeddings)
        gradient: Tensor = weights.unflatten(1, (-1, START, START))
        for layer, slope in zip(reversed(convolutions), reversed(slopes), strict=True):
            gradient = F.conv_transpose2d(gradient * slope, layer.weight, stride=2, padding=1)
        return gradient
