"""DCGAN: a generator and a critic that mirror each other (Radford et al. 2016; lecture 5).

The generator doubles a 4 x 4 picture until it has its size; the critic halves it back and scores
it with one number (see critic.py). Both widen as the picture shrinks, to eight times `width` at
most. With labels, the generator hears them beside the noise. B batch, C channels, S side.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hlml.errors import UserError
from hlml.models.critic import Critic
from hlml.models.game_layers import (
    START,
    Norm,
    doubling,
    embedding,
    initialise,
    norm,
    normalise_spectrum,
)


class DCGAN(nn.Module):
    """`width` channels in the layer next to the picture; `latent` numbers of noise.

    `spectral`: every layer of the critic is divided by its largest singular value.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        latent: int = 100,
        width: int = 32,
        generator_norm: Norm = "batch",
        critic_norm: Norm = "none",
        spectral: bool = False,
        residual: bool = False,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        if size < 2 * START or size & (size - 1):
            raise UserError(
                f"model: DCGAN halves and doubles pictures, and {size} x {size} are no power of "
                "two of 8 or more; set data.size=32 or 64 (data=mnist5k: data.pad=2)"
            )
        if conditional and not classes:
            raise UserError("model.conditional: this data set has no classes; leave it at false")
        known = classes if conditional else 0
        widths = [width * min(8, 2**n) for n in range((size // START).bit_length() - 1)]
        self.latent = latent
        self.generator = Generator(channels, widths[::-1], known, latent, generator_norm, residual)
        self.critic = Critic(channels, widths, known, critic_norm, residual)
        if spectral:
            normalise_spectrum(self.critic)


class Generator(nn.Module):
    """`widths`: the channels of each picture from 4 x 4 on, before the last one."""

    def __init__(
        self,
        channels: int,
        widths: list[int],
        classes: int,
        latent: int,
        kind: Norm,
        residual: bool,
    ) -> None:
        super().__init__()
        self.labels = embedding(classes, latent)
        first = widths[0]
        self.start = nn.Sequential(
            nn.Linear(latent * (2 if classes else 1), first * START**2),
            nn.Unflatten(1, (first, START, START)),
            norm(kind, first),
            nn.ReLU(),
        )
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(doubling(a, b, kind, residual) for a, b in pairs))
        self.picture = nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1)
        # not the labels: they weigh as much as the noise beside them, which is from N(0, 1)
        initialise(self.start, self.blocks, normed=kind != "none")
        initialise(self.picture)

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """noise (B, latent), labels (B,) -> pictures (B, C, S, S) in [-1, 1]"""
        if self.labels is not None and labels is not None:
            noise = torch.cat([noise, self.labels(labels % self.labels.num_embeddings)], 1)
        return torch.tanh(self.picture(self.blocks(self.start(noise))))
