"""Wasserstein GAN with a gradient penalty (Gulrajani et al. 2017; lecture 5).

The best critic has slope 1 almost everywhere between a real picture and a fake one, so the slope is
drawn to 1 at random places there, instead of being bounded through the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlml.data.images import Images
from hlml.errors import UserError
from hlml.models.critic import Critic
from hlml.tasks.adversarial import Adversarial, Players, Space

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


class WGANGP(Adversarial):
    """`penalty` weighs the squared distance of slopes to 1 in the critic's loss."""

    def __init__(
        self,
        model: Players,
        data: Images,
        score: Space = "auto",
        penalty: float = 10.0,
        fid: str | None = None,
    ) -> None:
        super().__init__(model, data, score, fid)
        self.penalty = penalty
        if any(isinstance(layer, BATCH_NORMS) for layer in self.critic.modules()):
            raise UserError(
                "model.critic_norm: batch norm makes a picture's score depend on the others of "
                "its batch, and the gradient penalty is on each picture's own slope; take "
                "layer, instance or none"
            )

    def critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        gap = self.scores(fake, labels).mean() - self.scores(real, labels).mean()
        slopes = self.slopes(real, fake, labels)
        return gap + self.penalty * (slopes - 1).square().mean()

    def generator_loss(self, scores: Tensor) -> Tensor:
        return -scores.mean()

    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Of the Wasserstein distance, in the units of the pictures' euclidean distance."""
        return real - fake

    def slopes(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """The critic's slope (B,) at a random place between each real picture and its fake.

        In float32 whatever the rest is computed in: a bf16 slope is known to a hundredth only. With
        gradients even where none are wanted, as when the trainer counts a step's multiply-adds.
        """
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
            between = torch.lerp(real.float(), fake.float(), share)
            slopes: Tensor = self._gradient(between, labels).flatten(1).norm(dim=1)
        return slopes

    def _gradient(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Of each picture's score (B, C, S, S), in the fastest way that can be differentiated."""
        if isinstance(self.critic, Critic) and self.critic.plain:
            return self.critic.gradient(pictures, labels)
        # forward, not a call: what trainer.compile compiles has no second derivative
        scores = self.critic.forward(pictures.requires_grad_(), labels)
        (gradient,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
        return gradient
