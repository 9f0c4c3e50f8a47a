"""Pictures as plain vectors: what a convolution is better than (lecture 3, CNN).

Every neuron looks at every pixel, so a pattern has to be learnt anew for each place it may be in.
B batch, C channels, S height and width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlml.models.layers import fully_connected, initialise


class FullyConnected(nn.Module):
    """`widths` of the hidden layers; none: a linear classifier."""

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        widths: Sequence[int] = (256, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        pixels = channels * size * size
        self.body = nn.Sequential(nn.Flatten(), *fully_connected(pixels, widths, dropout))
        self.head = nn.Linear([pixels, *widths][-1], classes)
        initialise(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, C, S, S) -> scores (B, classes)"""
        scores: Tensor = self.head(self.body(pictures))
        return scores
