"""A step of WGAN-GP on digits: hlml, and the best loop by hand that does the same arithmetic.

"By autograd" is that loop with the penalty's gradient as the paper takes it, and not by the
critic's own method. All train a DCGAN on 32 x 32 pictures in batches of 64, the generator at each
fifth step. A contender returns the seconds a step takes, over whole rounds of five; the first round
does not count, and neither does the set-up.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hlml.data.images import Images
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.models.dcgan import DCGAN
from hlml.phase import Phase
from hlml.task import Batch
from hlml.tasks.wgan_gp import WGANGP
from hlml.trainer import Trainer

BATCH, SIZE, LATENT, WIDTH = 64, 32, 100, 16
EVERY, PENALTY = 5, 10.0
STEPS = 20  # counted, of each contender in a round
ROWS = BATCH * (EVERY + STEPS + 1)  # an epoch is as long as it has to be
Contender = Callable[[], float]

digits = torch.randint(
    0, 256, (ROWS, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
adam = partial(torch.optim.Adam, lr=1e-4, betas=(0.5, 0.9), fused=True)


def by_hand(steps: int, autograd: bool = False) -> float:
    """Channels last, fused Adam, and no gradient that nobody uses."""
    game = DCGAN(1, SIZE, 0, LATENT, WIDTH).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator, critic = game.generator, game.critic
    optimizers = adam(critic.parameters()), adam(generator.parameters())
    times = []
    while True:
        for rows in torch.randperm(ROWS).split(BATCH):
            times.append(time.perf_counter())
            if len(times) == EVERY + steps + 1:
                return per_step(times)
            real = (digits.index_select(0, rows).float() - 127.5) / 127.5
            with torch.no_grad():
                fake = generator(torch.randn(len(real), LATENT))
            gap = critic(fake).mean() - critic(real).mean()
            between = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1))
            slope = textbook(critic, between) if autograd else critic.gradient(between)
            optimizers[0].zero_grad()
            (gap + PENALTY * (slope.flatten(1).norm(dim=1) - 1).square().mean()).backward()
            optimizers[0].step()
            if len(times) % EVERY == 1:
                freeze(critic, True)
                optimizers[1].zero_grad()
                (-critic(generator(torch.randn(len(real), LATENT))).mean()).backward()
                optimizers[1].step()
                freeze(critic, False)


def textbook(critic: nn.Module, pictures: Tensor) -> Tensor:
    pictures.requires_grad_()
    return torch.autograd.grad(critic(pictures).sum(), pictures, create_graph=True)[0]


def freeze(module: nn.Module, frozen: bool) -> None:
    for weight in module.parameters():
        weight.requires_grad_(not frozen)


class Digits(Images):
    """Pictures of the right shape, and a clock: the trainer asks for a window once a step."""

    def __init__(self) -> None:
        super().__init__(batch_size=BATCH)
        self.class_names = []
        rows = torch.arange(ROWS)
        few = (rows[:BATCH], torch.full((BATCH,), -1))
        self.fill(digits, (rows, torch.full((ROWS,), -1)), None, few, few)
        self.clock: list[float] = []

    def windows(self, step: int, accumulate: int) -> Iterator[list[Batch]]:
        for window in super().windows(step, accumulate):
            self.clock.append(time.perf_counter())
            yield window


def with_hlml(steps: int) -> float:
    """hlml's trainer with its default logging; it ends with its first validation."""
    data = Digits()
    task = WGANGP(DCGAN(1, SIZE, 0, LATENT, WIDTH), data, score="none")
    phases = {"critic": Phase(adam), "generator": Phase(adam, every=EVERY)}
    trainer = Trainer(phases, epochs=1, validate_every=10**6, threads=1)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        book = Logbook(Path(folder), columns(trainer.phases, task))
        trainer.fit(task, data, book)
        book.close()
    return per_step(data.clock[: EVERY + steps + 1])


def per_step(times: list[float]) -> float:
    return (times[-1] - times[EVERY]) / (len(times) - 1 - EVERY)


def contenders() -> dict[str, Contender]:
    return {
        "by hand": lambda: by_hand(STEPS),
        "by hand, by autograd": lambda: by_hand(STEPS, autograd=True),
        "hlml": lambda: with_hlml(STEPS),
    }
