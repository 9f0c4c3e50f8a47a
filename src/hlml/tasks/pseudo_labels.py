"""Self-training: a model labels the pictures it is sure of, and learns from these labels too.

Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method"; in rounds, as
in Xie et al. 2020, "Self-training with Noisy Student improves ImageNet classification": answers
are given on plain pictures by a model at rest, and learnt on augmented ones with dropout.
B batch, K classes, U unlabelled pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml import distributed
from hlml.data import DataModule
from hlml.data.images import UNKNOWN, Images, Pictures
from hlml.data.module import to_device
from hlml.errors import UserError
from hlml.evaluation import quietly
from hlml.logbook import Logbook
from hlml.task import Progress
from hlml.tasks.classifier import Classifier, known, refuse_without_unlabelled

CHUNK = 500  # pictures answered at once


class PseudoLabels(Classifier):
    """The run has `rounds` + 1 equal parts. The first learns from the labels alone; before each
    later one, the unlabelled pictures whose most probable class is above `threshold` get it as
    their label, and the others lose theirs.
    """

    logged = ("pseudo/labels", "pseudo/round", "pseudo/right")
    pseudo: Tensor  # (U,) int64, UNKNOWN where the model was not sure
    round: Tensor  # () int64: how many times they were set

    def __init__(
        self,
        model: nn.Module,
        data: Images,
        label_smoothing: float = 0.0,
        rounds: int = 3,
        threshold: float = 0.95,
    ) -> None:
        super().__init__(model, data, label_smoothing)
        refuse_without_unlabelled(data, "task=pseudo_labels")
        if threshold > 1:
            raise UserError(f"task.threshold: {threshold} is a probability, at most 1")
        self.data, self.rounds, self.threshold = data, rounds, threshold
        # buffers: a resumed run goes on with the labels it had
        unlabelled = len(data.rows("train")) - data.labelled
        self.register_buffer("pseudo", torch.full((unlabelled,), UNKNOWN))
        self.register_buffer("round", torch.tensor(0))
        self._part = 0  # that the next step belongs to

    def items(self, batch: Pictures) -> int:
        return int(known(self._labels(batch)).sum())

    def training_step(self, batch: Pictures, phase: str, progress: Progress) -> Tensor:
        following = (progress.step + 1) * (self.rounds + 1) // progress.total_steps
        self._part = min(self.rounds, following)
        labels = self._labels(batch)
        have = known(labels)
        return self.loss(batch.pictures[have], labels[have])

    def after_update(self, phase: str) -> None:
        """Label again when the next step begins a part.

        Here and not in that step, because its items are counted first; and so the checkpoint
        between the two has the labels already.
        """
        if self._part > int(self.round):
            self.relabel()
            self.round.fill_(self._part)

    def relabel(self) -> None:
        """Set `pseudo` by the answers to plain pictures; each process answers for its share."""
        distributed.broadcast_buffers(self)
        rows, device = self.data.splits["train"], self.pseudo.device
        mine = torch.arange(len(self.pseudo))[distributed.rank() :: distributed.world()]
        found = torch.zeros_like(self.pseudo)
        with quietly(self, device):
            for some in mine.split(CHUNK):
                pictures = to_device(rows.read(some + self.data.labelled), device)
                sure, label = self.scores(pictures).float().softmax(1).max(1)
                found[some.to(device)] = (label - UNKNOWN).where(sure > self.threshold, 0)
        self.pseudo.copy_(distributed.total(found) + UNKNOWN)

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        if not final:
            book.scalars(book.step, self.quality())
        super().report(book, data, final)

    def quality(self) -> dict[str, float]:
        """How many pictures have a pseudo-label and, where the data set knows, how many rightly."""
        joined = known(self.pseudo)
        found = {"pseudo/labels": float(joined.sum()), "pseudo/round": float(self.round)}
        truth = self.data.hidden_labels
        if truth is not None and joined.any():
            right = self.pseudo == truth.to(self.pseudo.device)
            found["pseudo/right"] = float(right[joined].double().mean())
        return found

    def _labels(self, batch: Pictures) -> Tensor:
        """The batch's labels, (B,) or mixed (B, K), with pseudo-labels where it has none."""
        labels = batch.labels
        missing = ~known(labels)
        pseudo = self.pseudo[batch.rows[missing] - self.data.labelled]
        if labels.dim() > 1:
            one_hot = F.one_hot(pseudo.clamp(min=0), self.classes) * known(pseudo)[:, None]
            return labels.masked_scatter(missing[:, None], one_hot.to(labels.dtype))
        return labels.masked_scatter(missing, pseudo)
