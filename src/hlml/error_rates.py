"""How wrong answers are that come as sequences, or as scores of pairs.

Phone error rate: what is said is a sequence of phones, each as long as it likes, so repeats are
joined, and the answer is as wrong as it takes insertions, deletions and substitutions (Levenshtein
1966) to make the truth of it. Equal error rate: where a threshold on a score refuses as large a
share of the pairs that belong together as it accepts of those that do not.
U utterances, N vectors, D numbers in each, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Labels = NDArray[np.int64]
NOTHING = (-1, -2)  # behind the end of an answer and of a truth: no label, and not the same


def without_repeats(labels: Labels) -> Labels:
    """a a a b b a -> a b a"""
    changes: NDArray[np.bool_] = np.diff(labels, prepend=NOTHING[0]) != 0
    return labels[changes]


def edit_distances(answers: Sequence[Labels], truths: Sequence[Labels]) -> Labels:
    """(U,): the fewest insertions, deletions and substitutions that turn each answer into its
    truth. Labels are 0 or more.

    All utterances at once and a whole row of the table at once. The row from the one before it:
    the best without an insertion is at hand, and k insertions from there cost k, so what remains
    is a running minimum of (cost - place).
    """
    if len(answers) == 0:
        return np.zeros(0, dtype=np.int64)
    if sum(map(len, answers)) > sum(map(len, truths)):  # the distance is symmetric
        answers, truths = truths, answers
    rows, columns = _padded(answers, NOTHING[0]), _padded(truths, NOTHING[1])
    ends = np.array([len(truth) for truth in truths])[:, None]
    lengths = np.array([len(answer) for answer in answers])
    places = np.arange(columns.shape[1] + 1)
    costs = np.repeat(places[None], len(rows), axis=0)
    found = np.where(lengths == 0, ends[:, 0], 0)
    for row in range(rows.shape[1]):
        best = costs + 1
        best[:, 1:] = np.minimum(best[:, 1:], costs[:, :-1] + (columns != rows[:, row, None]))
        costs = np.minimum.accumulate(best - places, axis=1) + places
        found = np.where(lengths == row + 1, np.take_along_axis(costs, ends, 1)[:, 0], found)
    return found


def phone_errors(answers: Tensor, labels: Tensor) -> tuple[int, int]:
    """Errors and phones over a batch: answers and labels (B, T), of frames whose label is 0 or
    more. They leave their device in one piece."""
    both = torch.stack([answers, labels]).cpu().numpy()
    pairs = [(a[t >= 0], t[t >= 0]) for a, t in zip(*both, strict=True)]
    said = [without_repeats(truth) for _, truth in pairs]
    heard = [without_repeats(answer) for answer, _ in pairs]
    return int(edit_distances(heard, said).sum()), sum(map(len, said))


def pairs(vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair of N vectors (N, D): their cosine (P,), and whether their labels are equal."""
    units = F.normalize(vectors.float(), dim=1)
    first, second = torch.triu_indices(len(units), len(units), 1, device=units.device)
    return (units @ units.T)[first, second], labels[first] == labels[second]


def equal_error_rate(scores: Tensor, same: Tensor) -> tuple[float, float]:
    """The rate, and the score from which on pairs are accepted; scores and same (P,).

    Between two thresholds the errors are taken to change in a straight line, as on a drawn curve.
    Not a number where all pairs are the same or none are.
    """
    scores, order = scores.sort(descending=True)
    same = same[order].double()
    if not 0 < same.sum() < len(same):
        return float("nan"), float("nan")
    last = torch.ones_like(same, dtype=torch.bool)
    last[:-1] = scores[1:] != scores[:-1]  # equal scores are accepted together
    missed = 1 - (same.cumsum(0) / same.sum())[last]
    accepted = ((1 - same).cumsum(0) / (1 - same).sum())[last]
    gaps = torch.cat([missed.new_ones(1), missed - accepted])  # falls from 1 to -1
    after = int((gaps <= 0).nonzero()[0])
    share = gaps[after - 1] / (gaps[after - 1] - gaps[after])
    before = accepted[after - 2] if after > 1 else accepted.new_zeros(())
    rate = before + share * (accepted[after - 1] - before)
    return float(rate), float(scores[last][after - 1])


def _padded(sequences: Sequence[Labels], nothing: int) -> Labels:
    longest = max(map(len, sequences))
    table = np.full((len(sequences), longest), nothing, dtype=np.int64)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return table
