"""Making a sequence of answers smoother: a phoneme lasts for several frames.

The best path: Viterbi 1967. B batch, T frames, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def aba(labels: Tensor, mask: Tensor) -> Tensor:
    """a b a -> a a a: a frame between two equal ones takes their label. (B, T) -> (B, T)

    From left to right and in place, as the course's students do it: a b a b a -> a a a a a.
    """
    frames = list(labels.unbind(1))
    for t in range(1, len(frames) - 1):
        inside = (frames[t - 1] == frames[t + 1]) & mask[:, t + 1]
        frames[t] = torch.where(inside, frames[t - 1], frames[t])
    return torch.stack(frames, 1)


def viterbi(scores: Tensor, steps: Tensor, mask: Tensor) -> Tensor:
    """The labels (B, T) of the path with the largest sum of its frames' `scores` (B, T, K) and its
    `steps` (K, K) from a class (row) to the next (column); real frames alone count."""
    best, origins = scores[:, 0], []
    stay = torch.arange(len(steps), device=steps.device)
    for t in range(1, scores.shape[1]):
        value, origin = (best[:, :, None] + steps).max(1)
        real = mask[:, t, None]
        best = torch.where(real, value + scores[:, t], best)
        origins.append(torch.where(real, origin, stay))
    path = [best.argmax(1)]
    for origin in reversed(origins):
        path.append(origin.gather(1, path[-1][:, None])[:, 0])
    return torch.stack(path[::-1], 1)


def count_steps(labels: Tensor, which: Tensor, classes: int) -> Tensor:
    """How often each class (row) is followed by each (column) in the same utterance: (K, K)
    float64, of what `Corpus.labels_of` gives."""
    before, after = labels[:-1], labels[1:]
    together = (which[1:] == which[:-1]) & (before >= 0) & (after >= 0)
    cells = before[together] * classes + after[together]
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes).double()


def step_scores(counts: Tensor) -> Tensor:
    """log P(next | this) from counts (K, K), one added to each: what a step of a path is worth.

    A hidden Markov model would also have the posteriors divided by the classes' frequencies, to
    stand for its likelihoods (Bourlard and Morgan 1994, "Connectionist Speech Recognition"). That
    helps rare classes at the expense of frequent ones: on synthetic speech it raised recall, and
    left more wrong frames and more wrong phones than without, so it is left out.
    """
    counts = counts + 1
    return (counts / counts.sum(1, keepdim=True)).log()
