"""A generator's pictures at the end of a run: what it draws, what lies between, what it copied.

N pictures, C channels, S side, L numbers of noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hlml import submission
from hlml.data.module import generator
from hlml.fid import fid
from hlml.figures import generation as figures

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.adversarial import Adversarial

WALKS, STEPS = 6, 12  # rows of the interpolation, and pictures in each
COPIES, NEAREST, SEARCHED = 8, 3, 200  # fakes shown: the likeliest copies of those searched
SIDE = 64  # pictures of each kind, real beside fake
SCORED = 2000  # fakes that the FID is of


def what_it_has_learnt(task: Adversarial, book: Logbook, weights: Path | None) -> None:
    """Four figures of the generator as it is now; `weights`: also the FID by these."""
    train = task.data.splits["train"]
    book.picture("interpolation", figures.grid(_interpolation(task), STEPS))
    fakes = draw(task, SEARCHED, seed=1)
    rows = torch.randperm(len(train), generator=generator(1))[:SIDE]
    book.figure("real_beside_fake", figures.real_beside_fake(train.read(rows), fakes[:SIDE].cpu()))
    if task.score is not None:
        distances, rows = (found.cpu() for found in task.score.neighbours_of(fakes, NEAREST))
        worst = distances[:, 0].argsort()[:COPIES]
        nearest = train.read(rows[worst].flatten()).unflatten(0, (-1, NEAREST))
        shown = fakes.cpu()[worst], nearest, distances[worst], task.score.usual
        book.figure("nearest_training_pictures", figures.neighbours(*shown))
    if weights is not None:
        real = train.read(torch.arange(len(train))).to(fakes.device)
        value = fid(real, draw(task, SCORED, seed=2), weights)
        line = f"FID {value:.4g}: {SCORED:,} fakes against {len(real):,} training pictures"
        book.text("fid", line)
        print(line)


def write_answers(task: Adversarial, answers: list[Tensor], path: Path) -> None:
    """Hand in the first thousand answers; where the test split has fewer rows, draw the others."""
    pictures = torch.stack(answers[: submission.COUNT])
    if missing := submission.COUNT - len(pictures):
        pictures = torch.cat([pictures, draw(task, missing, seed=3).cpu()])
    quality = submission.write_images(pictures, path)
    print(f"{path.name}: JPEG quality {quality}, {path.stat().st_size / 1e6:.2f} MB")


@torch.no_grad()
def draw(task: Adversarial, number: int, seed: int) -> Tensor:
    """(number, C, S, S) uint8, the same for the same weights; of every class in turn."""
    noise = torch.randn(number, task.latent, generator=generator(seed))
    device, kinds = task.fixed_noise.device, len(task.data.class_names)
    labels = torch.arange(number) % kinds if kinds else torch.full((number,), -1)
    training = task.training
    task.eval()
    parts = zip(noise.to(device).split(100), labels.to(device).split(100), strict=True)
    fakes = [task.pixels(some, kind) for some, kind in parts]
    task.train(training)
    return torch.cat(fakes)


def _interpolation(task: Adversarial) -> Tensor:
    """(WALKS * STEPS, C, S, S) uint8: each row goes on where the one before ended."""
    noise = torch.randn(WALKS + 1, task.latent, generator=generator(4))
    path = figures.walk(noise, STEPS).to(task.fixed_noise.device)
    kinds = len(task.data.class_names)  # a row has one class: between two of them lies nothing
    labels = (
        torch.arange(WALKS).repeat_interleave(STEPS) % kinds
        if kinds
        else torch.full((len(path),), -1)
    )
    return task.pixels(path, labels.to(path.device))
