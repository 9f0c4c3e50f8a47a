"""Writing all words at once, and those again that seem doubtful (lecture 6).

Ghazvininejad et al. 2019, "Mask-Predict: Parallel Decoding of Conditional Masked Language Models".
B sentences, C lengths of each, T tokens, V words.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hlml.models.encoder_decoder import on_tensors
from hlml.models.nat import MASK, NAT
from hlml.tokens import BEGIN, END, PAD


def mask_predict(
    model: NAT, source: Tensor, iterations: int = 4, candidates: int = 3
) -> list[list[int]]:
    """source (B, S) -> the answers, without BEGIN and END

    The `candidates` likeliest lengths are tried side by side. At first every word is masked; when
    `left` of the iterations are still to come, floor(length left / iterations) words are, those
    that were the least likely when they were written. The answer is the candidate whose words have
    the highest mean log-probability.
    """
    state = model.read(source)
    lengths = model.lengths(state).float().topk(candidates).indices.flatten()[:, None] + 1
    state = on_tensors(state, lambda x: x.repeat_interleave(candidates, 0))
    places = torch.arange(int(lengths.max()), device=source.device)
    real = places < lengths  # (B C, T)
    target = torch.where(real, MASK, PAD)
    sure = torch.zeros(target.shape, device=source.device)
    for left in reversed(range(iterations)):
        found, words = _likeliest(model.fill(state, target))
        hidden = target == MASK
        target, sure = words.where(hidden, target), found.where(hidden, sure)
        if len(places) * left < iterations:
            break  # not even the longest has a word to mask
        target = target.masked_fill(lowest(sure, real, lengths * left // iterations), MASK)
    mean = sure.masked_fill(~real, 0).sum(1, keepdim=True) / lengths
    best = mean.unflatten(0, (-1, candidates)).argmax(1, keepdim=True)  # (B, 1, 1)
    chosen = target.unflatten(0, (-1, candidates)).take_along_dim(best, 1)[:, 0]
    return [[word for word in row if word != PAD] for row in chosen.tolist()]


def lowest(values: Tensor, real: Tensor, count: Tensor) -> Tensor:
    """values (B, T), real (B, T), count (B, 1) -> (B, T): which are the `count` lowest of the real
    ones."""
    order = values.masked_fill(~real, math.inf).argsort(dim=1, stable=True)
    chosen: Tensor = (order.argsort(1) < count) & real
    return chosen


def _likeliest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """scores (B, T, V) -> of each place the word that stands there, and its log-probability first.
    What marks an end or a beginning stands nowhere."""
    never = torch.tensor([PAD, BEGIN, END], device=scores.device)
    found, words = scores.float().index_fill(-1, never, -math.inf).log_softmax(-1).max(-1)
    return found, words
