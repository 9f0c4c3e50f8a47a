"""Error rates of sequences and of pairs, against slow and against other people's arithmetic."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import cosine_similarity

from hlml.error_rates import (
    edit_distances,
    equal_error_rate,
    pairs,
    phone_errors,
    without_repeats,
)

sequences = st.lists(st.integers(0, 3), max_size=9)


def slow_distance(one: list[int], other: list[int]) -> int:
    """By the definition: the last labels are joined, or one of them is left out."""

    @cache
    def of(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        change = of(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(change, of(i - 1, j) + 1, of(i, j - 1) + 1)

    return of(len(one), len(other))


@settings(max_examples=200)
@given(st.lists(st.tuples(sequences, sequences), max_size=5))
def test_edit_distances_are_those_of_the_definition(
    both: list[tuple[list[int], list[int]]],
) -> None:
    answers, truths = ([np.array(pair[side], dtype=np.int64) for pair in both] for side in (0, 1))
    assert edit_distances(answers, truths).tolist() == [slow_distance(*pair) for pair in both]
    assert edit_distances(truths, answers).tolist() == edit_distances(answers, truths).tolist()


@given(sequences)
def test_repeats_are_joined(labels: list[int]) -> None:
    expected = [label for label, _ in itertools.groupby(labels)]
    assert without_repeats(np.array(labels, dtype=np.int64)).tolist() == expected


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 12))
def test_phone_errors_are_distances_of_joined_labels(seed: int, batch: int, length: int) -> None:
    """Frames that nobody labelled, padding among them, are not there."""
    draw = torch.Generator().manual_seed(seed)
    answers, labels = (torch.randint(0, 3, (batch, length), generator=draw) for _ in range(2))
    labels[torch.rand(batch, length, generator=draw) < 0.3] = -1
    errors = phones = 0
    for answer, truth in zip(answers, labels, strict=True):
        known = truth >= 0
        heard, said = (
            [label for label, _ in itertools.groupby(row[known].tolist())]
            for row in (answer, truth)
        )
        errors, phones = errors + slow_distance(heard, said), phones + len(said)
    assert phone_errors(answers, labels) == (errors, phones)


def reference(scores: np.ndarray, same: np.ndarray) -> float:
    """Where scikit-learn's curve, drawn with straight lines, meets false alarms = misses."""
    accepted, found, _ = roc_curve(same, scores, drop_intermediate=False)
    places = np.arange(len(found))
    gap = lambda at: 1 - np.interp(at, places, found) - np.interp(at, places, accepted)  # noqa: E731
    return float(np.interp(brentq(gap, 0, places[-1], xtol=1e-13), places, accepted))


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([3, 10, 10**6]))
def test_the_equal_error_rate_is_where_scikit_learns_curve_has_it(
    seed: int, number: int, values: int
) -> None:
    """Scores of few values are often equal."""
    draw = np.random.default_rng(seed)
    same = np.arange(number) < draw.integers(1, number)
    scores = draw.integers(0, values, number) / values + 0.3 * same
    rate, threshold = equal_error_rate(torch.tensor(scores), torch.tensor(same))
    assert rate == pytest.approx(reference(scores, same), abs=1e-9)
    # at the threshold a side may already be better than the rate, and just above it, the other
    missed, accepted = (scores[same] < threshold).mean(), (scores[~same] >= threshold).mean()
    assert missed <= rate + 1e-9 <= accepted + 2e-9


def test_pairs_that_are_told_apart_have_no_errors() -> None:
    scores, same = torch.tensor([0.9, 0.7, 0.4, 0.1]), torch.tensor([True, True, False, False])
    assert equal_error_rate(scores, same)[0] == 0
    assert equal_error_rate(-scores, same)[0] == 1


@pytest.mark.parametrize("same", [[True, True], [False, False], []])
def test_pairs_of_one_kind_have_no_rate(same: list[bool]) -> None:
    kinds = torch.tensor(same, dtype=torch.bool)
    assert math.isnan(equal_error_rate(torch.rand(len(same)), kinds)[0])


def test_every_pair_is_scored_once() -> None:
    vectors, labels = torch.randn(7, 4), torch.tensor([0, 1, 0, 2, 1, 0, 3])
    scores, same = pairs(vectors, labels)
    cosines = cosine_similarity(vectors.numpy())
    expected = [
        (cosines[i, j], bool(labels[i] == labels[j]))
        for i, j in itertools.combinations(range(7), 2)
    ]
    np.testing.assert_allclose(scores.numpy(), [cosine for cosine, _ in expected], rtol=1e-5)
    assert same.tolist() == [equal for _, equal in expected]
