"""Smoothing of answers: as the course's students write it, and by trying every path."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hlml import smoothing
from toy_speech import PHONES, Utterances


def students(labels: list[int]) -> list[int]:
    """One utterance's labels, changed in place from left to right."""
    answer = list(labels)
    for i in range(1, len(answer) - 1):
        if answer[i - 1] == answer[i + 1] and answer[i] != answer[i - 1]:
            answer[i] = answer[i - 1]
    return answer


def batch(lengths: list[int], draw: torch.Generator, classes: int) -> tuple[Tensor, Tensor]:
    """Random labels (B, T), behind the ends too, and a mask."""
    shape = (len(lengths), max(lengths))
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    return torch.randint(0, classes, shape, generator=draw), mask


@settings(max_examples=100)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 10**6))
def test_aba_is_what_students_do(lengths: list[int], seed: int) -> None:
    labels, mask = batch(lengths, torch.Generator().manual_seed(seed), 2)
    before = labels.clone()
    smooth = smoothing.aba(labels, mask)
    assert torch.equal(labels, before)
    for row, length in enumerate(lengths):
        assert smooth[row, :length].tolist() == students(labels[row, :length].tolist())


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 10**6)
)
def test_no_path_is_better_than_viterbis(lengths: list[int], classes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    _, mask = batch(lengths, draw, 1)
    scores = torch.randn(*mask.shape, classes, generator=draw, dtype=torch.float64)
    steps = torch.randn(classes, classes, generator=draw, dtype=torch.float64)

    def worth(row: int, path: tuple[int, ...]) -> float:
        frames = sum(float(scores[row, t, label]) for t, label in enumerate(path))
        return frames + sum(float(steps[a, b]) for a, b in itertools.pairwise(path))

    found = smoothing.viterbi(scores, steps, mask)
    for row, length in enumerate(lengths):
        every = itertools.product(range(classes), repeat=length)
        best = max(every, key=lambda path: worth(row, path))
        assert tuple(found[row, :length].tolist()) == best


def test_steps_that_are_worth_nothing_change_nothing() -> None:
    scores = torch.randn(3, 9, 5)
    mask = torch.ones(3, 9, dtype=torch.bool)
    found = smoothing.viterbi(scores, torch.zeros(5, 5), mask)
    assert torch.equal(found, scores.argmax(2))


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_steps_are_counted_within_utterances_of_the_training_split(unknown: float) -> None:
    data = Utterances(unknown=unknown)
    expected = torch.zeros(PHONES, PHONES, dtype=torch.float64)
    for row in range(24):
        said = data.splits["train"].batch(torch.tensor([row]), 0).labels[0].tolist()
        for before, after in itertools.pairwise(said):
            if before >= 0 and after >= 0:
                expected[before, after] += 1
    labels, which = data.corpus.labels_of(data.splits["train"].index)
    counts = smoothing.count_steps(labels, which, PHONES)
    assert torch.equal(counts, expected)
    torch.testing.assert_close(smoothing.step_scores(counts).exp().sum(1), torch.ones(4).double())
