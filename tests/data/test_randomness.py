"""Hashed random numbers: the formula, uniformity, and that nothing but the key decides."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from hlml.data import randomness

ROWS = torch.arange(20_000)
MASK = 2**64 - 1


def finalise(number: int) -> int:
    """SplitMix64's, on Python's own integers."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & MASK
    return number ^ (number >> 31)


def key(seed: int, epoch: int, row: int) -> int:
    gamma = 0x9E3779B97F4A7C15
    start = finalise(finalise(seed + gamma & MASK) + epoch & MASK)
    return finalise(start + (row + 1) * gamma & MASK)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, -3])
@pytest.mark.parametrize("epoch", [0, 7, 10**9])
def test_equal_to_the_formula_on_whole_numbers_without_end(seed: int, epoch: int) -> None:
    rows = [0, 1, 2, 4_999, 10**12]
    found = randomness.keys(seed, epoch, torch.tensor(rows))
    assert [one & MASK for one in found.tolist()] == [key(seed, epoch, row) for row in rows]
    streams = randomness.uniform(found, 3, first=5).tolist()
    for row, numbers in zip(rows, streams, strict=True):
        for stream, number in enumerate(numbers, start=5):
            state = key(seed, epoch, row) + (stream + 1) * 0x9E3779B97F4A7C15 & MASK
            assert number == (finalise(state) >> 40) / 2**24


def test_a_row_has_the_same_numbers_in_any_batch() -> None:
    whole = randomness.uniform(randomness.keys(3, 5, ROWS), 4)
    some = torch.tensor([19_999, 0, 77, 76, 77])
    assert torch.equal(randomness.uniform(randomness.keys(3, 5, some), 4), whole[some])
    one = randomness.uniform(randomness.keys(3, 5, torch.tensor([77])), 2, first=2)
    assert torch.equal(one[0], whole[77, 2:])


def test_keys_do_not_repeat() -> None:
    every = [randomness.keys(seed, epoch, ROWS[:2000]) for seed in range(20) for epoch in range(20)]
    assert len(torch.cat(every).unique()) == 20 * 20 * 2000


def numbers(seed: int = 0, epoch: int = 0, stream: int = 0, flipped: bool = False) -> Tensor:
    keys = randomness.keys(seed, epoch, ROWS)
    return randomness.uniform(~keys if flipped else keys, 1, stream).squeeze(1)


@pytest.mark.parametrize("stream", [0, 1, 10, 1000])
def test_uniform(stream: int) -> None:
    found = numbers(stream=stream)
    assert found.dtype == torch.float32
    assert 0 <= found.min() < found.max() < 1
    distance = stats.kstest(found.double().numpy(), "uniform").statistic
    assert distance < 1.95 / math.sqrt(len(ROWS))  # exceeded once in a thousand
    # the lowest bits are as good as the highest
    low = found * 2**24 % 16
    assert stats.chisquare(torch.bincount(low.long())).pvalue > 0.001


@pytest.mark.parametrize(
    "other",
    [
        numbers().roll(1),  # the next row
        numbers(epoch=1),
        numbers(seed=1),
        numbers(stream=1),
        numbers(epoch=1).roll(1),
        numbers(seed=1, epoch=-1),
        numbers(flipped=True),  # the key of a second view
    ],
    ids=["row", "epoch", "seed", "stream", "row and epoch", "seed and epoch", "second view"],
)
def test_independent(other: Tensor) -> None:
    """Neighbours of every kind fill the cells of a square evenly."""
    cells = (numbers() * 8).long() * 8 + (other * 8).long()
    assert stats.chisquare(torch.bincount(cells, minlength=64)).pvalue > 0.001
