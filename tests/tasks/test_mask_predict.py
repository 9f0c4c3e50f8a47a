"""Filling in what is masked: which tokens are, the loss whatever the batch, and the iterations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.pairs import Pairs
from hlml.errors import UserError
from hlml.mask_predict import mask_predict
from hlml.models.nat import MASK, NAT
from hlml.task import Progress
from hlml.tasks import mask_predict as module
from hlml.tasks.mask_predict import MaskPredict, chosen
from hlml.tokens import BEGIN, END, PAD, UNKNOWN
from toy_pairs import Words, glance

START = Progress(0, 10)


def nat(data: Words, **options: Any) -> NAT:
    torch.manual_seed(0)
    small = {"width": 16, "layers": 1, "heads": 2, "longest": 9, "difference": 3, "dropout": 0.0}
    return NAT(**data.sizes(), **{**small, **options})


def task_of(data: Words, **options: Any) -> MaskPredict:
    return MaskPredict(nat(data), data, **options).double().eval()


def whole(data: Words, split: Any = "valid") -> Pairs:
    return data.rows(split).batch(torch.arange(len(data.rows(split))), 0)


def test_any_number_of_tokens_is_masked_and_each_as_often_as_another() -> None:
    """Counts are within 5 standard deviations of what equal chances give."""
    torch.manual_seed(0)
    rows, count = 20_000, 4
    tokens = torch.tensor([[5, 6, 7, 8, PAD, PAD]]).repeat(rows, 1)
    hidden = chosen(tokens)
    assert not hidden[:, count:].any()
    bound = 5 * math.sqrt(rows * 0.25 * 0.75)
    numbers = hidden.sum(1).bincount(minlength=count + 1)
    assert numbers[0] == 0
    assert (numbers[1:] - rows / count).abs().max() < bound
    for number in range(1, count + 1):
        each = hidden[hidden.sum(1) == number, :count].sum(0)
        assert (each - numbers[number] * number / count).abs().max() < bound


def test_the_loss_is_that_of_the_masked_tokens_and_the_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One by one, of a draw that is known; unknown words are the one UNKNOWN."""
    data = Words(names=True)
    task, batch = task_of(data, label_smoothing=0.1, length_weight=0.7), whole(data)
    tokens = task.tokens(batch)
    assert (tokens == UNKNOWN).any()
    hidden = chosen(tokens)
    monkeypatch.setattr(module, "chosen", lambda tokens: hidden)
    total, counted = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(tokens)):
        words = batch.target[row, 1 : int((batch.target[row] != PAD).sum()) - 1]
        words = torch.where(words < len(data.target_vocabulary), words, UNKNOWN)
        given = words.masked_fill(hidden[row, : len(words)], MASK)
        scores, lengths = task.model(batch.source[row : row + 1], given[None])
        for place in hidden[row].nonzero()[:, 0].tolist():
            total += 2 * F.cross_entropy(scores[0, place], words[place], label_smoothing=0.1)
        total -= 0.7 * lengths[0].log_softmax(0)[len(words) - 1]
        counted += len(words) + 1
    assert task.items(batch) == counted
    torch.testing.assert_close(task.training_step(batch, "main", START), total / counted)


@settings(max_examples=8)
@given(st.integers(1, 13), st.integers(0, 3))
def test_neither_batches_nor_padding_change_what_is_measured(size: int, more: int) -> None:
    data = Words()
    task, batch = task_of(data), whole(data)
    with torch.no_grad():
        parts = [data.rows("valid").batch(rows, 0) for rows in torch.arange(13).split(size)]
        sums = [task.validation_step(part) for part in parts]
        source, target = F.pad(batch.source, (0, more)), F.pad(batch.target, (0, more))
        padded = task.validation_step(Pairs(source, target, batch.rows, "valid"))
    for name, value in padded.items():
        torch.testing.assert_close(torch.stack([one[name] for one in sums]).sum(0), value)
    assert list(task.metrics(padded)) == list(task.directions)


def test_a_target_without_a_token_and_one_that_is_too_long_have_a_loss() -> None:
    data = Words()
    task = task_of(data)
    empty = torch.tensor([[BEGIN, END]])
    long = torch.cat([empty[:, :1], torch.full((1, 12), 5), empty[:, 1:]], 1)
    for target in (empty, long):
        batch = Pairs(torch.tensor([[5, END]]), target, torch.tensor([0]), "valid")
        assert task.training_step(batch, "main", START).isfinite()


class Known(NAT):
    """Is sure of a length, and of word 4 + place as much as it was told; keeps what it was shown.

    `sure` (T, V): scores of the words at each place.
    """

    def __init__(self, length: Tensor, sure: Tensor) -> None:
        super().__init__(11, 11, width=4, heads=1, layers=1, longest=length.shape[1])
        self.known, self.sure, self.shown = length, sure, list[Tensor]()

    def lengths(self, state: Any) -> Tensor:
        return self.known

    def fill(self, state: Any, target: Tensor) -> Tensor:
        self.shown.append(target.clone())
        return self.sure[: target.shape[1]].expand(len(target), -1, -1)


def known(*lengths: list[float], places: int = 6) -> Known:
    torch.manual_seed(0)
    return Known(torch.tensor(lengths), torch.randn(places, 11))


SOURCE = torch.tensor([[5, 6, END], [7, END, PAD]])


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 6, 9])
def test_fewer_words_are_masked_each_time_and_the_least_certain(iterations: int) -> None:
    """Of 6 and of 3: floor(n left / iterations), so that with n iterations it is one less each."""
    model = known([0, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0])
    answers = mask_predict(model, SOURCE, iterations, candidates=1)
    scores = model.sure.clone()
    scores[:, [PAD, BEGIN, END]] = -math.inf
    chance, words = scores.log_softmax(1).max(1)
    assert answers == [words.tolist(), words[:3].tolist()]
    useful = [left for left in range(1, iterations) if 6 * left >= iterations]
    assert len(model.shown) == 1 + len(useful)  # who has nothing left to mask is done
    for number, shown in enumerate(model.shown):
        for row, length in enumerate((6, 3)):
            masked = length * (iterations - number) // iterations
            doubtful = chance[:length].argsort()[:masked]
            expected = words[:length].clone()
            expected[doubtful] = MASK
            assert shown[row].tolist() == expected.tolist() + [PAD] * (6 - length)


def test_the_length_is_the_one_whose_words_are_likeliest_on_average() -> None:
    """Not the likeliest length, and not the sum, for which the shorter would win."""
    model = known([0, 3, 0, 2, 0, 0], [0, 3, 0, 2, 0, 0])
    model.sure = torch.zeros(6, 11)
    model.sure[torch.arange(6), torch.arange(4, 10)] = torch.tensor([2.0, 2.0, 9.0, 9.0, 9.0, 9.0])
    assert mask_predict(model, SOURCE, 1, candidates=1) == [[4, 5]] * 2
    assert mask_predict(model, SOURCE, 1, candidates=2) == [[4, 5, 6, 7]] * 2


def test_answers_do_not_depend_on_the_batch() -> None:
    """Other rows are other lengths, more padding, and other candidates side by side."""
    data = Words()
    model, source = nat(data).double().eval(), whole(data).source
    together = mask_predict(model, source, 3, 4)
    for row, answer in enumerate(together):
        assert mask_predict(model, source[row][source[row] != PAD][None], 3, 4) == [answer]


def test_copying_is_learnt_and_written_in_one_iteration() -> None:
    data = Words(turned=False)
    task = MaskPredict(nat(data, width=32), data, iterations=1, length_candidates=1)
    optimizer = torch.optim.Adam(task.parameters(), 0.01)
    letters = torch.arange(UNKNOWN + 1, len(data.target_vocabulary))

    def drawn(rows: int) -> Pairs:
        words = letters[torch.randint(len(letters), (rows, 6))]
        lengths = torch.randint(2, 7, (rows, 1))
        words = words.masked_fill(torch.arange(6) >= lengths, PAD)
        source = F.pad(words, (0, 1)).scatter(1, lengths, END)
        return Pairs(source, F.pad(source, (1, 0), value=BEGIN), torch.arange(rows), "train")

    for _ in range(150):
        optimizer.zero_grad()
        task.training_step(drawn(64), "main", START).backward()
        optimizer.step()
    batch = drawn(100)
    with torch.no_grad():
        answers = task.eval().write(batch, 1)
    wanted = [[word for word in row if word not in (PAD, END)] for row in batch.source.tolist()]
    assert sum(map(list.__eq__, answers, wanted)) > 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, r"^task\.iterations=0: is a count; 1 at least$"),
        ({"length_candidates": 0}, r"^task\.length_candidates=0: is a count; 1 at least$"),
        ({"length_candidates": 10}, r"^task\.length_candidates=10: .* model\.longest=9 lengths"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_of(Words(), **options)


def test_other_models_fill_nothing_in() -> None:
    data = Words()
    for model in (glance(data), nn.Linear(2, 2)):
        with pytest.raises(UserError, match=r"^task=mask_predict: .*choose model=nat"):
            MaskPredict(model, data)
