"""Decoding in batches, with a cache and without what has ended, by loops that have none of it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from hlml.data.vocabulary import BEGIN, END, PAD
from hlml.decoding import beam_search, greedy
from hlml.models.encoder_decoder import EncoderDecoder, State, Written
from hlml.models.transformer import Transformer

SIZES = (11, 9)
LONGEST = torch.tensor([7, 3, 0, 9, 1, 7, 7, 2])


def transformer(seed: int, copying: bool = False) -> Transformer:
    """Small, in double, and undecided enough to end at very different lengths."""
    torch.manual_seed(seed)
    sizes = (9, 9) if copying else SIZES
    model = Transformer(*sizes, width=8, layers=1, heads=2, copying=copying).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 3
        model.target_embedding.vectors.weight[END] *= 1.5
    return model


def sources(highest: int = SIZES[0]) -> Tensor:
    """Eight of 1 to 5 tokens, END and padding."""
    words = torch.randint(4, highest, (8, 6))
    lengths = torch.tensor([5, 2, 3, 1, 4, 5, 3, 2])[:, None]
    place = torch.arange(6)
    return words.where(place < lengths, (place == lengths) * END)


def next_scores(model: EncoderDecoder, source: Tensor, prefix: list[int]) -> Tensor:
    """What follows BEGIN and the prefix in one sentence: everything read and written anew."""
    source = source[source != PAD][None]
    scores = model(source, torch.tensor([[BEGIN, *prefix]]))[0, -1]
    scores[[PAD, BEGIN]] -= math.inf
    return scores


def naive_greedy(model: EncoderDecoder, source: Tensor, longest: int) -> list[int]:
    answer: list[int] = []
    while len(answer) < longest:
        token = int(next_scores(model, source, answer).argmax())
        if token == END:
            break
        answer.append(token)
    return answer


def naive_beam(
    model: EncoderDecoder, source: Tensor, longest: int, width: int, penalty: float
) -> list[int]:
    """Goes on as long as anything can, without asking whether it can still win."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    while beams:
        found = []
        for total, prefix in beams:
            source_ = source[source != PAD][None]
            scores = model(source_, torch.tensor([[BEGIN, *prefix]]))[0, -1]
            chances = scores.log_softmax(-1).tolist()
            scores = scores.tolist()
            tokens = sorted(range(len(chances)), key=lambda token: (-scores[token], token))
            allowed = [END] if len(prefix) == longest else tokens
            found += [
                (total + chances[token], [*prefix, token])
                for token in allowed
                if token not in (PAD, BEGIN)
            ]
        beams = []
        for total, words in sorted(found, key=lambda one: -one[0])[: width - len(ended)]:
            if words[-1] == END:
                ended.append((total / len(words) ** penalty, words[:-1]))
            else:
                beams.append((total, words))
    return max(ended, key=lambda one: one[0])[1]  # of equals the first


@pytest.mark.parametrize("copying", [False, True])
def test_greedy_is_a_loop_over_sentences_and_prefixes(copying: bool) -> None:
    lengths = set()
    for seed in range(5):
        model = transformer(seed, copying)
        source = sources(14 if copying else SIZES[0])
        with torch.no_grad():
            expected = [
                naive_greedy(model, row, int(most))
                for row, most in zip(source, LONGEST, strict=True)
            ]
            assert greedy(model, source, LONGEST) == expected
            assert beam_search(model, source, LONGEST, 1, 0.7) == expected
        lengths |= {len(answer) for answer in expected}
    assert lengths >= {0, 1, 2, 3}, lengths


@pytest.mark.parametrize("copying", [False, True])
@pytest.mark.parametrize(("width", "penalty"), [(2, 0.0), (3, 1.0), (5, 0.6), (12, 2), (4, -1)])
def test_beam_search_is_a_loop_over_sentences_and_prefixes(
    width: int, penalty: float, copying: bool
) -> None:
    for seed in range(3):
        model = transformer(seed, copying)
        source = sources(14 if copying else SIZES[0])
        with torch.no_grad():
            expected = [
                naive_beam(model, row, int(most), width, penalty)
                for row, most in zip(source, LONGEST, strict=True)
            ]
            assert beam_search(model, source, LONGEST, width, penalty) == expected
