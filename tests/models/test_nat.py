"""The decoder that sees all places at once: who sees what, lengths, and torch's own decoder."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from hlml.errors import UserError
from hlml.models.nat import MASK, NAT, FillingLayer
from hlml.tokens import END, PAD, UNKNOWN

Build = functools.partial(
    NAT, 11, 11, width=8, heads=2, inner=12, longest=9, difference=3, dropout=0.0
)
MODELS: dict[str, Callable[[], NAT]] = {
    "pre": Build,
    "post": functools.partial(Build, norm="post", positions="learned", tied=False),
    "rotary": functools.partial(Build, positions="rotary", joint=True, decoder_layers=1),
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
close = functools.partial(torch.allclose, rtol=1e-11, atol=1e-12)

SOURCE = torch.tensor([[4, 9, 12, 5, END], [7, 10, END, PAD, PAD], [END, PAD, PAD, PAD, PAD]])
TARGET = torch.tensor([[5, MASK, 8, MASK], [MASK, 4, PAD, PAD], [MASK, PAD, PAD, PAD]])


def made(build: Callable[[], NAT]) -> NAT:
    torch.manual_seed(0)
    return build().double().eval()


@every_model
def test_every_place_sees_every_other_and_none_sees_padding(
    build: Callable[[], NAT], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By slopes: of the scores at each place to the words at each."""
    model = made(build)
    state, seen = model.read(SOURCE), torch.zeros(3, 4, 4, dtype=torch.bool)
    vectors = model.target_embedding(TARGET.clamp(min=PAD)).detach().requires_grad_()
    monkeypatch.setattr(model.target_embedding, "forward", lambda target: vectors)
    scores = model.fill(state, TARGET.where(TARGET != MASK, 6))  # of what is masked nothing is seen
    for place in range(4):
        here = scores[:, place].square().sum()
        (slopes,) = torch.autograd.grad(here, vectors, retain_graph=True)
        seen[:, place] = slopes.abs().sum(2) > 0
    real = TARGET != PAD
    pairs = real[:, :, None] & real[:, None]
    assert seen[pairs].all()
    assert not seen[real[:, :, None] & ~real[:, None]].any()


@every_model
def test_padding_changes_nothing(build: Callable[[], NAT]) -> None:
    """Of source and of target: a pair alone and among longer ones, lengths included."""
    model = made(build)
    scores, lengths = model(SOURCE, TARGET)
    for row in range(3):
        source, target = SOURCE[row][SOURCE[row] != PAD], TARGET[row][TARGET[row] != PAD]
        alone, length = model(source[None], target[None])
        assert close(alone[0], scores[row, : len(target)])
        assert close(length[0], lengths[row])


def test_a_masked_word_tells_nothing_and_is_no_unknown_one() -> None:
    model = made(Build)
    state = model.read(SOURCE[:1])
    one, other, hidden, unknown = (
        model.fill(state, torch.tensor([[5, word, 8]])) for word in (6, 7, MASK, UNKNOWN)
    )
    assert not close(one, other)
    assert not close(hidden, unknown)
    # outside the vocabulary is UNKNOWN, not MASK
    assert unknown.equal(model.fill(state, torch.tensor([[5, 30, 8]])))


def test_a_length_is_scored_by_what_it_has_more_than_the_source() -> None:
    model = made(Build)
    state = model.read(SOURCE)
    scores, classes = model.lengths(state), model.length(state.mean)
    for row, tokens in enumerate((5, 3, 1)):
        for length in range(1, 10):
            more = max(-3, min(3, length - tokens))
            assert scores[row, length - 1] == classes[row, more + 3]


@pytest.mark.parametrize("pre", [True, False])
def test_a_layer_is_torchs_decoder_layer_without_its_mask(pre: bool) -> None:
    torch.manual_seed(0)
    layer = FillingLayer(8, 2, 12, pre, 0.0, nn.ReLU).double()
    reference = nn.TransformerDecoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=pre).double()
    copies = {
        "self_attn.in_proj_": (layer.attention.queries_keys_values,),
        "self_attn.out_proj.": (layer.attention.output,),
        "multihead_attn.in_proj_": (layer.across.queries, layer.across.keys_values),
        "multihead_attn.out_proj.": (layer.across.output,),
        "linear1.": (layer.thought[0],),
        "linear2.": (layer.thought[2],),
        **{f"norm{number + 1}.": (norm,) for number, norm in enumerate(layer.norms)},
    }
    assert len(copies) * 2 == len(list(reference.parameters()))
    with torch.no_grad():
        for name, modules in copies.items():
            for kind in ("weight", "bias"):
                whole = torch.cat([getattr(module, kind) for module in modules])
                reference.get_parameter(name + kind).copy_(whole)
    x, read = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double()
    mask, source = TARGET != PAD, SOURCE != PAD
    found = layer(x, mask, layer.across.remember(read), source[:, None, None], None)
    wanted = reference(x, read, tgt_key_padding_mask=~mask, memory_key_padding_mask=~source)
    assert close(found[mask], wanted[mask])


def test_what_cannot_be_is_said_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^model\.layers=0: "):
        NAT(5, 6, layers=0)
    with pytest.raises(UserError, match=r"^model\.joint=true: .* 5 words, the target 6; choose"):
        NAT(5, 6, joint=True)
