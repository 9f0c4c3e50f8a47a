"""Sequence to sequence: one sequence is read, another of unknown length is written (lecture 5).

Scheduled sampling: Bengio et al. 2015, "Scheduled Sampling for Sequence Prediction with Recurrent
Neural Networks"; in two passes over all places at once: Mihaylova & Martins 2019, "Scheduled
Sampling for Transformers".
B batch, S and T tokens of source and target, V words of the target's vocabulary; K = V answers a
model chooses among, or V + S where it can copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.module import DataModule
from hlml.data.pairs import PairData, Pairs
from hlml.decoding import beam_search, greedy
from hlml.errors import UserError
from hlml.models.copying import copied_words, labels_for_copying
from hlml.models.encoder_decoder import EncoderDecoder, State, WithoutState, Written
from hlml.models.nat import NAT
from hlml.scoring import scoring
from hlml.task import Progress, Task
from hlml.tasks import sequence_to_sequence_report as pictures
from hlml.tasks.guided_attention import off_diagonal
from hlml.tasks.outputs import checked
from hlml.tokens import PAD, UNKNOWN

if TYPE_CHECKING:
    from hlml.logbook import Logbook


WIDE = 5  # the beam that greedy answers are shown beside


class SequenceToSequence(Task):
    """`label_smoothing` is the share of a label that all words get alike.

    Written is by a `beam` so wide (1: greedily), answers of n tokens being compared by their
    log-probability / n ** `length_penalty`; no answer is longer than `longest_factor` times the
    source's tokens and `longest_extra` more, as in the course.

    `sampling`: in training the model is shown its own guesses instead of the true tokens before
    each, with a probability that grows with the steps from 0 to this one; then a first pass, with
    the true tokens, makes the guesses. `guided`: the weight of a penalty on looking away from the
    diagonal, for a source that is told in order; `guided_width` is how broad the diagonal is, in
    shares of the length.

    What is measured is the data set's choice: bleu and chrf, or per and wer; and the loss, without
    label smoothing and with the true tokens before each, in nats a token, END counted.
    """

    def __init__(
        self,
        model: nn.Module,
        data: PairData,
        label_smoothing: float = 0.0,
        beam: int = 1,
        length_penalty: float = 1.0,
        longest_factor: float = 1.2,
        longest_extra: int = 10,
        sampling: float = 0.0,
        guided: float = 0.0,
        guided_width: float = 0.2,
    ) -> None:
        super().__init__()
        _check(model, data)
        if beam < 1:
            raise UserError(f"task.beam={beam}: is how many beginnings are kept; 1 at least")
        if not 0 <= sampling <= 1:
            raise UserError(f"task.sampling={sampling}: is a probability; from 0 to 1")
        self.model, self.data, self.words = self.adapted(model), data, len(data.target_vocabulary)
        self.copies, self.name = _copies(model), type(model).__name__
        self.label_smoothing, self.sampling = label_smoothing, sampling
        self.beam, self.length_penalty = beam, length_penalty
        self.longest_factor, self.longest_extra = longest_factor, longest_extra
        self.guided, self.guided_width = guided, guided_width
        self.scoring = scoring(data.scoring, data.target_language)
        self._pictured = False

    def adapted(self, model: nn.Module) -> EncoderDecoder:
        """The model as it is used here: any that gives scores of (source, target) can write."""
        if isinstance(model, NAT):
            raise UserError("model=nat: writes all words at once; choose task=mask_predict with it")
        return model if isinstance(model, EncoderDecoder) else WithoutState(model)

    @property
    def directions(self) -> dict[str, str]:
        return {**self.scoring.directions, "loss": "min"}

    def items(self, batch: Pairs) -> int:
        """Target tokens, END counted and BEGIN not."""
        return int((batch.target[:, 1:] != PAD).sum())

    def training_step(self, batch: Pairs, phase: str, progress: Progress) -> Tensor:
        labels = self.labels(batch)
        written = self._written(batch, self.sampling * progress.fraction)
        scores = self._checked(written.scores, batch)
        loss = self.losses(scores, labels, self.label_smoothing).sum()
        if self.guided:
            if written.looks is None:
                raise UserError(
                    f"task.guided: {self.name} does not say where it looks; set it to 0"
                )
            far = off_diagonal(written.looks, batch.source, labels, self.guided_width)
            loss = loss + self.guided * far.sum()
        return loss / (labels != PAD).sum()

    def labels(self, batch: Pairs) -> Tensor:
        """(B, T - 1): the right answers, END behind the last token, then PAD."""
        labels = batch.target[:, 1:]
        if self.copies:
            return labels_for_copying(labels, batch.source, self.words)
        return labels.masked_fill(labels >= self.words, UNKNOWN)

    def losses(self, scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """scores (..., K), labels (...) -> (...): each token's loss, 0 of PAD."""
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if not self.copies:
            flat = F.cross_entropy(
                scores.flatten(0, -2),
                labels.flatten(),
                ignore_index=PAD,
                label_smoothing=label_smoothing,
                reduction="none",
            )
            return flat.reshape(labels.shape)
        # log-probabilities already; and a place of the source is no word to be spread over
        right = scores.gather(-1, labels[..., None])[..., 0]
        spread = scores[..., : self.words].mean(-1)
        losses = -(1 - label_smoothing) * right - label_smoothing * spread
        return losses.masked_fill(labels == PAD, 0)

    def validation_step(self, batch: Pairs) -> dict[str, Tensor]:
        """Loss and tokens, and the scoring's counts, in float64."""
        labels = self.labels(batch)
        losses = self.losses(self.scores(batch), labels).double()
        loss = torch.stack([losses.sum(), (labels != PAD).sum().double()])
        counts = self.scoring.count(self.answers(batch, self.beam), self.references(batch))
        return {"loss": loss, **{name: loss.new_tensor(some) for name, some in counts.items()}}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        counts = {name: some.tolist() for name, some in totals.items()}
        loss, tokens = counts.pop("loss")
        return {**self.scoring.scores(counts), "loss": loss / tokens}

    def scores(self, batch: Pairs) -> Tensor:
        """(B, T - 1, K): of what follows each token, with the true ones before it."""
        return self._checked(self.model(batch.source, batch.target[:, :-1]), batch)

    def predict_step(self, batch: Pairs) -> list[str]:
        return self.answers(batch, self.beam)

    def ways(self) -> dict[str, int]:
        """Ways to write that are worth comparing: a name, and how wide a beam."""
        wide = max(self.beam, WIDE)
        return {"greedy": 1, f"beam {wide}": wide}

    def answers(self, batch: Pairs, width: int) -> list[str]:
        """What is written for each row, as text."""
        numbers = self.copied(self.write(batch, width), batch.source)
        return [self.data.target_vocabulary.decode(row) for row in numbers]

    def copied(self, answers: list[list[int]], source: Tensor) -> list[list[int]]:
        """Answers that are places of source (B, S), turned into what stands there."""
        return copied_words(answers, source, self.words) if self.copies else answers

    def write(self, batch: Pairs, width: int) -> list[list[int]]:
        """The answers' tokens, without BEGIN and END: greedily (1), or by a beam so wide."""
        longest = self.longest(batch.source)
        if width == 1:
            return greedy(self.model, batch.source, longest)
        return beam_search(self.model, batch.source, longest, width, self.length_penalty)

    def longest(self, source: Tensor) -> Tensor:
        """source (B, S) -> (B,): most tokens of each answer."""
        tokens = (source != PAD).sum(1) - 1  # END is none
        return (tokens.double() * self.longest_factor + self.longest_extra).long()

    def references(self, batch: Pairs) -> list[list[str]]:
        """What would be right, of each row."""
        return [self.data.references(batch.split, row) for row in batch.rows.tolist()]

    def about(self) -> dict[str, Any]:
        return self.scoring.about()

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """What the model sees, once; some answers, each time; where it looks, at the end."""
        if not self._pictured:
            pictures.what_the_model_sees(self, book)
            self._pictured = True
        pictures.samples(self, book)
        if final:
            pictures.by_length(self, book)
            pictures.alignments(self, book)

    def _written(self, batch: Pairs, probability: float) -> Written:
        """With the true tokens before each, or with guesses instead of some of them."""
        source, tokens = batch.source, batch.target[:, :-1]
        if not (self.guided or probability):
            return Written(self.model(source, tokens), None)
        state = self.model.read(source)
        if probability:
            tokens = self._guessed(state, tokens, probability)
        return self.model.write(state, tokens, looking=self.guided > 0)

    def _guessed(self, state: State, tokens: Tensor, probability: float) -> Tensor:
        """tokens (B, T), each of them but BEGIN with this probability the model's own guess."""
        with torch.no_grad():
            guesses = self.model.write(state, tokens).scores.argmax(2)[:, :-1]
        torch.clear_autocast_cache()  # weights cast without gradients must not be used with them
        true = tokens[:, 1:]
        chosen = torch.rand(true.shape, device=true.device) < probability
        chosen &= (true != PAD) & (guesses != PAD)
        return torch.cat([tokens[:, :1], torch.where(chosen, guesses, true)], 1)

    def _checked(self, scores: Tensor, batch: Pairs) -> Tensor:
        rows, tokens = batch.target.shape
        shape = (rows, tokens - 1, self.words + batch.source.shape[1] * self.copies)
        if isinstance(self.model, WithoutState):  # the student's own forward is to be named
            return checked(self.model.model, scores, shape)
        return checked(self.model, scores, shape, f" (the scores that {self.name}.write returns)")


def _check(model: nn.Module, data: DataModule) -> None:
    """Whether these can work together, before anything is computed."""
    if not isinstance(data, PairData):
        raise UserError(
            f"task=sequence_to_sequence: learns from pairs of sequences, and data is of "
            f"{type(data).__name__}; choose data=pronunciation"
        )
    if _copies(model) and data.source_vocabulary is not data.target_vocabulary:
        raise UserError(
            "model: copies, and a copied word has to be one of the target's, but source and "
            "target have a vocabulary each; set data.joint=true, or model.copying=false"
        )


def _copies(model: nn.Module) -> bool:
    return bool(getattr(model, "copies", False))
