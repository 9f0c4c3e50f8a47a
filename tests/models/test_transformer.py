"""The Transformer by torch's own and by its laws: no look ahead, padding, the cache, batches."""

from __future__ import annotations

import functools
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.encoder_decoder import on_tensors
from hlml.models.transformer import Transformer
from hlml.tokens import BEGIN, END, PAD, UNKNOWN

V = 12
build = functools.partial(Transformer, V, V, width=8, layers=2, heads=2, inner=16, dropout=0.0)
MODELS: dict[str, dict[str, Any]] = {
    "pre": {},
    "post": {"norm": "post", "activation": "gelu", "decoder_layers": 1},
    "rotary": {"positions": "rotary", "tied": False},
    "learned": {"positions": "learned", "longest": 4, "joint": True},
    "none": {"positions": "none"},
    "copying": {"copying": True},
}
every_model = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


def make(**options: Any) -> Transformer:
    torch.manual_seed(0)
    return build(**options).double()


def pairs(*counts: tuple[int, int], highest: int = V + 3) -> tuple[Tensor, Tensor]:
    """Sources and targets of so many tokens, and END or BEGIN; some are in no vocabulary."""
    source = torch.full((len(counts), max(count for count, _ in counts) + 1), PAD)
    target = torch.full((len(counts), max(count for _, count in counts) + 1), PAD)
    for row, (first, second) in enumerate(counts):
        source[row, :first], source[row, first] = torch.randint(4, highest, (first,)), END
        target[row, 0], target[row, 1 : second + 1] = BEGIN, torch.randint(4, highest, (second,))
    return source, target


def torchs(model: Transformer, pre: bool) -> nn.Transformer:
    """torch's Transformer, given the weights of ours."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=pre)
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
    theirs = nn.Transformer(
        *(8, 2, 2, 2, 16, 0.0), batch_first=True, norm_first=pre, custom_encoder=encoder
    ).double()

    def copy(to: Any, *parts: Any) -> None:
        for name in ("weight", "bias"):
            getattr(to, name).data = torch.cat([getattr(part, name).data for part in parts])

    def attention(to: nn.MultiheadAttention, projections: list[Any], output: Any) -> None:
        to.in_proj_weight.data = torch.cat([part.weight.data for part in projections])
        to.in_proj_bias.data = torch.cat([part.bias.data for part in projections])
        copy(to.out_proj, output)

    ours: Any
    to: Any
    for ours, to in zip(model.encoder, encoder.layers, strict=True):
        attention(to.self_attn, [ours.attention.queries_keys_values], ours.attention.output)
        copy(to.linear1, ours.thought[0])
        copy(to.linear2, ours.thought[2])
        copy(to.norm1, ours.first_norm)
        copy(to.norm2, ours.second_norm)
    for ours, to in zip(model.decoder, theirs.decoder.layers, strict=True):
        attention(to.self_attn, [ours.attention.queries_keys_values], ours.attention.output)
        across = ours.across
        attention(to.multihead_attn, [across.queries, across.keys_values], across.output)
        copy(to.linear1, ours.thought[0])
        copy(to.linear2, ours.thought[2])
        for norm, other in zip(ours.norms, (to.norm1, to.norm2, to.norm3), strict=True):
            copy(other, norm)
    if pre:
        copy(theirs.encoder.norm, model.encoder_norm)
        copy(theirs.decoder.norm, model.decoder_norm)
    else:
        theirs.encoder.norm = theirs.decoder.norm = None
    return theirs


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_it_is_torchs_with_the_same_weights(norm: Any) -> None:
    model = make(norm=norm)
    for name, weight in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            nn.init.normal_(weight)
    theirs = torchs(model, norm == "pre")
    source, target = pairs((5, 6), (2, 3), (1, 1))
    assert model.source_embedding is not None
    read, _ = model.source_positions(model.source_embedding(source))
    written, _ = model.target_positions(model.target_embedding(target))
    asked: list[Any] = []
    last: Any = theirs.decoder.layers[-1]
    last.multihead_attn.register_forward_pre_hook(lambda _, given: asked.append(given))
    hidden = theirs(
        *(read, written),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(target.shape[1]).isinf(),
        src_key_padding_mask=source == PAD,
        memory_key_padding_mask=source == PAD,
    )
    expected = hidden @ model.target_embedding.vectors.weight.T
    _, looks = last.multihead_attn(*asked[0], key_padding_mask=source == PAD)
    real = target != PAD
    found = model.write(model.read(source), target, looking=True)
    torch.testing.assert_close(found.scores[real], expected[real])
    torch.testing.assert_close(model(source, target), found.scores)
    assert found.looks is not None
    torch.testing.assert_close(found.looks[real], looks[real])

    share, vectors = torch.randn_like(looks), model.source_embedding.vectors.weight
    for first, second in (found.scores, expected), (found.looks * share, looks * share):
        ours, reference = (
            torch.autograd.grad(y[real].square().sum(), vectors, retain_graph=True)[0]
            for y in (first, second)
        )
        torch.testing.assert_close(ours, reference)


@every_model
def test_nobody_sees_the_future(options: dict[str, Any]) -> None:
    """Whose vectors the scores of a place depend on: gradients that are zero, and some that are
    not."""
    model = make(**options)
    source, target = pairs((4, 6), (3, 6))
    given: list[Tensor] = []

    def keep(_: nn.Module, __: Any, vectors: Tensor) -> None:
        given.append(vectors)

    state = model.read(source)
    hook = model.target_embedding.register_forward_hook(keep)
    scores = model.write(state, target).scores
    hook.remove()
    for place in range(target.shape[1]):
        (gradient,) = torch.autograd.grad(
            scores[:, place].logsumexp(-1).sum(), given[0], retain_graph=True
        )
        assert not gradient[:, place + 1 :].any()
        assert gradient[:, : place + 1].any(-1).all()


@every_model
def test_the_cache_changes_no_score(options: dict[str, Any]) -> None:
    """Token by token, with sentences that leave and change places on the way, as all at once."""
    model = make(**options)
    source, target = pairs((5, 7), (2, 7), (4, 7), (1, 7))
    state, expected = model.read(source), model(source, target)
    rows = torch.arange(4)
    for place, kept in enumerate([[0, 1, 2, 3], [3, 1, 0], [0, 0, 2, 1], [2, 3], [1], [0], [0, 0]]):
        rows, state = rows[kept], on_tensors(state, itemgetter(kept))
        scores, state = model.step(target[rows, place], state)
        torch.testing.assert_close(scores, expected[rows, place])


@every_model
def test_padding_changes_nothing(options: dict[str, Any]) -> None:
    """A sentence in a batch is that sentence alone: its scores, and the gradient of its losses."""
    model = make(**options)
    counts = [(5, 7), (2, 4), (4, 1), (1, 6)]
    source, target = pairs(*counts)
    state = model.read(source)
    together = model.write(state, target, looking=True)
    assert together.looks is not None
    for row, (first, second) in enumerate(counts):
        alone = model.write(
            model.read(source[row : row + 1, : first + 1]),
            target[row : row + 1, : second + 1],
            looking=True,
        )
        width = alone.scores.shape[-1]
        torch.testing.assert_close(together.scores[row, : second + 1, :width], alone.scores[0])
        assert alone.looks is not None
        looks = together.looks[row, : second + 1]
        torch.testing.assert_close(looks[:, : first + 1], alone.looks[0])
        assert not looks[:, first + 1 :].any()


@every_model
def test_losses_are_the_same_in_any_batches(options: dict[str, Any]) -> None:
    """The sum over all target tokens and its gradients, of one batch and of single pairs."""
    model = make(**options)
    counts = [(5, 7), (2, 4), (4, 2), (1, 6)]
    source, target = pairs(*counts, highest=V)

    def loss(rows: list[int], padded: bool) -> Tensor:
        if not padded:
            first, second = counts[rows[0]]
            given, written = source[rows, : first + 1], target[rows, : second + 1]
        else:
            given, written = source[rows], target[rows]
        scores = model(given, written[:, :-1]).flatten(0, 1)
        return F.cross_entropy(scores, written[:, 1:].flatten(), ignore_index=PAD, reduction="sum")

    together = loss([2, 0, 3, 1], True)
    alone = torch.stack([loss([row], False) for row in range(4)]).sum()
    torch.testing.assert_close(together, alone)
    weights = list(model.parameters())
    found, expected = (
        torch.autograd.grad(total, weights, materialize_grads=True) for total in (together, alone)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@every_model
def test_a_gradient_reaches_every_parameter(options: dict[str, Any]) -> None:
    model = make(**options)
    source, target = pairs((5, 7), (4, 6), (3, 5))
    chances = model(source, target).log_softmax(-1)[..., END].sum()
    names, weights = zip(*model.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(chances, weights), strict=True):
        assert gradient.any(), name


def test_words_nobody_knows_are_read_as_unknown() -> None:
    model = make()
    source, target = pairs((5, 6))
    known = [words.masked_fill(words >= V, UNKNOWN) for words in (source, target)]
    assert (source >= V).any() or (target >= V).any()
    torch.testing.assert_close(model(source, target), model(*known))


def test_what_is_shared_is_what_was_asked() -> None:
    """Counted by hand: 12 words of 8 numbers for each vocabulary and for the scores."""

    def words(**options: Any) -> int:
        return sum(w.numel() for w in make(**options).parameters() if w.shape == (V, 8)) // (V * 8)

    assert words() == 2
    assert words(tied=False) == 3
    assert words(joint=True) == 1
    assert words(joint=True, tied=False) == 2


def test_what_cannot_be_is_refused() -> None:
    for option in ("joint", "copying"):
        with pytest.raises(UserError, match=rf"model.{option}=true: .* has 9 words, the target 7"):
            Transformer(9, 7, **{option: True})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"model.layers=0: "):
        build(layers=0)
