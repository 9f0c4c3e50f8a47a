"""Your model for homework 1. Train it with: make hw1 model=mine

Change anything below. Each argument of __init__ after `inputs` is an option on the command line:
make hw1 model=mine model.width=200
"""

from torch import Tensor, nn


class Model(nn.Module):
    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        # One hidden layer. Ideas: a second one, nn.Sigmoid() for nn.ReLU(), nn.Dropout(0.1),
        # nn.BatchNorm1d(width), or no layer in between at all.
        self.layers = nn.Sequential(
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, inputs) -> one number for each row (batch,)"""
        return self.layers(x).squeeze(1)  # (batch, 1) -> (batch,)
