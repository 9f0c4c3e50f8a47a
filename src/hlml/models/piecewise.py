"""Linear and piecewise linear functions: lectures 1 and 2, "Introduction of Deep Learning".

A line is too stiff for most curves, and any piecewise linear curve is a constant plus a sum of
bent lines: y = b + sum_i c_i max(0, b_i + w_i x). Two ReLUs make a "hard sigmoid", and its smooth
relative, the sigmoid, bends softly. Feed the sums into new ones and the network is deep.
B batch.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
}


class Linear(nn.Module):
    """y = b + w x: the lecture's first model."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs) -> y (B,)"""
        y: Tensor = self.line(x).squeeze(1)
        return y


class Piecewise(nn.Module):
    """A constant plus `width` bent lines, bent again for each further layer."""

    def __init__(
        self,
        inputs: int,
        width: int = 100,
        layers: int = 1,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for layer in range(layers):
            steps += [nn.Linear(width if layer else inputs, width), ACTIVATIONS[activation]()]
            if dropout:
                steps.append(nn.Dropout(dropout))
        self.bends = nn.Sequential(*steps)
        self.sum = nn.Linear(width if layers else inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs) -> y (B,)"""
        y: Tensor = self.sum(self.bends(x)).squeeze(1)
        return y
