"""Wasserstein GAN with clipped weights (Arjovsky et al. 2017; lecture 5).

How far earth has to be moved to turn one distribution into the other is a distance that says how
near two distributions are even where they do not overlap. It is the largest gap between the mean
scores of real and fake that a critic of slope 1 at most can make. Clipped weights bound the slope,
though not by 1: the gap is the distance up to a factor that only the architecture knows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hlml.data.images import Images
from hlml.tasks.adversarial import Adversarial, Players, Space


class WGAN(Adversarial):
    """`clip`: the largest size of a critic's weight, enforced after each of its updates."""

    def __init__(
        self,
        model: Players,
        data: Images,
        score: Space = "auto",
        clip: float = 0.01,
        fid: str | None = None,
    ) -> None:
        super().__init__(model, data, score, fid)
        self.clip = clip

    def critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        return self.scores(fake, labels).mean() - self.scores(real, labels).mean()

    def generator_loss(self, scores: Tensor) -> Tensor:
        return -scores.mean()

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of the Wasserstein distance, times the unknown largest slope."""
        return real - fake

    @torch.no_grad()
    def after_update(self, phase: str) -> None:
        if phase == "critic":
            for weight in self.critic.parameters():
                weight.clamp_(-self.clip, self.clip)
