"""Tagging: one label for each frame of a sequence, such as which phoneme is being said.

B batch, T frames, F numbers a frame, K classes. Only real frames that have a label count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from hlml import smoothing as smooth
from hlml.data.sequences import UNKNOWN, SequenceData, Sequences
from hlml.error_rates import phone_errors
from hlml.errors import UserError
from hlml.task import Progress
from hlml.tasks import tagging_report
from hlml.tasks.sequence_task import SequenceTask

if TYPE_CHECKING:
    from hlml.logbook import Logbook


class Tagging(SequenceTask):
    """`smoothing` changes the answers and their scores, and nothing in training: `aba` mends single
    frames, `viterbi` looks for the likeliest path, a step being worth what the training labels say.

    accuracy is the share of frames answered right, recall the mean of each class's own accuracy,
    loss the cross-entropy without label smoothing. per is the phone error rate: repeats joined,
    then the insertions, deletions and substitutions for each true phone. Silence counts as a phone
    in it, as it does in TIMIT's usual 39 classes.
    """

    directions: ClassVar[dict[str, str]] = {
        "accuracy": "max",
        "recall": "max",
        "per": "min",
        "loss": "min",
    }
    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: SequenceData,
        label_smoothing: float = 0.0,
        smoothing: Literal["none", "aba", "viterbi"] = "none",
        time_mask: int = 0,
        feature_mask: int = 0,
    ) -> None:
        if data.corpus.one_label:
            raise UserError(
                "task=tagging: labels each frame, and here an utterance has one label; "
                "choose task=identification"
            )
        super().__init__(model, data, label_smoothing, time_mask, feature_mask)
        self.smoothing = smoothing
        labels, which = data.corpus.labels_of(data.splits["train"].index)
        steps = smooth.step_scores(smooth.count_steps(labels, which, self.classes))
        # a buffer, whatever the smoothing: a saved run can be smoothed later
        self.register_buffer("steps", steps.float())
        self.every_frame_counts = data.unit == "frame" and bool((labels != UNKNOWN).all())

    def items(self, batch: Sequences) -> int:
        if self.every_frame_counts:  # to count them makes a GPU wait
            return batch.labels.numel()
        return int((batch.labels != UNKNOWN).sum())

    def training_step(self, batch: Sequences, phase: str, progress: Progress) -> Tensor:
        losses = F.cross_entropy(
            self.scores(batch).flatten(0, 1).float(),
            batch.labels.flatten(),
            ignore_index=UNKNOWN,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        # of no frames at all: 0, and every weight has a gradient
        return losses / (batch.labels != UNKNOWN).sum().clamp(min=1)

    def validation_step(self, batch: Sequences) -> dict[str, Tensor]:
        """Counts by class, the sum of the losses, and errors in phones, in float64."""
        scores, labels = self.scores(batch).float(), batch.labels
        answers = self.smoothed(scores, batch.mask)
        known = labels != UNKNOWN
        flat, right = labels.clamp(min=0).flatten(), (answers == labels) & known
        none = torch.zeros(self.classes, dtype=torch.float64, device=scores.device)
        sums = scores.flatten(0, 1).double(), labels.flatten()
        return {
            "frames": none.index_add(0, flat, known.flatten().double()),
            "right": none.index_add(0, flat, right.flatten().double()),
            "loss": F.cross_entropy(*sums, reduction="sum", ignore_index=UNKNOWN),
            "phones": none.new_tensor(phone_errors(answers, labels)),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        frames, right, (errors, phones) = totals["frames"], totals["right"], totals["phones"]
        return {
            "accuracy": float(right.sum() / frames.sum()),
            "recall": float((right / frames)[frames > 0].mean()),
            "per": float(errors / phones),
            "loss": float(totals["loss"] / frames.sum()),
        }

    def smoothed(self, scores: Tensor, mask: Tensor) -> Tensor:
        """(B, T, K) -> (B, T): each frame's class; what stands after the end means nothing."""
        if self.smoothing == "viterbi":
            return smooth.viterbi(scores.float().log_softmax(2), self.steps, mask)
        answers = scores.argmax(2)
        return smooth.aba(answers, mask) if self.smoothing == "aba" else answers

    def probabilities(self, batch: Sequences) -> list[Tensor]:
        """Of each utterance (T, K), without padding."""
        likely = self.scores(batch).double().softmax(2).cpu()  # leaves its device in one piece
        return [row[real] for row, real in zip(likely, batch.mask.cpu(), strict=True)]

    def answers(self, probabilities: list[Tensor]) -> list[list[int]]:
        """(T, K) of each utterance -> the classes of its frames."""
        scores = pad_sequence([one.log() for one in probabilities], batch_first=True)
        lengths = torch.tensor([len(one) for one in probabilities])
        mask = torch.arange(scores.shape[1]) < lengths[:, None]
        answers = self.smoothed(scores.to(self.steps.device), mask.to(self.steps.device)).cpu()
        return [row[real].tolist() for row, real in zip(answers, mask, strict=True)]

    def predict_step(self, batch: Sequences) -> list[list[int]]:
        return self.answers(self.probabilities(batch))

    def what_it_has_learnt(self, book: Logbook, data: SequenceData) -> None:
        tagging_report.what_it_has_learnt(self, book, data)
