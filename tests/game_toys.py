"""Games in the plane: points are pictures of one pixel and two channels, players are small nets."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

import toys
from hlml.data import DataModule, TensorRows, generator
from hlml.evaluation import evaluate
from hlml.phase import Phase
from hlml.tasks.adversarial import Adversarial


class Plane(DataModule):
    """Points (N, 2) in [-1, 1] to train on; the first 500 of them to validate."""

    channels, size, class_names = 2, 1, ()

    def __init__(self, points: Tensor, batch_size: int = 64) -> None:
        super().__init__(batch_size, seed=3)
        pixels = (points * 127.5 + 127.5).float()[:, :, None, None]
        labels, rows = torch.full((len(points),), -1), torch.arange(len(points))
        self.train = TensorRows(pixels, labels, rows)
        self.valid = TensorRows(pixels[:500], labels[:500], rows[:500])

    def rows(self, split: str) -> Any:
        return self.train if split == "train" else self.valid

    def sizes(self) -> dict[str, int]:
        return {"channels": 2, "size": 1, "classes": 0}


class Critic(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(2, width), nn.LeakyReLU(0.2)]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(pictures).squeeze(1)


class Generator(nn.Module):
    def __init__(self, latent: int = 2, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(latent, width), nn.ReLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2))

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.layers(noise)[:, :, None, None]


class Line(nn.Module):
    """Points on a vertical line at x = `place`, evenly spread from -1 to 1."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor(place))

    def forward(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        height = torch.erf(noise / math.sqrt(2))
        return torch.cat([self.place.expand_as(height), height], 1)[:, :, None, None]


class Game(nn.Module):
    def __init__(self, player: nn.Module, critic: nn.Module, latent: int) -> None:
        super().__init__()
        self.generator, self.critic, self.latent = player, critic, latent


def net(width: int = 32, depth: int = 2) -> Game:
    return Game(Generator(2, width, depth), Critic(width, depth), 2)


def line(place: float, width: int = 32, depth: int = 2) -> Game:
    return Game(Line(place), Critic(width, depth), 1)


def line_data() -> Plane:
    """The line x = 0."""
    height = torch.linspace(-1, 1, 2048)
    order = torch.randperm(2048, generator=generator(1))
    return Plane(torch.stack([torch.zeros(2048), height[order]], 1))


CENTRES = torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4]) * 0.7
DEVIATION = 0.05


def ring_data(batch_size: int = 128) -> Plane:
    """Eight Gaussians around the origin."""
    which = torch.arange(4096) % 8
    noise = torch.randn(4096, 2, generator=generator(2)) * DEVIATION
    order = torch.randperm(4096, generator=generator(1))
    return Plane((CENTRES[which] + noise)[order], batch_size)


def adam(lr: float, betas: tuple[float, float] = (0.5, 0.9)) -> Any:
    return functools.partial(torch.optim.Adam, lr=lr, betas=betas)


def still() -> Phase:
    """A player who does not move."""
    return Phase(functools.partial(torch.optim.SGD, lr=0.0), every=1000)


def train(
    task: Adversarial, data: Plane, phases: dict[str, Phase], epochs: int, **options: Any
) -> float:
    """What the critic estimates in the end, on the valid points."""
    steps = {"validate_every": 10**6, "log_every": 10**6}
    toys.fit(None, task, data, phases, epochs=epochs, **steps | options)
    metrics = evaluate(task, data, "valid")
    assert metrics is not None
    return metrics["estimate"]
