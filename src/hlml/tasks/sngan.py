"""Spectral normalisation GAN with the hinge loss (Miyato et al. 2018; lecture 5).

No layer of the critic stretches anything, so the slope of the whole is bounded, at the price of a
matrix-vector product a layer instead of a second backward pass. The hinge lets the critic rest
where it is sure: only scores between -1 and 1 pull at it.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize

from hlml.data.images import Images
from hlml.models.game_layers import normalise_spectrum
from hlml.tasks.adversarial import Adversarial, Players, Space


class SNGAN(Adversarial):
    """Switches spectral normalisation on, in every layer of the critic that has none yet: without
    it this would be another method, so `model.spectral` need not be said."""

    def __init__(
        self, model: Players, data: Images, score: Space = "auto", fid: str | None = None
    ) -> None:
        super().__init__(model, data, score, fid)
        normalise_spectrum(self.critic)

    def critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        with parametrize.cached():  # the same weights for both
            scores = self.scores(real, labels), self.scores(fake, labels)
        return F.relu(1 - scores[0]).mean() + F.relu(1 + scores[1]).mean()

    def generator_loss(self, scores: Tensor) -> Tensor:
        return -scores.mean()

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of the Wasserstein distance, from below: the slope is bounded, and so is a sure score."""
        return real - fake
