"""Several answers to one question, averaged: of several runs, and to several views of a picture.

T frames of an utterance, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hlml.data import DataModule, Split
from hlml.data.images import UNKNOWN, Images
from hlml.data.sequences import SequenceData
from hlml.errors import UserError
from hlml.evaluation import autocast, quietly
from hlml.runs import aligned

if TYPE_CHECKING:
    from hlml.saved import Saved
    from hlml.task import Batch

SPLITS: tuple[Split, ...] = ("valid", "test")


@runtime_checkable
class Probable(Protocol):
    """A task whose answers come from probabilities: (K,) of each row of a batch, or (T, K) where
    each frame of an utterance is answered for."""

    def probabilities(self, batch: Batch) -> Tensor | list[Tensor]: ...
    def answers(self, probabilities: list[Tensor]) -> list[Any]: ...


class Ensemble:
    """The mean of the probabilities of `runs`, each over the plain pictures and `views` others.

    `data` and `task` are those of the first run, `mean` its and the others' probabilities of each
    row, by split. Runs are opened one after the other: together they may not fit in memory.
    """

    def __init__(self, runs: list[Saved], views: int = 0) -> None:
        self.scores: dict[str, list[float]] = {}
        self.mean: dict[Split, list[Tensor]] = {}
        for number, run in enumerate(runs):
            data, task = run.open()
            if not isinstance(task, Probable) or not isinstance(data, Images | SequenceData):
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
                self._score(f"{run.checkpoint}", split, task, several[0])
                share = [torch.stack(row).mean(0) / len(runs) for row in zip(*several, strict=True)]
                before = self.mean.get(split, [torch.zeros(())] * len(share))
                self.mean[split] = [one + more for one, more in zip(before, share, strict=True)]
        members = f"mean of {len(runs)} run(s)" + f", {views + 1} views each" * bool(views)
        for split in SPLITS:
            self._score(members, split, self.task, self.mean[split])

    def answers(self) -> list[Any]:
        """For the test split, in the task's terms."""
        return self.task.answers(self.mean["test"])

    def table(self) -> str:
        """Accuracy of each run alone, without views, and in the last line of all together."""
        splits = [split for split in SPLITS if self.data.has_labels(split)]
        rows = [[name, *(f"{n:.4f}" for n in found)] for name, found in self.scores.items()]
        return "\n".join(aligned([["accuracy", *splits], *rows], str.rjust))

    def _score(self, name: str, split: Split, task: Probable, likely: list[Tensor]) -> None:
        if self.data.has_labels(split):
            labels = self.data.splits[split].labels.cpu()
            answers = [torch.tensor(answer).reshape(-1) for answer in task.answers(likely)]
            right = (torch.cat(answers) == labels)[labels != UNKNOWN]
            self.scores.setdefault(name, []).append(float(right.double().mean()))


def probabilities(
    task: Any, batches: Iterable[Batch], data: DataModule, precision: str = "fp32"
) -> list[Tensor]:
    """Float64, of each row of all batches, in order."""
    found: list[Tensor] = []
    with quietly(task, data.device):
        for batch in batches:
            with autocast(data.device, precision):
                several = task.probabilities(batch)
            found += several.double().cpu() if isinstance(several, Tensor) else several
    return found


def _readings(data: Images | SequenceData, split: Split, views: int) -> list[Iterable[Batch]]:
    """The split's rows as they are, and `views` times as the run's augmentation shows them."""
    plain = data.evaluation(split)
    if not views:
        return [plain]
    if not isinstance(data, Images):
        raise UserError(
            f"--views: are of pictures, and {type(data).__name__} has none; leave --views out"
        )
    if not _augments(data):
        raise UserError(
            "--views: this run was trained with augment=none, which has one view of a picture; "
            "leave --views out"
        )
    return [plain, *(data.views(split, number) for number in range(1, views + 1))]


def _augments(data: Images) -> bool:
    """Whether the run's augmentation changes pictures at all."""
    if data.augment is None:
        return False
    seen, plain = next(iter(data.views("valid", 1))), next(iter(data.evaluation("valid")))
    return not torch.equal(seen.pictures.float(), plain.pictures.float())


def _difference(one: Images | SequenceData, other: Images | SequenceData) -> str:
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
