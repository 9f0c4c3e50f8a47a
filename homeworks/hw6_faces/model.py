"""Your generator and critic for homework 6. Train them with: make hw6 model=mine

Change anything below. Each argument of __init__ after `classes` is an option on the command line:
make hw6 model=mine model.width=32
"""

import torch
from torch import Tensor, nn


class Model(nn.Module):
    def __init__(
        self, channels: int, size: int, classes: int, latent: int = 64, width: int = 16
    ) -> None:
        super().__init__()
        self.latent = latent  # how many numbers of noise make a picture
        self.generator = Generator(channels, size, latent, width)
        self.critic = Critic(channels, size, width)


class Generator(nn.Module):
    def __init__(self, channels: int, size: int, latent: int, width: int) -> None:
        super().__init__()
        # A picture of a quarter of the side, doubled twice. Ideas: nn.BatchNorm2d before a ReLU,
        # start from an eighth and double three times, wider layers.
        self.layers = nn.Sequential(
            nn.Linear(latent, 4 * width * (size // 4) ** 2),
            nn.Unflatten(1, (4 * width, size // 4, size // 4)),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, channels, 4, stride=2, padding=1),
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """noise (batch, latent), labels (batch,) -> pictures (batch, channels, size, size)"""
        return torch.tanh(self.layers(noise))  # from -1, black, to 1, white


class Critic(nn.Module):
    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        # Two convolutions, each of which halves the picture. Ideas: a third one, nn.Dropout2d,
        # nn.InstanceNorm2d (nn.BatchNorm2d too, but not with task=wgan_gp).
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(4 * width * (size // 4) ** 2, 1),
        )

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """pictures (batch, channels, size, size) -> scores (batch,), higher for real ones"""
        return self.layers(pictures).squeeze(1)
