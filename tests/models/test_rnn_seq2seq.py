"""The recurrent translator: padding is nothing, and a step at a time is the whole at once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hlml.errors import UserError
from hlml.models.encoder_decoder import on_tensors
from hlml.models.rnn_seq2seq import RNNSeq2Seq
from hlml.tokens import BEGIN, END, PAD

Build = functools.partial(RNNSeq2Seq, 13, 11, embedding=6, width=8, dropout=0.0)
MODELS: dict[str, Callable[[], RNNSeq2Seq]] = {
    "dot": functools.partial(Build, attention="dot"),
    "additive": functools.partial(Build, attention="additive", layers=2),
    "none": functools.partial(Build, attention="none", layers=2, tied=False),
    "copying": functools.partial(RNNSeq2Seq, 11, 11, embedding=6, width=8, copying=True),
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
close = functools.partial(torch.allclose, rtol=1e-11, atol=1e-12)

# 11 to 13 are words of no vocabulary
SOURCE = torch.tensor([[4, 9, 12, 5, END], [7, 13, END, PAD, PAD], [END, PAD, PAD, PAD, PAD]])
TARGET = torch.tensor([[BEGIN, 5, 8, 12], [BEGIN, 13, 4, 4], [BEGIN, 9, 9, 7]])


def made(build: Callable[[], RNNSeq2Seq]) -> RNNSeq2Seq:
    torch.manual_seed(0)
    return build().double().eval()


@every_model
def test_padding_changes_nothing(build: Callable[[], RNNSeq2Seq]) -> None:
    """Each source alone is read as it is among longer ones; slopes too."""
    model = made(build)
    written = model.write(model.read(SOURCE), TARGET, looking=True)
    loss = written.scores[..., :11].square().sum()
    together = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    alone: list[Tensor] = []
    for row in range(3):
        source = SOURCE[row][SOURCE[row] != PAD][None]
        one = model.write(model.read(source), TARGET[row : row + 1], looking=True)
        assert close(one.scores[0], written.scores[row, :, : one.scores.shape[2]])
        if written.looks is not None and one.looks is not None:
            assert close(one.looks[0], written.looks[row, :, : source.shape[1]])
            assert not written.looks[row, :, source.shape[1] :].any()
        alone.append(one.scores[..., :11].square().sum())
    apart = torch.autograd.grad(sum(alone), list(model.parameters()), allow_unused=True)
    for one_slope, other in zip(together, apart, strict=True):
        assert (one_slope is None) == (other is None)
        assert one_slope is None or close(one_slope, other)


@every_model
def test_step_by_step_is_all_at_once(build: Callable[[], RNNSeq2Seq]) -> None:
    """Also when rows change places in between, as beams do."""
    model = made(build)
    at_once = model(SOURCE, TARGET)
    state, rows, order = model.read(SOURCE), torch.arange(3), torch.tensor([2, 0, 1])
    for time in range(TARGET.shape[1]):
        scores, state = model.step(TARGET[rows, time], state)
        assert close(scores, at_once[rows, time])
        rows, state = rows[order], on_tensors(state, lambda part: part[order])


@every_model
def test_no_word_is_foreseen(build: Callable[[], RNNSeq2Seq]) -> None:
    model = made(build)
    changed = TARGET.clone()
    changed[:, 2:] = 6
    same = model(SOURCE, TARGET) == model(SOURCE, changed)
    assert same[:, :2].all()
    assert not same[:, 2:].all(2).any()


@every_model
def test_looks_are_shares_of_the_source(build: Callable[[], RNNSeq2Seq]) -> None:
    model = made(build)
    looks = model.write(model.read(SOURCE), TARGET, looking=True).looks
    if model.attention is None:
        assert looks is None
        return
    assert looks is not None
    assert looks.shape == (3, 4, 5)
    assert close(looks.sum(2), torch.ones(3, 4, dtype=torch.float64))


def test_without_attention_only_the_memory_at_the_ends_tells_of_the_source() -> None:
    """And with it, what was read does: the lecture's reason for attention."""
    for build, tells in ((MODELS["none"], False), (MODELS["dot"], True)):
        model = made(build)
        state = model.read(SOURCE)
        other = state._replace(read=state.read + 1)
        assert model.write(state, TARGET).scores.equal(model.write(other, TARGET).scores) != tells


def test_the_reader_is_torchs_packed_gru() -> None:
    """Both directions and both layers, and what each remembers at its end."""
    model = made(functools.partial(Build, layers=2))
    reference = nn.GRU(6, 4, 2, batch_first=True, bidirectional=True).double()
    with torch.no_grad():
        for number, layer in enumerate(model.reader):
            for gru, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
                for name, weight in gru.named_parameters():
                    reference.get_parameter(f"{name[:-1]}{number}{suffix}").copy_(weight)
    lengths = (SOURCE != PAD).sum(1)
    packed = pack_padded_sequence(model.source_embedding(SOURCE), lengths, batch_first=True)
    found, ends = reference(packed)
    wanted, _ = pad_packed_sequence(found, batch_first=True)
    state, real = model.read(SOURCE), SOURCE != PAD
    assert close(state.read[real], wanted[real])
    assert close(state.layers, ends.unflatten(0, (2, 2)).permute(2, 0, 1, 3).flatten(2))


def test_additive_attention_is_the_papers() -> None:
    """v tanh(U h + W e), of Bahdanau et al. 2015, a pair at a time."""
    attention = made(MODELS["additive"]).attention
    assert attention is not None
    hidden, read = torch.randn(2, 3, 8).double(), torch.randn(2, 4, 8).double()
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    looks = attention(hidden, attention.keys(read), mask)
    for row, count in enumerate((4, 2)):
        for time in range(3):
            scores = [
                attention.score((attention.queries(hidden[row, time]) + attention.keys(e)).tanh())
                for e in read[row, :count]
            ]
            assert close(looks[row, time, :count], torch.cat(scores).softmax(0))


def test_what_cannot_be_is_said_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^model\.layers=0: "):
        RNNSeq2Seq(5, 6, layers=0)
    with pytest.raises(UserError, match=r"^model\.width=7: .*even number$"):
        RNNSeq2Seq(5, 5, width=7)
    with pytest.raises(UserError, match=r"^model\.copying=true: .*attention=none.*; choose dot$"):
        RNNSeq2Seq(5, 5, attention="none", copying=True)
    with pytest.raises(UserError, match=r"^model\.copying=true: .* 5 words, the target 6; choose"):
        RNNSeq2Seq(5, 6, copying=True)
