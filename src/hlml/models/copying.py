"""Words that are copied from the source: what nobody knows can still be written (lecture 5).

See, Liu & Manning 2017, "Get To The Point" (the pointer-generator).
B batch, S and T tokens of source and target, D width, V words of the one vocabulary of both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.tokens import PAD, UNKNOWN


class Copying(nn.Module):
    """At each place of the target a gate decides how much is copied and how much made up.

    A copy falls on a word of the source as often as the model looks at it. Answer w < V is the word
    w; answer V + s is what stands at place s of the source and in no vocabulary, and the first of
    these places answers for all where it stands several times.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.gate = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, looks: Tensor, scores: Tensor, source: Tensor) -> Tensor:
        """hidden (B, T, D), looks (B, T, S) of a sum of 1, scores (B, T, V), source (B, S)
        -> log-probabilities (B, T, V + S) in float32 at least

        What cannot be answered has the log of the smallest number that is one, not of 0: a sum of
        losses stays a number, and so do its gradients.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            kind = torch.promote_types(self.gate.weight.dtype, torch.float32)
            gate = self.gate(hidden.to(self.gate.weight.dtype)).to(kind)
            made = scores.to(kind).log_softmax(-1) + F.logsigmoid(gate)
            looks = looks.to(kind).masked_fill((source == PAD)[:, None], 0)
            places = answers_for(source, self.size)[:, None].expand(looks.shape)
            nothing = looks.new_zeros(*scores.shape[:2], self.size + source.shape[1])
            least = torch.finfo(kind).tiny
            copied = nothing.scatter_add(2, places, looks).clamp(min=least).log()
            # in logs, so that neither way of saying a word is lost beside the other
            made = F.pad(made, (0, source.shape[1]), value=math.log(least))
            return torch.logaddexp(made, copied + F.logsigmoid(-gate))


def answers_for(source: Tensor, size: int) -> Tensor:
    """source (B, S) -> (B, S): the answer that says the word of each place, V = `size`."""
    return torch.where(source < size, source, size + _first(source, source))


def labels_for_copying(labels: Tensor, source: Tensor, size: int) -> Tensor:
    """labels (B, T), source (B, S) -> (B, T): the answers that would be right.

    What is in no vocabulary becomes its place in the source, or UNKNOWN if it does not stand there.
    """
    stands = (labels[:, :, None] == source[:, None]).any(2)
    copied = torch.where(stands, size + _first(labels, source), UNKNOWN)
    return torch.where(labels < size, labels, copied)


def copied_words(answers: Sequence[Sequence[int]], source: Tensor, size: int) -> list[list[int]]:
    """Of each row of source (B, S) its answers, those that are places turned into the words there.

    A word once written is read as UNKNOWN, and so is a place: they mean the same to a model.
    """
    rows = source.tolist()
    return [
        [number if number < size else row[number - size] for number in answer]
        for answer, row in zip(answers, rows, strict=True)
    ]


def _first(words: Tensor, source: Tensor) -> Tensor:
    """words (B, T), source (B, S) -> (B, T): the first place where each stands, or 0."""
    return (words[:, :, None] == source[:, None]).int().argmax(2)
