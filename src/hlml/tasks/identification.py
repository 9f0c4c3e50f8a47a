"""Identification: one label for a whole sequence, such as who is speaking.

Additive margin softmax: Wang et al. 2018, "Additive Margin Softmax for Face Verification".
B batch, K classes, N utterances that are compared, D numbers in an utterance's vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.module import generator
from hlml.data.sequences import UNKNOWN, SequenceData, Sequences
from hlml.error_rates import equal_error_rate, pairs
from hlml.errors import UserError
from hlml.models.tagger import Tagger
from hlml.task import Progress
from hlml.tasks import identification_report
from hlml.tasks.sequence_task import SequenceTask

if TYPE_CHECKING:
    from hlml.logbook import Logbook

MOST_COMPARED = 2000  # utterances, in 1,999,000 pairs


class Identification(SequenceTask):
    """`margin` is taken from the cosine of the true class, so that the others have to be beaten by
    as much; the model has to give cosines times a `scale` (model.cosine=true).

    accuracy is the share of utterances whose speaker is named, loss the cross-entropy without
    margin and label smoothing. eer is the equal error rate of telling by the cosine of their
    vectors whether two utterances have the same speaker, over all pairs of 2,000 utterances at
    most (drawn once). Vectors are what a `Tagger`'s last layer is given; of any other model its
    scores, less their mean.
    """

    directions: ClassVar[dict[str, str]] = {"accuracy": "max", "eer": "min", "loss": "min"}
    seats: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: SequenceData,
        label_smoothing: float = 0.0,
        margin: float = 0.0,
        time_mask: int = 0,
        feature_mask: int = 0,
    ) -> None:
        if not data.corpus.one_label:
            raise UserError(
                "task=identification: an utterance needs one label, and here each frame has its "
                "own; choose task=tagging"
            )
        super().__init__(model, data, label_smoothing, time_mask, feature_mask)
        self.margin = margin
        if margin and getattr(model, "scale", None) is None:
            raise UserError(
                f"task.margin={margin:g}: is taken from a cosine, and the model gives none; "
                "add model.cosine=true, or leave the margin at 0"
            )
        # which place an utterance's vector has among those compared; no checkpoint needs it
        rows = max(len(data.splits["valid"]), len(data.splits["test"]))
        order = torch.randperm(rows, generator=generator(0)) if rows > MOST_COMPARED else None
        seats = torch.arange(rows) if order is None else order.clamp(max=MOST_COMPARED)
        self.register_buffer("seats", seats, persistent=False)

    def training_step(self, batch: Sequences, phase: str, progress: Progress) -> Tensor:
        scores = self.scores(batch).float()
        if self.margin:
            scale: Any = self.model.scale  # a number, or learnt
            scores = scores - self.margin * scale * F.one_hot(batch.labels, self.classes)
        return F.cross_entropy(scores, batch.labels, label_smoothing=self.label_smoothing)

    def validation_step(self, batch: Sequences) -> dict[str, Tensor]:
        """Counts, the sum of the losses, and each utterance's vector in its own row: float64."""
        vectors, scores = (part.double() for part in self.vectors_and_scores(batch))
        labels = batch.labels
        known = labels != UNKNOWN
        return {
            "rows": known.sum().double(),
            "right": (scores.argmax(1) == labels).sum().double(),
            "loss": F.cross_entropy(scores, labels, reduction="sum", ignore_index=UNKNOWN),
            "vectors": self._seated(vectors, batch.rows),
            "speakers": self._seated(labels.double() + 1, batch.rows),  # 0: nobody knows
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        rows, there = totals["rows"], totals["speakers"] > 0
        vectors, speakers = totals["vectors"][there].cpu(), totals["speakers"][there].cpu()
        return {
            "accuracy": float(totals["right"] / rows),
            "eer": equal_error_rate(*pairs(vectors, speakers))[0],
            "loss": float(totals["loss"] / rows),
        }

    def vectors_and_scores(self, batch: Sequences) -> tuple[Tensor, Tensor]:
        """(B, D), what the model knows an utterance by; and (B, K).

        Scores say the same whatever is added to all of them, so as vectors they have a mean of 0.
        """
        if isinstance(self.model, Tagger):
            vectors = self.model.vectors(self.shown(batch, self.training), batch.mask)
            return vectors, self.model.head(vectors)
        scores = self.scores(batch)
        return scores - scores.mean(1, keepdim=True), scores

    def compared(self, rows: Tensor) -> Tensor:
        """(B,) bool: which rows are among those that the equal error rate is taken over."""
        return self.seats.cpu()[rows] < MOST_COMPARED

    def probabilities(self, batch: Sequences) -> Tensor:
        """(B, K)"""
        return self.scores(batch).double().softmax(1)

    def answers(self, probabilities: Iterable[Tensor]) -> list[int]:
        """(K,) of each utterance -> the most probable class."""
        return [int(row.argmax()) for row in probabilities]

    def predict_step(self, batch: Sequences) -> list[int]:
        return self.answers(self.probabilities(batch).cpu())

    def what_it_has_learnt(self, book: Logbook, data: SequenceData) -> None:
        identification_report.what_it_has_learnt(self, book, data)

    def _seated(self, values: Tensor, rows: Tensor) -> Tensor:
        """`values` (B, ...) of some rows as a table with a row for each utterance compared, zeros
        elsewhere: such tables add up."""
        places = min(len(self.seats), MOST_COMPARED)
        table = values.new_zeros(places + 1, *values.shape[1:])  # the last row is for the rest
        return table.index_copy(0, self.seats[rows], values)[:places]
