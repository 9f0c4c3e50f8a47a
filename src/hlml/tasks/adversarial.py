"""A game: a critic learns to tell fakes from real pictures, a generator to draw better fakes.

What differs between kinds of GAN is two losses and what the critic's scores are an estimate of;
the rest is here. Pictures are in [-1, 1] inside a game and in 0..255 outside.
B batch, C channels, S side.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from hlml import distributed
from hlml.data.module import generator, to_device
from hlml.errors import UserError
from hlml.features import SPACES
from hlml.fid import find_weights
from hlml.figures.generation import grid
from hlml.scores import Score
from hlml.task import Batch, Progress, Task
from hlml.tasks import adversarial_report
from hlml.tasks.outputs import checked

if TYPE_CHECKING:
    from pathlib import Path

    from hlml.data import DataModule
    from hlml.data.images import Images
    from hlml.logbook import Logbook

MINUS_ONE = torch.tensor(-1.0)
SCORED = 2000  # fakes, or a few more: their number should not depend on the valid split's size
SHOWN = 8  # samples in a row
SCORES = ("frechet", "density", "coverage")
Space = Literal["auto", "none", "digits", "faces"]


class Players(Protocol):
    """What a model of a game has."""

    latent: int  # numbers of noise
    generator: nn.Module  # noise (B, latent), labels (B,) -> pictures (B, C, S, S)
    critic: nn.Module  # pictures (B, C, S, S), labels (B,) -> scores (B,)


class Adversarial(Task, ABC):
    """A GAN. Labels (-1: nobody says) are handed to both players, who may ignore them.

    `score`: the feature space in which fakes are compared with training pictures; auto: the one
    made for as many channels, none: no such scores. `fid`: also tell the FID at the end, by the
    Inception weights in this file (auto: where torch-fidelity keeps them).
    """

    directions: ClassVar[dict[str, str]] = {
        "frechet": "min",
        "density": "max",
        "coverage": "max",
        "estimate": "min",
        "estimate_train": "min",
    }
    fixed_noise: Tensor
    fixed_labels: Tensor

    def __init__(
        self, model: Players, data: Images, score: Space = "auto", fid: str | None = None
    ) -> None:
        super().__init__()
        _check(model, data)
        self.inception = find_weights(fid) if fid else None  # said now, not after the training
        # not the model itself: what trainer.compile compiles is a task's children
        self.generator = model.generator.to(memory_format=torch.channels_last)
        self.critic = model.critic.to(memory_format=torch.channels_last)
        self.latent, self.data = model.latent, data
        self.space = next((n for n in SPACES if score in (n, "auto") and _fits(n, data)), None)
        if self.space is None and score in SPACES:
            raise UserError(f"task.score={score}: is made for other channels; leave it at auto")
        # buffers: a resumed run goes on drawing the same samples, one row of them for each class
        kinds = max(1, min(len(data.class_names), 16))
        labels = (
            torch.arange(kinds).repeat_interleave(SHOWN) if kinds > 1 else torch.full((64,), -1)
        )
        noise = torch.randn(len(labels), self.latent, generator=generator(6))
        self.register_buffer("fixed_labels", labels)
        self.register_buffer("fixed_noise", noise)

    @abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor, labels: Tensor) -> Tensor:
        """What the critic makes small: pictures (B, C, S, S), labels (B,) -> ()"""

    @abstractmethod
    def generator_loss(self, scores: Tensor) -> Tensor:
        """What the generator makes small: the critic's scores of its fakes (B,) -> ()"""

    @abstractmethod
    def estimate(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scores (B,), (B,) -> (B,), whose mean says how far apart the two distributions are."""

    def parts(self) -> dict[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    def averaged(self) -> nn.Module:
        return self.generator

    def training_step(self, batch: Batch, phase: str, progress: Progress) -> Tensor:
        labels = batch[1]
        if phase == "generator":
            return self.generator_loss(self.scores(self.fakes(labels), labels))
        with torch.no_grad():  # the critic's turn: no way back into the generator
            fake = self.fakes(labels)
        return self.critic_loss(to_unit(batch[0]), fake, labels)

    def fakes(self, labels: Tensor) -> Tensor:
        """labels (B,) -> fakes (B, C, S, S) from new noise"""
        # processes share one noise as they share one batch, or all of them would draw the same
        world, count = distributed.world(), len(labels)
        noise = torch.randn(count * world, self.latent, device=labels.device)
        return self.draw(noise[distributed.rank() :: world], labels)

    def draw(self, noise: Tensor, labels: Tensor) -> Tensor:
        """noise (B, latent), labels (B,) -> fakes (B, C, S, S)"""
        shape = (len(noise), self.data.channels, self.data.size, self.data.size)
        return checked(self.generator, self.generator(noise, labels), shape)

    def pixels(self, noise: Tensor, labels: Tensor) -> Tensor:
        """noise (B, latent), labels (B,) -> fakes (B, C, S, S) uint8"""
        return to_pixels(self.draw(noise, labels))

    def scores(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """pictures (B, C, S, S), labels (B,) -> scores (B,)"""
        return checked(self.critic, self.critic(pictures, labels), (len(pictures),))

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        """Fakes against valid pictures, and against as many that the critic may know by heart."""
        labels, count = batch[1], len(batch[0])
        times = math.ceil(SCORED / len(self.data.rows("valid"))) if self.space else 1
        fakes = self.fakes(labels.repeat(times))
        fake = self.scores(fakes[:count], labels)
        known = self._training_pictures(batch[2])
        statistics = {
            "pictures": torch.tensor(count, dtype=torch.float64, device=fakes.device),
            "estimate": self._total(self.scores(to_unit(batch[0]), labels), fake),
            "estimate_train": self._total(self.scores(to_unit(known[0]), known[1]), fake),
        }
        return statistics | (self.score.statistics(to_pixels(fakes)) if self.score else {})

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """The scores (nan where no feature space fits the data), and the critic's own estimates."""
        scores = self.score.metrics(totals) if self.score else dict.fromkeys(SCORES, math.nan)
        names = ("estimate", "estimate_train")
        return scores | {name: float(totals[name] / totals["pictures"]) for name in names}

    def predict_step(self, batch: Batch) -> list[Tensor]:
        """A new picture (C, S, S) uint8 for each row, of every class in turn."""
        rows, classes = batch[2], len(self.data.class_names)
        labels = rows % classes if classes else torch.full_like(rows, -1)
        return list(to_pixels(self.fakes(labels)).cpu().unbind())

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """What the same noise looks like now; at the end, what else the generator can tell."""
        samples = self.pixels(self.fixed_noise, self.fixed_labels)
        book.picture("samples", grid(samples, SHOWN))
        if final:
            adversarial_report.what_it_has_learnt(self, book, self.inception)

    def answers_name(self, data: DataModule) -> str:
        return "images.tgz"

    def write_answers(self, answers: list[Tensor], data: DataModule, path: Path) -> None:
        adversarial_report.write_answers(self, answers, path)

    @cached_property
    def score(self) -> Score | None:
        """Made when it is asked for: all training pictures go through the feature space once."""
        if self.space is None:
            return None
        rows = self.data.splits["train"]
        return Score(self.space, rows.read(torch.arange(len(rows))))

    def _training_pictures(self, rows: Tensor) -> Batch:
        train = self.data.rows("train")
        return to_device(train.batch(rows.cpu() % len(train), 0), rows.device)

    def _total(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.estimate(real.double(), fake.double()).sum()


def to_unit(pixels: Tensor) -> Tensor:
    """(B, C, S, S) in 0..255, uint8 or float -> float32 in [-1, 1], channels last, in one pass"""
    return torch.add(
        MINUS_ONE, pixels.contiguous(memory_format=torch.channels_last), alpha=1 / 127.5
    )


def to_pixels(pictures: Tensor) -> Tensor:
    """(B, C, S, S) in [-1, 1] -> uint8"""
    return (pictures.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def _fits(space: str, data: Images) -> bool:
    return SPACES[space][1] == data.channels


def _check(model: Players, data: Images) -> None:
    missing = [name for name in ("generator", "critic", "latent") if not hasattr(model, name)]
    if missing:
        raise UserError(f"model: {type(model).__name__} has no {missing[0]}, and a GAN needs one")
    if getattr(getattr(data, "augment", None), "mixup", 0):
        raise UserError("augment.mixup: a GAN would learn to draw two in one; set augment.mixup=0")
