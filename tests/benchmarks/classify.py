"""An epoch of homework 3's networks: hlml, a bare loop, and pictures read one by one.

Everyone trains on the same 28 x 28 pictures, in batches of 64, with Adam: the CNN, and the small
network of the first level, beside which the reading of the pictures can be seen. A contender
returns the seconds a step takes; set-up and its first steps do not count.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from hlml.data.augment import Augment
from hlml.data.images import Images
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.models.convolutional import CNN
from hlml.models.fully_connected import FullyConnected
from hlml.phase import Phase
from hlml.task import Batch
from hlml.tasks.classification import Classification
from hlml.trainer import Trainer

SIDE, CLASSES, BATCH, ROWS, SHIFT = 28, 10, 64, 1024, 2
WARM_UP = 4  # steps
MEAN, STD = 0.13, 0.31  # of 0..1
Contender = Callable[[], float]

draw = torch.Generator().manual_seed(0)
digits = torch.randint(0, 256, (ROWS, 1, SIDE, SIDE), dtype=torch.uint8, generator=draw)
labels = torch.randint(0, CLASSES, (ROWS,), generator=draw)


def network() -> CNN:
    return CNN(1, SIDE, CLASSES)


def small() -> FullyConnected:
    return FullyConnected(1, SIDE, CLASSES)


def bare(steps: int) -> float:
    """Eager, contiguous float32 tensors in memory, one index_select a batch."""
    net = network()
    inputs = (digits.float() / 255 - MEAN) / STD
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    times: list[float] = []
    while len(times) < steps:
        for rows in torch.randperm(ROWS).split(BATCH):
            times.append(time.perf_counter())
            optimizer.zero_grad()
            F.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return per_step(times)


class Opened(Dataset[Any]):
    """A picture at a time, through PIL and torchvision, as most project templates read them."""

    def __init__(self) -> None:
        from torchvision import transforms

        self.pictures = [Image.fromarray(picture[0].numpy()) for picture in digits]
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(SIDE, padding=SHIFT),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([MEAN], [STD]),
            ]
        )

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.pictures[row]), labels[row]


def one_by_one(steps: int, opened: Opened, net: nn.Module) -> float:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = DataLoader(opened, batch_size=BATCH, shuffle=True)
    times: list[float] = []
    while len(times) < steps:
        times.append(time.perf_counter())
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
            times.append(time.perf_counter())
        times.pop()
    return per_step(times)


class Clocked(Images):
    """The same pictures, and a clock: the trainer asks for a window once a step."""

    def __init__(self, augment: Augment | None) -> None:
        super().__init__(batch_size=BATCH, augment=augment)
        self.class_names = [str(number) for number in range(CLASSES)]
        rows = torch.arange(ROWS)
        few = (rows[:BATCH], labels[:BATCH])
        self.fill(digits, (rows, labels), None, few, few)
        self.clock: list[float] = []

    def windows(self, step: int, accumulate: int) -> Iterator[list[Batch]]:
        for window in super().windows(step, accumulate):
            self.clock.append(time.perf_counter())
            yield window


def with_hlml(
    steps: int, net: nn.Module, precision: str = "fp32", augment: Augment | None = None
) -> float:
    data = Clocked(augment)
    phases = {"main": Phase(partial(torch.optim.Adam, lr=1e-3))}
    trainer = Trainer(
        phases,
        epochs=steps * BATCH // ROWS,
        precision=precision,  # type: ignore[arg-type]
        validate_every=steps,
        threads=1,
    )
    task = Classification(net, data)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        book = Logbook(Path(folder), columns(trainer.phases, task))
        data.clock.clear()
        trainer.fit(task, data, book)
        book.close()
    return per_step(data.clock)


def contenders() -> dict[str, Contender]:
    opened, moved = Opened(), Augment(shift=SHIFT, border="zero", flip=True)
    return {
        "bare": lambda: bare(64),
        "hlml": lambda: with_hlml(64, network()),
        "hlml, bf16": lambda: with_hlml(16, network(), "bf16"),  # slow where the CPU has no bf16
        "hlml, augmented": lambda: with_hlml(64, network(), augment=moved),
        "one by one, augmented": lambda: one_by_one(64, opened, network()),
        "hlml, small": lambda: with_hlml(256, small(), augment=moved),
        "one by one, small": lambda: one_by_one(64, opened, small()),
    }


def per_step(times: list[float]) -> float:
    return (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)
