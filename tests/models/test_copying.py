"""The copy mechanism against a loop, and what it is for: names that nobody knows."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from hlml.models.copying import Copying, copied_words, labels_for_copying
from hlml.models.rnn_seq2seq import RNNSeq2Seq
from hlml.tokens import BEGIN, END, PAD, UNKNOWN

SIZE = 9
SOURCE = torch.tensor([[5, 12, 5, 10, 12, END], [11, 4, END, PAD, PAD, PAD]])


def drawn(dtype: torch.dtype = torch.float64) -> tuple[Copying, Tensor, Tensor, Tensor]:
    """A mechanism, hidden vectors, looks and scores for SOURCE and three words of target."""
    torch.manual_seed(0)
    looks = torch.randn(2, 3, 6).masked_fill((SOURCE == PAD)[:, None], -math.inf).softmax(2)
    hidden, scores = torch.randn(2, 3, 7), torch.randn(2, 3, SIZE)
    return Copying(7, SIZE).to(dtype), hidden.to(dtype), looks.to(dtype), scores.to(dtype)


def test_a_loop_over_every_word_gives_the_same() -> None:
    """And the same slopes."""
    copying, *inputs = drawn()
    hidden, looks, scores = (x.requires_grad_() for x in inputs)
    wanted = torch.zeros(2, 3, SIZE + 6, dtype=torch.float64)
    gate = copying.gate(hidden).sigmoid()
    for row, words in enumerate(SOURCE.tolist()):
        for time in range(3):
            wanted[row, time, :SIZE] += gate[row, time] * scores[row, time].softmax(0)
            for place, word in enumerate(words):
                if word != PAD:
                    answer = word if word < SIZE else SIZE + words.index(word)
                    wanted[row, time, answer] += (1 - gate[row, time, 0]) * looks[row, time, place]
    found = copying(hidden, looks, scores, SOURCE)
    close = functools.partial(torch.allclose, rtol=1e-11, atol=1e-15)
    assert close(found.exp(), wanted)
    possible = wanted.detach() > 0
    assert possible.sum() == 3 * (SIZE + 2) + 3 * (SIZE + 1)  # 12 and 10; 11
    weights = torch.randn(wanted.shape)[possible]
    inputs = [hidden, looks, scores, *copying.parameters()]
    slopes = torch.autograd.grad((found[possible] * weights).sum(), inputs)
    references = torch.autograd.grad((wanted[possible].log() * weights).sum(), inputs)
    assert all(map(close, slopes, references))


@pytest.mark.parametrize("bias", [-200.0, -30.0, 0.0, 30.0, 200.0])
def test_probabilities_add_up_and_slopes_are_numbers_whatever_the_gate_says(bias: float) -> None:
    """Even where one of the two ways is sure to the last bit of float32."""
    copying, hidden, looks, scores = drawn(torch.float32)
    torch.nn.init.constant_(copying.gate.bias, bias)
    hidden, looks, scores = (x.requires_grad_() for x in (hidden, looks, scores))
    found = copying(hidden, looks, scores, SOURCE)
    assert torch.allclose(found.exp().sum(2), torch.ones(2, 3))
    found.mean().backward()
    for x in (hidden, looks, scores, *copying.parameters()):
        assert x.grad is not None
        assert x.grad.isfinite().all()


words = st.lists(st.integers(1, 14), min_size=1, max_size=6)


@given(words, words)
def test_labels_turned_back_are_the_words_that_were_wanted(source: list[int], wanted: list[int]):
    """But for those in no vocabulary and not in the source either, which nobody can write."""
    labels = labels_for_copying(torch.tensor([wanted]), torch.tensor([source]), SIZE)
    found = copied_words(labels.tolist(), torch.tensor([source]), SIZE)
    reachable = [one if one < SIZE or one in source else UNKNOWN for one in wanted]
    assert found == [reachable]


def test_of_a_word_that_stands_twice_the_first_place_is_the_label() -> None:
    """It is the only one whose answer has a probability: see the loop."""
    labels = labels_for_copying(torch.tensor([[12, 10], [12, 11]]), SOURCE, SIZE)
    assert labels.tolist() == [[SIZE + 1, SIZE + 3], [UNKNOWN, SIZE]]


# --- a language in which everybody greets somebody

HELLO, GREETS, IS, GREETED, BY, NOW, WORDS = range(4, 11)


def greetings(names: range, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """ "(hello | now)* X greets Y" -> "Y is greeted by X", names being in no vocabulary."""
    sources, targets = [], []
    for _ in range(count):
        one, two, filling = torch.randint(len(names), (3,), generator=draw).tolist()
        before = [(HELLO, NOW)[filling % 2]] * (filling % 3)
        one, two = names[one], names[two]
        sources.append(torch.tensor([*before, one, GREETS, two, END]))
        targets.append(torch.tensor([BEGIN, two, IS, GREETED, BY, one, END]))
    return torch.nn.utils.rnn.pad_sequence(sources, True, PAD), torch.stack(targets)


@pytest.mark.parametrize("copying", [True, False])
def test_unseen_names_are_copied_and_without_copying_none_is(copying: bool) -> None:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)
    model = RNNSeq2Seq(WORDS, WORDS, embedding=16, width=32, copying=copying, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        source, target = greetings(range(WORDS, WORDS + 500), 32, draw)
        labels = labels_for_copying(target[:, 1:], source, WORDS)
        labels = labels if copying else labels.where(labels < WORDS, UNKNOWN)
        # log-probabilities are their own log_softmax
        loss = F.cross_entropy(model(source, target[:, :-1]).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source, target = greetings(range(WORDS + 500, WORDS + 900), 200, draw)
    with torch.no_grad():
        answers = model(source, target[:, :-1]).argmax(2)
    found = torch.tensor(copied_words(answers.tolist(), source, WORDS))
    right = (found == target[:, 1:])[:, [0, 4]].double().mean()
    assert right > 0.98 if copying else right == 0
    assert (found == target[:, 1:])[:, [1, 2, 3, 5]].all()  # the other words are easy for both
