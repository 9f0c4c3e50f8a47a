"""Decoding in batches, with a cache and without what has ended, by loops that have none of it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from hlml import decoding
from hlml.decoding import beam_search, greedy
from hlml.models.encoder_decoder import EncoderDecoder, State, Written
from hlml.models.transformer import Transformer
from hlml.tokens import BEGIN, END, PAD

SIZES = (11, 9)
LONGEST = torch.tensor([7, 3, 0, 9, 1, 7, 7, 2])


def transformer(seed: int, copying: bool = False) -> Transformer:
    """Small, in double, and undecided enough to end at very different lengths."""
    torch.manual_seed(seed)
    sizes = (9, 9) if copying else SIZES
    model = Transformer(*sizes, width=8, layers=1, heads=2, copying=copying).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
        model.target_embedding.vectors.weight[END].mul_(1.5)
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
    scores: Tensor = model(source, torch.tensor([[BEGIN, *prefix]]))[0, -1]
    return scores


def naive_greedy(model: EncoderDecoder, source: Tensor, longest: int) -> list[int]:
    answer: list[int] = []
    while len(answer) < longest:
        scores = next_scores(model, source, answer)
        scores[[PAD, BEGIN]] = -math.inf
        token = int(scores.argmax())
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
            scores = next_scores(model, source, prefix)
            chances = scores - scores.logsumexp(-1)
            order = scores.argsort(descending=True, stable=True)
            tokens = [END] if len(prefix) == longest else order.tolist()
            found += [
                (total + float(chances[token]), [*prefix, token])
                for token in tokens
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
@pytest.mark.parametrize(("width", "penalty"), [(2, 0.0), (3, 1.0), (5, 0.6), (9, 2), (4, -1)])
def test_beam_search_is_a_loop_over_sentences_and_prefixes(
    width: int, penalty: float, copying: bool
) -> None:
    for seed in range(2):
        model = transformer(seed, copying)
        source = sources(14 if copying else SIZES[0])
        with torch.no_grad():
            expected = [
                naive_beam(model, row, int(most), width, penalty)
                for row, most in zip(source, LONGEST, strict=True)
            ]
            assert beam_search(model, source, LONGEST, width, penalty) == expected


class Table(EncoderDecoder):
    """What follows depends on the last token and the sentence's first. `rows`: of each step."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores, self.rows = scores, list[int]()

    def read(self, source: Tensor) -> State:
        return {"first": source[:, 0]}

    def write(self, state: State, target: Tensor, looking: bool = False) -> Written:
        return Written(self.scores[state["first"][:, None], target], None)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        self.rows.append(len(token))
        return self.scores[state["first"], token], state


def test_of_equals_the_first_wins() -> None:
    """One, two or four tokens that are equally likely, and no others: sums are equal, too."""
    torch.manual_seed(0)
    for _ in range(10):
        scores = torch.full((9, 8, 8), -1000.0, dtype=torch.float64)
        for row in scores.flatten(0, 1):
            row[torch.randperm(8)[: 2 ** int(torch.randint(3, ()))]] = 0
        model, source = Table(scores), torch.arange(1, 9)[:, None]
        expected = [
            naive_greedy(model, row, int(n)) for row, n in zip(source, LONGEST, strict=True)
        ]
        assert greedy(model, source, LONGEST) == expected
        for width, penalty in itertools.product((1, 2, 3, 5), (0.0, 1.0)):
            expected = [
                naive_beam(model, row, int(most), width, penalty)
                for row, most in zip(source, LONGEST, strict=True)
            ]
            assert beam_search(model, source, LONGEST, width, penalty) == expected


def counting(highest: int) -> Table:
    """Sentence s is written as 4, 5, ..., s, almost surely, and each end costs the same."""
    scores = torch.zeros(highest, highest, highest)
    for first in range(4, highest):
        following = [(BEGIN, 4), (first, END), *((word, word + 1) for word in range(4, first))]
        for word, after in following:
            scores[first, word, after] = 20
    return Table(scores)


def test_what_has_ended_is_written_no_further() -> None:
    model, source = counting(40), torch.randint(4, 40, (60, 1))
    lengths = [int(first) - 3 for first in source]
    longest = torch.full((60,), 40)
    longest[:5] = 2
    answers = greedy(model, source, longest)
    ends = [min(length, int(most)) for length, most in zip(lengths, longest, strict=True)]
    assert answers == [list(range(4, 4 + length)) for length in ends]
    for step, rows in enumerate(model.rows):
        # a step of its own writes END, but not where the answer is cut
        going = sum(step < min(n + 1, int(most)) for n, most in zip(lengths, longest, strict=True))
        assert going <= rows <= going / decoding.FULL, step
    model.rows.clear()
    assert beam_search(model, source, torch.full((60,), 300), 4, 1.0)[5:] == answers[5:]
    assert model.rows[0] == 60
    assert len(model.rows) <= max(lengths) + 2  # not the 301 that were allowed


@pytest.mark.parametrize("copying", [False, True])
def test_half_precision_has_many_equals(copying: bool) -> None:
    """And a beam of one is greedy all the same."""
    for seed in range(3):
        model, source = transformer(seed, copying).float(), sources(9)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            answers = greedy(model, source, LONGEST)
            assert beam_search(model, source, LONGEST, 1, 1.0) == answers
        assert not {PAD, BEGIN, END} & set(itertools.chain.from_iterable(answers))


def test_gradients_are_the_callers_business() -> None:
    model, source = transformer(0), sources()
    with torch.no_grad():
        expected = greedy(model, source, LONGEST), beam_search(model, source, LONGEST, 3, 1.0)
    assert (greedy(model, source, LONGEST), beam_search(model, source, LONGEST, 3, 1.0)) == expected
