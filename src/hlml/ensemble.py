"""Several answers to one question, averaged: of several runs, and to several views of a picture.

N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hlml.data import DataModule, Split
from hlml.data.images import UNKNOWN, Images
from hlml.errors import UserError
from hlml.evaluation import autocast, quietly
from hlml.runs import aligned

if TYPE_CHECKING:
    from hlml.saved import Saved
    from hlml.task import Batch

SPLITS: tuple[Split, ...] = ("valid", "test")


@runtime_checkable
class Probable(Protocol):
    """A task whose answers come from probabilities."""

    def probabilities(self, batch: Batch) -> Tensor: ...
    def answers(self, probabilities: Tensor) -> list[Any]: ...


class Ensemble:
    """The mean of the probabilities of `runs`, each over the plain pictures and `views` others.

    `data` and `task` are those of the first run, `mean` its and the others' probabilities (N, K)
    by split. Runs are opened one after the other: together they may not fit in memory.
    """

    def __init__(self, runs: list[Saved], views: int = 0) -> None:
        self.scores: dict[str, list[float]] = {}
        self.mean: dict[Split, Tensor] = {}
        for number, run in enumerate(runs):
            data, task = run.open()
            if not isinstance(task, Probable) or not isinstance(data, Images):
                kind = type(task).__name__
                raise UserError(
                    f"{run.folder}: {kind} has no probabilities to average; name it alone"
                )
            if number == 0:
                self.data, self.task = data, task
            elif difference := _difference(self.data, data):
                raise UserError(f"{run.folder}: another {difference} than {runs[0].folder} has")
            for split in SPLITS:
                several = [
                    probabilities(task, batches, data, run.precision)
                    for batches in _readings(data, split, views)
                ]
                self._score(f"{run.checkpoint}", split, several[0])
                share = torch.stack(several).mean(0) / len(runs)
                self.mean[split] = self.mean[split] + share if number else share
        members = f"mean of {len(runs)} run(s)" + f", {views + 1} views each" * bool(views)
        for split in SPLITS:
            self._score(members, split, self.mean[split])

    def answers(self) -> list[Any]:
        """For the test split, in the task's terms."""
        return self.task.answers(self.mean["test"])

    def table(self) -> str:
        """Accuracy of each run on plain pictures and, in the last line, of all together."""
        splits = [split for split in SPLITS if self.data.has_labels(split)]
        rows = [[name, *(f"{n:.4f}" for n in found)] for name, found in self.scores.items()]
        return "\n".join(aligned([["accuracy", *splits], *rows], str.rjust))

    def _score(self, name: str, split: Split, mean: Tensor) -> None:
        if self.data.has_labels(split):
            labels = self.data.splits[split].labels.cpu()
            right = (mean.argmax(1) == labels)[labels != UNKNOWN]
            self.scores.setdefault(name, []).append(float(right.double().mean()))


def probabilities(
    task: Any, batches: Iterable[Batch], data: DataModule, precision: str = "fp32"
) -> Tensor:
    """(N, K) float64 of all batches, in order."""
    found = []
    with quietly(task, data.device):
        for batch in batches:
            with autocast(data.device, precision):
                found.append(task.probabilities(batch).double().cpu())
    return torch.cat(found)


def _readings(data: Images, split: Split, views: int) -> Iterable[Iterable[Batch]]:
    """The split's pictures as they are, and `views` times as the run's augmentation shows them."""
    yield data.evaluation(split)
    if views and not _augments(data):
        raise UserError(
            "--views: this run was trained with augment=none, which has one view of a picture; "
            "leave --views out"
        )
    for number in range(1, views + 1):
        yield data.views(split, number)


def _augments(data: Images) -> bool:
    """Whether the run's augmentation changes pictures at all."""
    if data.augment is None:
        return False
    seen, plain = next(iter(data.views("valid", 1))), next(iter(data.evaluation("valid")))
    return not torch.equal(seen.pictures.float(), plain.pictures.float())


def _difference(one: Images, other: Images) -> str:
    """What keeps two runs' probabilities from meaning the same, or nothing."""
    if type(one) is not type(other):
        return "data set"
    if one.class_names != other.class_names:
        return "list of classes"
    for split in SPLITS:
        left, right = one.splits[split], other.splits[split]
        same = torch.equal(left.index, right.index) and torch.equal(left.labels, right.labels)
        if not same:
            return f"{split} split"
    return ""
