"""Writing an answer: which token follows is known as soon as those before it are (lecture 5).

Greedy decoding takes the best token each time; beam search keeps several beginnings, for what
starts well may end badly. Works with every EncoderDecoder and its state, on any device. Whoever
calls decides on gradients and precision; scores are compared in float32 at least.
B sentences, W beginnings of each at most, R of all, K tokens that may follow, V there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hlml.models.encoder_decoder import EncoderDecoder, State, on_tensors
from hlml.tokens import BEGIN, END, PAD

FULL = 0.75  # rows that have ended are dropped once the others are fewer: measured, from 0.5 to 1


def greedy(model: EncoderDecoder, source: Tensor, longest: Tensor) -> list[list[int]]:
    """source (B, S), longest (B,): most tokens of each answer -> the answers, without BEGIN and END

    The best token each time; of equally good ones that of the lowest number.
    """
    state, steps = model.read(source), int(longest.max())
    answers = source.new_full((len(source), steps), END)
    rows = torch.arange(len(source), device=source.device)  # the sentence of each row
    token, going = torch.full_like(rows, BEGIN), longest > 0
    for step in range(steps):
        left = int(going.sum())
        if not left:
            break
        if left < FULL * len(rows):
            kept = going.nonzero()[:, 0]
            rows, token, going, state = _select((rows, token, going, state), kept)
        scores, state = model.step(token, state)
        token = _allowed(scores).argmax(-1).where(going, END)
        answers[rows, step] = token
        going = (token != END) & (step + 1 < longest[rows])
    return _until_end(answers)


class Beams(NamedTuple):
    """Beginnings: those of a sentence next to each other, the best first."""

    sentences: Tensor  # (R,)
    slots: Tensor  # (R,): below W, no two of a sentence the same
    words: Tensor  # (R, tokens so far)
    total: Tensor  # (R,): log-probability


def beam_search(
    model: EncoderDecoder, source: Tensor, longest: Tensor, width: int, length_penalty: float
) -> list[list[int]]:
    """source (B, S), longest (B,): most tokens of each answer -> the answers, without BEGIN and END

    Each step keeps the `width` best beginnings of a sentence; one that ends leaves, and takes its
    place along. What has `longest` tokens can only end. The answer is the one that ended with the
    highest log-probability / length ** length_penalty, END counted. A sentence is over when none of
    its beginnings can become better, even if all that they have yet to say were certain. What is
    equally good goes by order: earlier ends first, better beginnings, lower numbers of tokens.
    """
    state, count, steps = model.read(source), len(source), int(longest.max()) + 1
    norms = torch.arange(1.0, steps + 2, device=source.device) ** length_penalty  # of each length
    first, start = torch.arange(count, device=source.device), source.new_full((count, 1), BEGIN)
    beams = Beams(first, torch.zeros_like(first), start, torch.zeros(count, device=source.device))
    best, room = beams.total - math.inf, torch.full_like(first, width)
    answers = source.new_full((count, steps), END)
    for step in range(steps):
        scores, state = model.step(beams.words[:, -1], state)
        total, parents, words = _continuations(scores, beams, room, longest == step, width)
        ends = (words == END) & (total > -math.inf)
        room = room - ends.sum(1)
        ended, place = (total.masked_fill(~ends, -math.inf) / norms[step]).max(1)
        (won,) = (ended > best).nonzero(as_tuple=True)
        answers[won, step:], answers[won, :step] = END, beams.words[parents[won, place[won]], 1:]
        best = torch.maximum(best, ended)
        going = total.masked_fill(ends, -math.inf)
        hope = torch.maximum(going / norms[step + 1], going / norms[longest][:, None]).amax(1)
        keep = (going > -math.inf) & (hope > best)[:, None]
        sentences, slots = keep.nonzero(as_tuple=True)
        if not len(sentences):
            break
        rows = parents[keep]
        beams = Beams(
            sentences, slots, torch.cat([beams.words[rows], words[keep][:, None]], 1), total[keep]
        )
        state = _select(state, rows)
    return _until_end(answers)


def _continuations(
    scores: Tensor, beams: Beams, room: Tensor, full: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each sentence the W best, (B, W) each: log-probabilities, rows they continue, tokens.

    room (B,): how many places are left, the others have -inf. full (B,): whether a sentence's
    beginnings are as long as they may be.
    """
    value, words = _best_words(_allowed(scores), min(width, scores.shape[-1]))
    forced = full[beams.sentences][:, None]
    first = torch.arange(words.shape[1], device=words.device) == 0
    value = value.where(~forced, scores[:, END, None].to(value.dtype).where(first, -math.inf))
    words = words.where(~forced, END)
    follow = value - scores.to(value.dtype).logsumexp(-1, keepdim=True)
    shape, place = (len(full), width, words.shape[1]), (beams.sentences, beams.slots)
    total = follow.new_full(shape, -math.inf)
    total[place] = beams.total[:, None] + follow
    word, row = words.new_full(shape, END), words.new_zeros(shape[:2])
    word[place], row[place] = words, torch.arange(len(words), device=words.device)
    total, order = total.flatten(1).sort(dim=1, descending=True, stable=True)
    taken = torch.arange(width, device=room.device) >= room[:, None]
    total, order = total[:, :width].masked_fill(taken, -math.inf), order[:, :width]
    return total, row.gather(1, order // shape[2]), word.flatten(1).gather(1, order)


def _best_words(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """scores (R, V) -> the highest (R, count) and where they stand; of equal ones the first."""
    value, place = scores.topk(min(count + 1, scores.shape[1]))
    # topk has its own order of equals, and who is left out may be as good as who is not
    (equal,) = (value[:, 1:] == value[:, :-1]).any(1).nonzero(as_tuple=True)
    value, place = value[:, :count], place[:, :count].clone()
    if len(equal):
        some = scores[equal]
        for rank in range(count):
            best = some.argmax(1, keepdim=True)
            place[equal, rank] = best[:, 0]
            some.scatter_(1, best, -math.inf)
    return value, place


def _allowed(scores: Tensor) -> Tensor:
    """Nobody writes PAD or BEGIN."""
    never = torch.tensor([PAD, BEGIN], device=scores.device)
    kind = torch.promote_types(scores.dtype, torch.float32)
    return scores.detach().to(kind).index_fill(-1, never, -math.inf)


def _select(state: State, rows: Tensor) -> State:
    return on_tensors(state, lambda x: x.index_select(0, rows))


def _until_end(answers: Tensor) -> list[list[int]]:
    rows = answers.tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]
