"""Whom a model confuses, how alike it finds two utterances, and what of one it listens to.

N utterances, K classes, D numbers in an utterance's vector, T frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hlml.data.sequences import SequenceData, Sequences
from hlml.error_rates import equal_error_rate, pairs
from hlml.figures import speech as figures
from hlml.figures.classification import READABLE, confusion_matrix
from hlml.models.tagger import Tagger
from hlml.tasks.classifier_report import confusion
from hlml.tasks.sequence_report import CLIPS, attention_maps, clips, name, utterance

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.identification import Identification

POINTS = 1000  # in the projector
SHOWN = 1000  # frames of the utterance that is drawn
FEW = 40  # speakers whose whole matrix can be looked at


def what_it_has_learnt(task: Identification, book: Logbook, data: SequenceData) -> None:
    if data.has_labels("valid"):
        labels, answers, vectors = _everything(task, data)
        counts = confusion(labels[labels >= 0], answers[labels >= 0], task.classes)
        _confused(book, counts, data.class_names)
        _alike(task, book, vectors, labels)
        # evenly spread: files often lie sorted by speaker
        rows = torch.linspace(0, len(labels) - 1, min(POINTS, len(labels))).round().long()
        book.embedding("speakers", vectors[rows], [name(data, n) for n in labels[rows].tolist()])
    _one_utterance(task, book, data)
    first = data.splits["valid"].batch(torch.arange(min(CLIPS, len(data.splits["valid"]))), 0)
    titles = [f"valid_{row}_{name(data, n)}" for row, n in enumerate(first.labels.tolist())]
    clips(book, data, titles)


def _everything(task: Identification, data: SequenceData) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (N,), answers (N,) and vectors (N, D) of the validation split."""
    found = []
    for batch in data.evaluation("valid"):
        vectors, scores = task.vectors_and_scores(batch)
        found.append((batch.labels, scores.argmax(1), vectors.float()))
    labels, answers, vectors = (torch.cat(part).cpu() for part in zip(*found, strict=True))
    return labels, answers, vectors


def _confused(book: Logbook, counts: Tensor, names: list[str]) -> None:
    """All speakers, or the few that are most often taken for others or others for them."""
    title = "Confusion matrix"
    if len(names) > FEW:
        wrong = counts - counts.diagonal().diag()
        chosen = (wrong.sum(0) + wrong.sum(1)).topk(READABLE).indices.sort().values
        counts, names = counts[chosen][:, chosen], [names[n] for n in chosen.tolist()]
        title = f"The {READABLE} most confused"
    book.figure("confusion_matrix", confusion_matrix(counts, names, "utterances", title))


def _alike(task: Identification, book: Logbook, vectors: Tensor, labels: Tensor) -> None:
    """How alike pairs are: of the utterances that the equal error rate is taken over."""
    compared = task.compared(torch.arange(len(labels))) & (labels >= 0)
    scores, same = pairs(vectors[compared], labels[compared])
    rate, threshold = equal_error_rate(scores, same)
    if rate == rate:  # a number: there are pairs of both kinds
        book.figure("pairs", figures.pair_scores(scores, same, threshold, rate))


def _one_utterance(task: Identification, book: Logbook, data: SequenceData) -> None:
    batch, ground, hop = utterance(data, 0, SHOWN)
    slopes, answer = moving(task, batch)
    shares = {}
    if maps := attention_maps(task, batch):
        shares["attention that a frame gets, mean of the last layer's heads"] = received(maps[-1])
    if (weights := pool_weights(task, batch)) is not None:
        shares["weight that the pooling gives it"] = weights
    guess = data.class_names[answer]
    shares[f"how much it moves the score of {guess}"] = slopes
    truth = name(data, int(batch.labels[0]))
    title = f"{truth}, {'recognised' if truth == guess else f'taken for {guess}'}: what counts"
    book.figure("listening", figures.listening(ground, hop, shares, title))


def pool_weights(task: Identification, batch: Sequences) -> Tensor | None:
    """(T,), of a batch of one: what self-attentive pooling gives each frame."""
    if not isinstance(task.model, Tagger) or task.model.pool is None:
        return None
    question: Any = task.model.pool.question
    if question is None:
        return None
    frames = task.model.encode(task.shown(batch, training=False), batch.mask)
    weights: Tensor = question(frames)[0, :, 0].softmax(0).float().cpu()
    return weights


def received(maps: Tensor) -> Tensor:
    """(H, T, T) -> (T,): how much each frame is looked at, on average over heads and frames."""
    return maps.mean((0, 1))


def moving(task: Identification, batch: Sequences) -> tuple[Tensor, int]:
    """(T,) each frame's share in the gradient of the answer's score, by length; and the answer."""
    # a report runs without gradients, and cuDNN refuses them for an RNN that is not in training
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        frames = batch.frames.requires_grad_()
        best, answer = task.scores(batch._replace(frames=frames))[0].max(0)
        (gradient,) = torch.autograd.grad(best, frames)
    lengths = gradient[0].norm(dim=1).float().cpu()
    return lengths / lengths.sum().clamp(min=1e-30), int(answer)
