"""Homeworks 2 and 4: utterances in batches, and the course's window network.

Utterances are as long as read sentences are: 3 s in the middle, two thirds of them between 1.8 and
5 s. A contender returns seconds: of a thousand real frames, or of a step of the window network.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from hlml.data.sequences import Corpus, SequenceData, Sequences
from hlml.journal import columns
from hlml.logbook import Logbook
from hlml.models.self_attention import SelfAttentionTagger
from hlml.models.windows import MLP
from hlml.phase import Phase
from hlml.tasks.tagging import Tagging
from hlml.trainer import Trainer

UTTERANCES, MEDIAN, SPREAD, FEATURES, CLASSES = 320, 300, 0.5, 39, 39
TOGETHER = 16  # utterances in a random batch
CONTEXT, WIDTHS, WINDOWS = 5, (1024, 512, 128), 64  # the course's network, and its batch
WARM_UP = 4  # steps
Contender = Callable[[], float]

draw = torch.Generator().manual_seed(0)
lengths = (MEDIAN * torch.exp(SPREAD * torch.randn(UTTERANCES, generator=draw))).long()
lengths = lengths.clamp(40, 1500)
frames = torch.randn(int(lengths.sum()), FEATURES, generator=draw)
labels = torch.randint(0, CLASSES, (len(frames),), generator=draw)
corpus = Corpus(frames, lengths.cumsum(0) - lengths, lengths, labels)


class Clocked(SequenceData):
    """The corpus and a clock: the trainer asks for a window once a step."""

    def __init__(self, budget: int = 0, windows: bool = False) -> None:
        if windows:
            super().__init__(WINDOWS, unit="frame", context=CONTEXT)
        else:
            super().__init__(TOGETHER, budget=budget)
        self.class_names = [str(number) for number in range(CLASSES)]
        everything = torch.arange(UTTERANCES)
        self.fill(corpus, everything, everything[:2], everything[:2])
        self.clock: list[float] = []
        self.real: list[int] = []
        self.most = 10**9  # batches an epoch

    def plan(self, epoch: int) -> list[torch.Tensor]:
        return super().plan(epoch)[: self.most]

    def windows(self, step: int, accumulate: int) -> Iterator[list[Sequences]]:
        for window in super().windows(step, accumulate):
            self.clock.append(time.perf_counter())
            self.real.append(sum(int(batch.mask.sum()) for batch in window))
            yield window


def attention() -> nn.Module:
    return SelfAttentionTagger(FEATURES, CLASSES, dropout=0.0)


def window_network() -> nn.Module:
    return MLP(FEATURES * (2 * CONTEXT + 1), CLASSES, widths=WIDTHS, activation="sigmoid")


def with_hlml(data: Clocked, net: nn.Module, precision: str = "fp32") -> None:
    """One epoch, or as much of one as the clock lasts."""
    trainer = Trainer(
        {"main": Phase(partial(torch.optim.Adam, lr=1e-3))},
        epochs=1,
        precision=precision,  # type: ignore[arg-type]
        threads=1,
    )
    task = Tagging(net, data)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        book = Logbook(Path(folder), columns(trainer.phases, task))
        trainer.fit(task, data, book)
        book.close()


def hlml_frames(budget: int) -> float:
    """Seconds a thousand real frames."""
    data = Clocked(budget)
    with_hlml(data, attention())
    return per_frame(data.clock, data.real)


def hlml_windows(precision: str = "fp32") -> float:
    """Seconds a step of the window network."""
    data = Clocked(windows=True)
    data.most = 400 if precision == "fp32" else 24
    with_hlml(data, window_network(), precision)
    return per_step(data.clock)


def bare_frames(budget: int) -> float:
    """The same batches, made beforehand."""
    data, net = Clocked(budget), attention()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    batches = [data.rows("train").batch(rows, 0) for rows in data.plan(0)]
    clock, real = [time.perf_counter()], []
    for frames, mask, labels, _ in batches:
        optimizer.zero_grad()
        scores = net(frames, mask)
        F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=-1).backward()
        optimizer.step()
        clock.append(time.perf_counter())
        real.append(int(mask.sum()))
    return per_frame(clock, real)


def bare_windows(steps: int = 200) -> float:
    """Eager, float32, the 429 numbers of each frame ready in memory, torch's default Adam."""
    sizes = [FEATURES * (2 * CONTEXT + 1), *WIDTHS, CLASSES]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Sigmoid()]
    net = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    inputs, targets = torch.randn(20_000, sizes[0]), torch.randint(0, CLASSES, (20_000,))
    clock = []
    for rows in torch.randperm(len(inputs)).split(WINDOWS)[:steps]:
        clock.append(time.perf_counter())
        optimizer.zero_grad()
        F.cross_entropy(net(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return per_step(clock)


def contenders() -> dict[str, Contender]:
    budget = TOGETHER * int(lengths.float().mean())
    return {
        "random": lambda: hlml_frames(0),
        "buckets": lambda: hlml_frames(budget),
        "buckets, bare": lambda: bare_frames(budget),
    }


def window_contenders() -> dict[str, Contender]:
    return {
        "by hand": bare_windows,
        "hlml": hlml_windows,
        "hlml, bf16": lambda: hlml_windows("bf16"),  # slow where the CPU has no bf16
    }


def per_frame(clock: list[float], real: list[int]) -> float:
    steps = len(clock) - 1
    return (clock[-1] - clock[WARM_UP]) / sum(real[WARM_UP:steps]) * 1000


def per_step(clock: list[float]) -> float:
    return statistics.median(after - before for before, after in pairwise(clock[WARM_UP:]))
