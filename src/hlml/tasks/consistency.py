"""Consistency: what a model is sure of in a picture, it should still say when it is changed more.

FixMatch: Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and
Confidence". B labelled pictures, R unlabelled ones for each, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hlml.data import DataModule
from hlml.data.images import Images, Pictures
from hlml.errors import UserError
from hlml.logbook import Logbook
from hlml.task import Progress
from hlml.tasks.classifier import Classifier, known, refuse_without_unlabelled


class Consistency(Classifier):
    """Cross-entropy on the labels, plus `weight` times that of the strong views of unlabelled
    pictures, with the weak view's class as label where its probability is above `threshold`.
    """

    logged = ("consistency/sure",)
    sure: Tensor  # (2,) float64: unlabelled pictures above the threshold since the last report; all

    def __init__(
        self,
        model: nn.Module,
        data: Images,
        label_smoothing: float = 0.0,
        threshold: float = 0.95,
        weight: float = 1.0,
    ) -> None:
        super().__init__(model, data, label_smoothing)
        refuse_without_unlabelled(data, "task=consistency")
        if data.augment is None or data.strong_view is None:
            raise UserError(
                "task=consistency compares two views of a picture: choose an augment for the weak "
                "one and a data.strong_view for the other"
            )
        self.threshold, self.weight = threshold, weight
        self.register_buffer("sure", torch.zeros(2, dtype=torch.float64))

    def training_step(self, batch: Pictures, phase: str, progress: Progress) -> Tensor:
        """A mean over all B (1 + R) pictures, so that it adds up over processes of unequal shares;
        it equals a mean over the B labelled ones plus `weight` times one over the B R others.
        """
        assert batch.strong is not None
        count = int(known(batch.labels).sum())  # the labelled ones come first
        # in one pass, so that batch norm sees all of them
        scores = self.scores(torch.cat([batch.pictures, batch.strong[count:]]))
        labelled, weak, strong = scores.split([count, *[len(batch.rows) - count] * 2])
        sure, label = weak.detach().float().softmax(1).max(1)
        mask = sure > self.threshold
        if self.training and torch.is_grad_enabled():
            self.sure += torch.stack([mask.sum(), torch.ones_like(mask).sum()])
        unlabelled = (self.cross_entropy(strong, label, smoothing=0.0) * mask).sum()
        supervised = self.cross_entropy(labelled, batch.labels[:count]).sum()
        loss: Tensor = supervised + self.weight / self.unlabelled_ratio * unlabelled
        return loss * ((1 + self.unlabelled_ratio) / len(batch.rows))

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        if not final and self.sure[1]:
            book.scalars(book.step, {"consistency/sure": float(self.sure[0] / self.sure[1])})
            self.sure.zero_()
        super().report(book, data, final)
