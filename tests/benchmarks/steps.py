"""A training step on homework 1's shapes: hlml, loops by hand, Lightning.

Everyone trains the same network on the same rows with the same optimizer. A contender returns
the seconds a step takes; its first steps do not count, and neither does its set-up.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from hlml.data import Split, TensorRows
from hlml.data.table import Table
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.phase import Phase
from hlml.task import Batch
from hlml.tasks.regression import Regression
from hlml.trainer import Trainer

INPUTS, WIDTH, BATCH, ROWS = 93, 64, 270, 2_430
WARM_UP = 100  # steps
Contender = Callable[[], float]

inputs = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(0))
targets = inputs[:, :5].relu().sum(1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(INPUTS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs) -> y (B,)"""
        scores: Tensor = self.layers(x).squeeze(1)
        return scores


def in_memory(steps: int) -> float:
    """The loop a careful person writes: tensors in memory, one index_select a batch, fused Adam."""
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    times = []
    while len(times) < steps:
        for rows in torch.randperm(ROWS).split(BATCH):
            times.append(time.perf_counter())
            x, y = inputs.index_select(0, rows), targets.index_select(0, rows)
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
    return per_step(times)


def data_loader(steps: int) -> float:
    """The loop of most tutorials, and of the course's own notebook."""
    net = Net()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    times = []
    while len(times) < steps:
        for x, y in loader:
            times.append(time.perf_counter())
            optimizer.zero_grad()
            F.mse_loss(net(x), y).backward()
            optimizer.step()
    return per_step(times)


class Sheet(Table):
    """Rows of the right shape, and a clock: the trainer asks for a window once a step."""

    input_names, target_name, target_mean, target_std = ["x"] * INPUTS, "y", 0.0, 1.0

    def __init__(self) -> None:
        super().__init__(batch_size=BATCH)
        rows, held_out = TensorRows(inputs, targets), TensorRows(inputs[:BATCH], targets[:BATCH])
        self.splits = {"train": rows, "valid": held_out, "test": held_out}
        self.clock: list[float] = []

    def times(self, split: Split) -> list[date] | list[int]:
        return list(range(len(self.rows(split))))

    def windows(self, step: int, accumulate: int) -> Iterator[list[Batch]]:
        for window in super().windows(step, accumulate):
            self.clock.append(time.perf_counter())
            yield window


class Terminal(io.StringIO):
    """A terminal as far as the progress bar can tell."""

    def isatty(self) -> bool:
        return True


def with_hlml(steps: int, validate: bool) -> float:
    """hlml's trainer with its default logging and its progress bar.

    `validate`: with its default validations and checkpoints too, which the loops do not have.
    """
    data, net = Sheet(), Net()
    trainer = Trainer(
        {"main": Phase(partial(torch.optim.Adam, lr=1e-3))},
        epochs=steps * BATCH // ROWS,
        validate_every=None if validate else steps,
        threads=1,
    )
    task = Regression(net, data)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(Terminal()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        book = Logbook(Path(folder), columns(trainer.phases, task))
        trainer.fit(task, data, book)
        book.close()
    return per_step(data.clock)


def contenders() -> dict[str, Contender]:
    """The fast ones take more steps, so that everyone runs for about as long."""
    return {
        "in memory": lambda: in_memory(900),
        "hlml": lambda: with_hlml(900, validate=False),
        "hlml, validating": lambda: with_hlml(900, validate=True),
        "DataLoader": lambda: data_loader(450),
    }


def rivals() -> dict[str, Contender]:
    """Frameworks that happen to be installed."""
    if importlib.util.find_spec("lightning") is None:
        return {}
    from lightning_loop import with_lightning

    return {"Lightning": lambda: with_lightning(450)}


def lightning_version() -> str:
    if importlib.util.find_spec("lightning") is None:
        return ""
    return f" ({importlib.metadata.version('lightning')})"


def per_step(times: list[float]) -> float:
    return (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)
