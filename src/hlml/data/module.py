"""Rows, splits, and an epoch as a list of batches of row numbers.

The order of the data is a pure function of (seed, epoch), so the step number alone says
where a run stands, and a run resumed in the middle of an epoch reads what it would have read.
"""

from __future__ import annotations

import itertools
import math
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hlml import distributed
from hlml.task import Batch

Split = Literal["train", "valid", "test"]
Key = tuple[Tensor, int]  # the row numbers of a batch, and the epoch its augmentation depends on


def generator(*keys: int) -> torch.Generator:
    """A generator that depends on `keys` alone: same keys, same numbers."""
    seed = 0
    for key in keys:
        seed = (seed * 1_000_003 + key + 1) % 2**63
    return torch.Generator().manual_seed(seed)


class Rows(Protocol):
    """One split. A batch is read at once; augmentation depends on (seed, epoch, row) alone."""

    def __len__(self) -> int: ...
    def batch(self, rows: Tensor, epoch: int) -> Batch: ...


@runtime_checkable
class HeldRows(Rows, Protocol):
    """Rows that may lie in memory: `bytes` says how much of it (inf: they do not)."""

    def bytes(self) -> float: ...
    def to(self, device: torch.device) -> Rows: ...


class TensorRows:
    """Rows held in memory: tensors of equal length, and a batch is one index_select of each."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, rows: Tensor, epoch: int) -> tuple[Tensor, ...]:
        return tuple([tensor.index_select(0, rows) for tensor in self.tensors])

    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors)

    def to(self, device: torch.device) -> TensorRows:
        return TensorRows(*(tensor.to(device) for tensor in self.tensors))


class DataModule(ABC):
    """A data set: its splits, its batches, and the file its answers are handed in as.

    Args that every data set shares: `batch_size` rows a batch (over all processes together),
    `seed` of the shuffling, `workers` processes that read ahead (0: read in this process, right
    for data in memory).
    """

    answers_name = "prediction.csv"  # of the file write_answers writes: the course's name for it

    def __init__(self, batch_size: int, seed: int = 0, workers: int = 0) -> None:
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.device = torch.device("cpu")
        self._placed: dict[str, Rows] = {}

    @abstractmethod
    def rows(self, split: Split) -> Rows:
        """The rows of a split; the same object at every call."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """What a model must know of the data, by the names of its arguments (inputs, classes)."""

    def has_labels(self, split: Split) -> bool:
        """Whether a split can be scored here (a course's test set cannot)."""
        return True

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """Write the test split's `answers` as the submission file, in the course's format."""
        raise NotImplementedError

    def keep(self, folder: Path) -> None:
        """Write into a run's folder what its weights are of no use without: as NAME.model what a
        saved run is to take for its option data.NAME."""
        return

    def plan(self, epoch: int) -> list[Tensor]:
        """The epoch's batches, as row numbers; as many in each epoch. Override it to bucket."""
        order = torch.randperm(len(self.rows("train")), generator=generator(self.seed, epoch))
        return list(order.split(self.batch_size))

    def reading(self, split: Split) -> list[Tensor]:
        """The batches in which a split is evaluated: all of its rows, in order."""
        return list(torch.arange(len(self.rows(split))).split(self.batch_size))

    def place(self, device: torch.device) -> None:
        """Say where batches are wanted: rows in memory move there once, if they fit."""
        self.device, self._placed = device, {}

    def steps_per_epoch(self, accumulate: int) -> int:
        return math.ceil(len(self._shared_plan(0)) / accumulate)

    def rows_of(self, step: int, accumulate: int) -> list[Tensor]:
        """The row numbers of each batch of a step's window, of all processes."""
        epoch, place = divmod(step, self.steps_per_epoch(accumulate))
        return self._shared_plan(epoch)[place * accumulate : (place + 1) * accumulate]

    def windows(self, step: int, accumulate: int) -> Iterator[list[Batch]]:
        """What each step trains on, from `step` on and without end.

        The step number is the whole state: it names the epoch and the place in its plan.
        """
        epoch, done = divmod(step, self.steps_per_epoch(accumulate))
        length = len(self._shared_plan(epoch))
        batches = self._read("train", self._keys(epoch, done * accumulate, length))
        while True:
            for start in range(done * accumulate, length, accumulate):
                yield list(itertools.islice(batches, min(accumulate, length - start)))
            done = 0

    def evaluation(self, split: Split, shared: bool = False) -> Iterator[Batch]:
        """A split's batches in order; `shared`: this process's part of each."""
        return self._read(split, ((rows, 0) for rows in self.reading(split)), shared)

    def _keys(self, epoch: int, done: int, length: int) -> Iterator[Key]:
        """Every batch of training from here on: one stream, so that workers live through epochs."""
        for number in itertools.count(epoch):
            plan = self._shared_plan(number)
            if len(plan) != length:
                raise ValueError(f"plan({number}) has {len(plan)} batches, plan({epoch}) {length}")
            yield from ((rows, number) for rows in plan[done:])
            done = 0

    def _shared_plan(self, epoch: int) -> list[Tensor]:
        """The plan without batches of fewer rows than there are processes to share them."""
        return [rows for rows in self.plan(epoch) if len(rows) >= distributed.world()]

    def _read(self, split: Split, keys: Iterator[Key], shared: bool = True) -> Iterator[Batch]:
        """The batches on the device; `shared`: each process reads every world-th row of each."""
        if shared and distributed.world() > 1:
            rank, world = distributed.rank(), distributed.world()
            keys = ((rows[rank::world], epoch) for rows, epoch in keys if len(rows) > rank)
        source = self._on_device(split)
        if self.workers == 0 or (split != "train" and is_held(source)):
            home = self.device if source is not self.rows(split) else torch.device("cpu")
            return (to_device(source.batch(_to(rows, home), n), self.device) for rows, n in keys)
        loader = DataLoader(
            _Fetch(source),
            sampler=keys,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=generator(self.seed),  # else it would draw from the training's generator
            worker_init_fn=_ignore_signals,
        )
        return (to_device(batch, self.device) for batch in loader)

    def _on_device(self, split: Split) -> Rows:
        """The split's rows, moved to the device (and kept there) when they are tensors that fit."""
        rows = self.rows(split)
        if self.device.type == "cpu" or self.workers or not is_held(rows):
            return rows
        if split not in self._placed:
            fits = rows.bytes() < torch.cuda.mem_get_info(self.device)[0] / 4
            self._placed[split] = rows.to(self.device) if fits else rows
        return self._placed[split]


def _to(rows: Tensor, device: torch.device) -> Tensor:
    """Row numbers on the device, from pinned memory: a plain copy would make the GPU wait."""
    return rows if device.type == "cpu" else rows.pin_memory().to(device, non_blocking=True)


class _Fetch(Dataset[Batch]):
    """What DataLoader workers index: a key is a whole batch, so nothing is collated row by row."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __getitem__(self, key: Key) -> Batch:
        rows, epoch = key
        return self.rows.batch(rows, epoch)


def _ignore_signals(worker: int) -> None:
    """Signals to a process group reach workers too: the main process alone decides what follows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def is_held(rows: Rows) -> TypeGuard[HeldRows]:
    return isinstance(rows, HeldRows) and math.isfinite(rows.bytes())


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor of a (possibly nested) batch; on the CPU there is nothing to do."""
    if device.type == "cpu":
        return batch
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a NamedTuple
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
