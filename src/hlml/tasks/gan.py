"""The original GAN: the critic is a classifier, real or fake (Goodfellow et al. 2014; lecture 5).

At its best the critic's cross-entropy says how far apart the two distributions are, by the
Jensen-Shannon divergence: 0 for equal ones, log 2 for any two that do not overlap, however near.
So while they do not overlap, nothing tells the generator which way to go.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from hlml.data.images import Images
from hlml.tasks.adversarial import Adversarial, Players, Space


class GAN(Adversarial):
    """`minimax`: the generator makes log(1 - D) small, as the game is written; else -log D, the
    paper's own advice: it has the same optimum, and a slope where the critic is sure of a fake.
    """

    def __init__(
        self,
        model: Players,
        data: Images,
        score: Space = "auto",
        minimax: bool = False,
        fid: str | None = None,
    ) -> None:
        super().__init__(model, data, score, fid)
        self.minimax = minimax

    def critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """-log D(real) - log(1 - D(fake)), where D is the sigmoid of a score."""
        return (
            F.softplus(-self.scores(real, labels)).mean()
            + F.softplus(self.scores(fake, labels)).mean()
        )

    def generator_loss(self, scores: Tensor) -> Tensor:
        return -F.softplus(scores).mean() if self.minimax else F.softplus(-scores).mean()

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of the Jensen-Shannon divergence in nats: the most a critic reaches is the true one."""
        return math.log(2) - (F.softplus(-real) + F.softplus(fake)) / 2
