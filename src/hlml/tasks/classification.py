"""Classification: learn from the pictures that have labels, and leave out the others.

Label smoothing: Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision".
"""

from __future__ import annotations

from torch import Tensor

from hlml.data.images import Pictures
from hlml.task import Progress
from hlml.tasks.classifier import Classifier, known


class Classification(Classifier):
    """Cross-entropy on the labels, which may be mixtures."""

    def items(self, batch: Pictures) -> int:
        # to count them makes a GPU wait, so only where there is something to count
        return int(known(batch.labels).sum()) if self.unlabelled_ratio else len(batch.labels)

    def training_step(self, batch: Pictures, phase: str, progress: Progress) -> Tensor:
        pictures, labels = batch.pictures, batch.labels
        if self.unlabelled_ratio:
            have = known(labels)
            pictures, labels = pictures[have], labels[have]
        return self.loss(pictures, labels)
