"""Learning to fill in what is masked, so that all words can be written at once (lecture 6).

Ghazvininejad et al. 2019, "Mask-Predict". B batch, S and T tokens of source and target.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.pairs import PairData, Pairs
from hlml.errors import UserError
from hlml.mask_predict import lowest, mask_predict
from hlml.models.nat import MASK, NAT
from hlml.task import Progress
from hlml.tasks.sequence_to_sequence import SequenceToSequence
from hlml.tokens import END, PAD


class MaskPredict(SequenceToSequence):
    """Of each training target some tokens are masked, any number with equal chance, and the loss is
    theirs; with it the model learns lengths, of which one weighs `length_weight` times as much as a
    token.

    Written is in so many `iterations` (1: all words at once and never again), with the
    `length_candidates` likeliest lengths side by side: see hlml.mask_predict.

    The loss that is measured is that of the length and of every token when all are masked, a sum
    over target tokens, the length counted as one: what END is to other models.
    """

    def __init__(
        self,
        model: nn.Module,
        data: PairData,
        label_smoothing: float = 0.0,
        iterations: int = 4,
        length_candidates: int = 3,
        length_weight: float = 1.0,
    ) -> None:
        if not isinstance(model, NAT):
            raise UserError(
                f"task=mask_predict: fills in what is masked, and {type(model).__name__} writes "
                "word after word; choose model=nat, or task=sequence_to_sequence"
            )
        for name, value in (("iterations", iterations), ("length_candidates", length_candidates)):
            if value < 1:
                raise UserError(f"task.{name}={value}: is a count; 1 at least")
        if length_candidates > model.longest:
            raise UserError(
                f"task.length_candidates={length_candidates}: there are model.longest="
                f"{model.longest} lengths to choose from"
            )
        # what is a beam's width in other tasks, the trouble taken with an answer, is iterations
        super().__init__(model, data, label_smoothing, beam=iterations)
        self.length_candidates, self.length_weight = length_candidates, length_weight

    def adapted(self, model: nn.Module) -> Any:
        """A NAT reads, and does not write token by token."""
        return model

    def training_step(self, batch: Pairs, phase: str, progress: Progress) -> Tensor:
        tokens = self.tokens(batch)
        hidden = chosen(tokens)
        scores, lengths = self.model(batch.source, tokens.masked_fill(hidden, MASK))
        losses = self.losses(scores, tokens.masked_fill(~hidden, PAD), self.label_smoothing)
        # of n tokens (n + 1) / 2 are masked on average; with END they are the n + 1 that are
        # counted, and a divisor that chance has no part in is the same for any batching
        loss = 2 * losses.sum() + self.length_weight * self._length_losses(lengths, tokens).sum()
        return loss / (batch.target[:, 1:] != PAD).sum()

    def validation_step(self, batch: Pairs) -> dict[str, Tensor]:
        tokens = self.tokens(batch)
        scores, lengths = self.model(batch.source, tokens.masked_fill(tokens != PAD, MASK))
        losses = self.losses(scores, tokens).double().sum()
        losses = losses + self._length_losses(lengths, tokens).double().sum()
        loss = torch.stack([losses, (batch.target[:, 1:] != PAD).sum().double()])
        counts = self.scoring.count(self.answers(batch, self.beam), self.references(batch))
        return {"loss": loss, **{name: loss.new_tensor(some) for name, some in counts.items()}}

    def tokens(self, batch: Pairs) -> Tensor:
        """(B, T - 2): the target without BEGIN and END, one place at least."""
        labels = self.labels(batch)
        return labels.masked_fill(labels == END, PAD)[:, : max(1, labels.shape[1] - 1)]

    def write(self, batch: Pairs, width: int) -> list[list[int]]:
        """The answers' tokens after so many iterations."""
        model: Any = self.model
        return mask_predict(model, batch.source, width, self.length_candidates)

    def ways(self) -> dict[str, int]:
        return {f"iterations: {number}": number for number in sorted({1, self.beam})}

    def _length_losses(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """scores (B, L), tokens (B, T) -> (B,). No and too many tokens are the nearest length."""
        lengths = (tokens != PAD).sum(1).clamp(1, scores.shape[1])
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return F.cross_entropy(scores, lengths - 1, reduction="none")


def chosen(tokens: Tensor) -> Tensor:
    """tokens (B, T) -> (B, T): which are masked, 1 to all of each row, none of them PAD."""
    real = tokens != PAD
    count, share = real.sum(1, keepdim=True), torch.rand(len(tokens), 1, device=tokens.device)
    draws = torch.rand(tokens.shape, device=tokens.device)
    return lowest(draws, real, (share * count).floor() + 1)
