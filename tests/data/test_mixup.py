"""Mixup: the distribution of the weights, and what is mixed with what."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from hlml.data import mixup, randomness

KEYS = randomness.keys(0, 0, torch.arange(40_000))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0, 50.0])
def test_weights_are_beta(alpha: float) -> None:
    _, weights = mixup.partners(KEYS, 10, alpha)
    places = np.linspace(0.001, 0.999, 999)
    found = np.searchsorted(np.sort(weights.numpy()), places) / len(KEYS)
    # Kolmogorov and Smirnov's bound, which one in a thousand samples exceeds
    distance = np.abs(found - stats.beta.cdf(places, alpha, alpha)).max()
    assert distance < 1.95 / math.sqrt(len(KEYS))


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1.0, 1e4])
def test_weights_stay_in_range_at_the_ends(alpha: float) -> None:
    ends = torch.tensor([0.0, 2**-24, 0.25, 0.5, 0.75, 1 - 2**-24])
    weights = mixup.symmetric_beta(torch.cartesian_prod(ends, ends), alpha)
    assert bool(((weights >= 0) & (weights <= 1)).all())  # false for nan


def test_partners_are_any_labelled_row_alike() -> None:
    rows, weights = mixup.partners(KEYS, 50, 1.0)
    assert rows.min() == 0
    assert stats.chisquare(torch.bincount(rows, minlength=50)).pvalue > 0.001
    halves = rows * 2 + (weights < 0.5)
    assert stats.chisquare(torch.bincount(halves, minlength=100)).pvalue > 0.001


def test_a_row_has_the_same_partner_in_any_batch() -> None:
    rows, weights = mixup.partners(KEYS, 50, 0.4)
    some = torch.tensor([9, 3, 3])
    again = mixup.partners(KEYS[some], 50, 0.4)
    assert torch.equal(again[0], rows[some])
    assert torch.equal(again[1], weights[some])


def test_pictures_and_labels_are_mixed_alike() -> None:
    pictures = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    others = pictures.flip(0)
    labels, theirs = torch.tensor([0, 1, 2, 2, -1]), torch.tensor([1, 1, 0, 3, 2])
    weights = torch.tensor([0.25, 0.5, 1.0, 0.0, 0.5])
    mixed, shares = mixup.mix(pictures, others, labels, theirs, weights, 4)
    kept = weights.double().clone()
    kept[4] = 1.0  # nobody says what it shows: whole
    kept = kept[:, None, None, None]
    torch.testing.assert_close(mixed.double(), kept * pictures + (1 - kept) * others)
    assert torch.equal(mixed[2], pictures[2].float())
    assert torch.equal(mixed[3], others[3].float())
    expected = [[0.25, 0.75, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert torch.equal(shares, torch.tensor(expected))
