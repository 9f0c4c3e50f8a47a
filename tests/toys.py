"""Small data and tasks that train in a second: regression with dropout and noise, and a game."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.checkpoint import State
from hlml.data import DataModule, TensorRows, generator
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.phase import Phase
from hlml.schedules import WarmupCosine
from hlml.task import Progress, Task
from hlml.trainer import Trainer


class NoisyRows:
    """Rows whose augmentation depends on (seed, epoch, row) alone."""

    def __init__(self, x: Tensor, y: Tensor, noise: float) -> None:
        self.x, self.y, self.noise = x, y, noise

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, rows: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        noise = [torch.randn(8, generator=generator(1, epoch, row)) for row in rows.tolist()]
        return self.x[rows] + self.noise * torch.stack(noise), self.y[rows]


class Points(DataModule):
    """50 training rows of 8 numbers and 17 to validate: batches of 8 end raggedly."""

    def __init__(self, batch_size: int = 8, workers: int = 0, noise: float = 0.1) -> None:
        super().__init__(batch_size, seed=3, workers=workers)
        x = torch.randn(67, 8, generator=generator(7))
        y = x.relu().sum(1)
        self.train = NoisyRows(x[:50], y[:50], noise) if noise else TensorRows(x[:50], y[:50])
        self.valid = TensorRows(x[50:], y[50:])

    def rows(self, split: str) -> Any:
        return self.train if split == "train" else self.valid

    def sizes(self) -> dict[str, int]:
        return {"inputs": 8}


class Fit(Task):
    """Least squares by a small net with dropout."""

    directions: ClassVar = {"loss": "min", "score": "max"}

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(8, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1), nn.Flatten(0)
        )

    def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
        return F.mse_loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> dict[str, Tensor]:
        x, y = batch
        rows = torch.tensor(float(len(y)), dtype=torch.float64)
        return {"squared": (self.model(x).double() - y).square().sum(), "rows": rows}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        loss = (totals["squared"] / totals["rows"]).item()
        return {"loss": loss, "score": -loss}

    def predict_step(self, batch: Any) -> list[float]:
        return self.model(batch[0]).tolist()


class Game(Task):
    """A WGAN with weight clipping: two parts, two phases, noise drawn while training."""

    directions: ClassVar = {"gap": "min"}

    def __init__(self, clip: float = 0.05, noisy: bool = True) -> None:
        super().__init__()
        self.clip, self.noisy = clip, noisy
        self.generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
        self.critic = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        self.updates: list[str] = []

    def parts(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
        real = batch[0]
        fake = self.generator(torch.randn(len(real), 4) if self.noisy else real[:, :4])
        if phase == "generator":
            return -self.critic(fake).mean()
        return self.critic(fake.detach()).mean() - self.critic(real).mean()

    def after_update(self, phase: str) -> None:
        self.updates.append(phase)
        if phase == "critic":
            with torch.no_grad():
                for weight in self.critic.parameters():
                    weight.clamp_(-self.clip, self.clip)

    def validation_step(self, batch: Any) -> dict[str, Tensor]:
        fake = self.generator(torch.randn(len(batch[0]), 4))
        rows = torch.tensor(float(len(fake)))
        return {"gap": (fake - batch[0]).abs().mean(1).sum(), "rows": rows}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"gap": (totals["gap"] / totals["rows"]).item()}

    def predict_step(self, batch: Any) -> list[Any]:
        return [0] * len(batch[0])


def adam(lr: float = 1e-2) -> Any:
    return functools.partial(torch.optim.Adam, lr=lr)


def one_phase() -> dict[str, Phase]:
    return {"main": Phase(adam(), WarmupCosine(warmup=5), clip_norm=1.0)}


def two_phases() -> dict[str, Phase]:
    return {"critic": Phase(adam(1e-3)), "generator": Phase(adam(1e-3), every=5)}


def seed(number: int = 0) -> None:
    random.seed(number)
    torch.manual_seed(number)


class Stopped(Trainer):
    """A trainer that is told to stop, as a signal would tell it, when `at` steps are done."""

    at = -1

    def train_step(self, window: list[Any]) -> None:
        super().train_step(window)
        if self.step == self.at and self.stop is not None:
            self.stop.number = 15


def fit(
    folder: Path | None,
    task: Task,
    data: DataModule,
    phases: dict[str, Phase],
    state: State | None = None,
    at: int = -1,
    **options: Any,
) -> Stopped:
    """Train a toy; with a folder, leave checkpoints and metrics.csv there."""
    options = {"epochs": 3, "log_every": 1, "validate_every": 3, "threads": 1} | options
    trainer = Stopped(phases, **options)
    trainer.at = at
    book = Logbook(folder, columns(trainer.phases, task), state["step"] if state else 0)
    try:
        trainer.fit(task, data, book, state)
    finally:
        book.close()
    return trainer
