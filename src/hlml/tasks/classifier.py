"""What every task that tells pictures apart has in common: scores, metrics, answers, pictures.

The tasks differ in what they learn from: labels, their own answers, or agreement of two views.
B batch, C channels, S side, K classes.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.images import UNKNOWN, Images, Pictures
from hlml.data.module import DataModule
from hlml.errors import UserError
from hlml.task import Task
from hlml.tasks import classifier_report
from hlml.tasks.outputs import checked

if TYPE_CHECKING:
    from hlml.logbook import Logbook


class Classifier(Task, ABC):
    """A model of pictures; `label_smoothing` is the share of a label that all classes get alike.

    accuracy is the share of right answers, recall the mean of each class's own accuracy (the same
    where classes are equally frequent), loss the cross-entropy without smoothing.
    """

    directions: ClassVar[dict[str, str]] = {"accuracy": "max", "recall": "max", "loss": "min"}
    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, data: Images, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.classes = len(data.class_names)
        if not self.classes:
            raise UserError("task: these pictures have no labels; choose data that has classes")
        # convolutions read a pixel's channels side by side faster, forward and backward
        self.model = model.to(memory_format=torch.channels_last)
        self.label_smoothing, self.unlabelled_ratio = label_smoothing, data.unlabelled_ratio
        # buffers: a checkpoint answers in the units it was trained in
        mean, std = (torch.tensor(n).reshape(1, -1, 1, 1) for n in (data.mean, data.std))
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -mean / std)
        self._shown = False

    def scores(self, pictures: Tensor) -> Tensor:
        """(B, C, S, S) in 0..255 -> (B, K)"""
        x = torch.addcmul(self.shift, pictures, self.scale)  # (pictures - mean) / std, in one pass
        scores = self.model(x.contiguous(memory_format=torch.channels_last))
        return checked(self.model, scores, (len(pictures), self.classes))

    def cross_entropy(
        self, scores: Tensor, labels: Tensor, smoothing: float | None = None
    ) -> Tensor:
        """(B, K) with labels (B,), or (B, K) for mixtures -> (B,)"""
        smoothing = self.label_smoothing if smoothing is None else smoothing
        return F.cross_entropy(scores.float(), labels, reduction="none", label_smoothing=smoothing)

    def loss(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy; of no pictures, a 0 that every weight has a gradient of."""
        if not len(pictures):
            return torch.stack([weight.sum() for weight in self.parameters()]).sum() * 0
        return self.cross_entropy(self.scores(pictures), labels).mean()

    def probabilities(self, batch: Pictures) -> Tensor:
        """(B, K)"""
        return self.scores(batch.pictures).float().softmax(1)

    def answers(self, probabilities: Iterable[Tensor]) -> list[int]:
        """(K,) of each row -> the most probable class."""
        return [int(row.argmax()) for row in probabilities]

    def predict_step(self, batch: Pictures) -> list[int]:
        return self.answers(self.probabilities(batch).cpu())

    def validation_step(self, batch: Pictures) -> dict[str, Tensor]:
        """Counts by class, and the sum of the losses, in float64: exact for batches of any size."""
        scores, labels = self.scores(batch.pictures).double(), batch.labels
        known = (labels != UNKNOWN).double()
        right = (scores.argmax(1) == labels).double()
        none, label = known.new_zeros(self.classes), labels.clamp(min=0)
        return {
            "rows": none.index_add(0, label, known),
            "right": none.index_add(0, label, right),
            "loss": F.cross_entropy(scores, labels, reduction="sum", ignore_index=UNKNOWN),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        rows, right = totals["rows"], totals["right"]
        return {
            "accuracy": float(right.sum() / rows.sum()),
            "recall": float((right / rows)[rows > 0].mean()),
            "loss": float(totals["loss"] / rows.sum()),
        }

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """What the model sees, once; what it has learnt, and where it fails, at the end."""
        if not isinstance(data, Images):
            return
        if not self._shown:
            classifier_report.what_the_model_sees(book, data)
            self._shown = True
        if final:
            classifier_report.what_it_has_learnt(self, book, data)


def known(labels: Tensor) -> Tensor:
    """(B,) bool: which pictures have a label. Mixtures (B, K) have rows of zeros where not."""
    return labels != UNKNOWN if labels.dim() == 1 else labels.sum(1) > 0.5


def refuse_without_unlabelled(data: Images, task: str) -> None:
    if not data.unlabelled_ratio:
        raise UserError(
            f"{task} learns from unlabelled pictures: say how many for each labelled one, such as "
            "data.unlabelled_ratio=4"
        )
