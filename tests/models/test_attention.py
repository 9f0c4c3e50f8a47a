"""Attention by torch's own, by its laws, and as the convolution it can become."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.errors import UserError
from hlml.models.attention import SelfAttention
from hlml.models.positions import Positions, angles, sinusoidal, turn


def lengths(*counts: int) -> Tensor:
    """The mask of utterances of so many frames."""
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


def band(count: int, window: int) -> Tensor:
    """(T, T): True for pairs that stand at most `window` apart, one pair at a time."""
    return torch.tensor([[abs(i - j) <= window for j in range(count)] for i in range(count)])


def test_it_is_torchs_with_the_same_weights_and_padding() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours.queries_keys_values.load_state_dict(
        {"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias}
    )
    ours.output.load_state_dict(theirs.out_proj.state_dict())
    x, mask = torch.randn(3, 9, 12), lengths(9, 4, 1)
    expected, weights = theirs(x, x, x, key_padding_mask=~mask, average_attn_weights=False)
    torch.testing.assert_close(ours(x, mask)[mask], expected[mask])
    torch.testing.assert_close(ours.weights(x, mask), weights)

    ours(x, mask)[mask].square().sum().backward()
    expected[mask].square().sum().backward()
    assert ours.queries_keys_values.weight.grad is not None
    torch.testing.assert_close(ours.queries_keys_values.weight.grad, theirs.in_proj_weight.grad)


def test_another_order_of_vectors_is_another_order_of_answers() -> None:
    torch.manual_seed(0)
    attention, order = SelfAttention(8, 2), torch.randperm(11)
    x, mask = torch.randn(2, 11, 8), torch.rand(2, 11) > 0.3
    moved = attention(x[:, order], mask[:, order])
    torch.testing.assert_close(moved, attention(x, mask)[:, order])
    hands = angles(11, 4)
    told = attention(x[:, order], mask[:, order], hands)
    assert not torch.allclose(told, attention(x, mask, hands)[:, order], atol=1e-2)


@pytest.mark.parametrize("window", [1, 5, 40])
@pytest.mark.parametrize("count", [1, 7, 31, 200])
def test_a_window_is_full_attention_with_a_band_for_its_mask(window: int, count: int) -> None:
    """Also where it is worked out in blocks, for both outputs and gradients."""
    torch.manual_seed(0)
    near, full = SelfAttention(8, 2, window=window).double(), SelfAttention(8, 2).double()
    full.load_state_dict(near.state_dict())
    mask = lengths(count, max(1, count - 13))
    x = torch.randn(2, count, 8, dtype=torch.float64, requires_grad=True)
    pairs = band(count, window) & mask[:, None] | torch.eye(count, dtype=torch.bool)
    found = near(x, mask), full(x, pairs[:, None])
    torch.testing.assert_close(found[0][mask], found[1][mask])
    first, second = (torch.autograd.grad(y[mask].square().sum(), x)[0] for y in found)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(near(x)[0], full(x, band(count, window)[None, None])[0])


@pytest.mark.parametrize("window", [0, 3])
@pytest.mark.parametrize("rotary", [False, True])
def test_weights_are_shares_and_give_the_answer(window: int, rotary: bool) -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, 2, window=window)
    x, mask, hands = torch.randn(2, 50, 8), lengths(50, 20), angles(50, 4) if rotary else None
    weights = attention.weights(x, mask, hands)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 50))
    assert not weights[1, :, :20, 20:].any()
    value = attention.queries_keys_values(x)[..., 16:].unflatten(-1, (2, 4)).transpose(1, 2)
    answer = attention.output((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, mask, hands)[mask], answer[mask])


@pytest.mark.parametrize("window", [0, 2])
@pytest.mark.parametrize("count", [12, 90])
def test_all_have_something_to_look_at(
    window: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding too, and utterances of no frames: some of torch's kernels would give a nan."""
    torch.manual_seed(0)
    masks: list[Tensor] = []
    fused = F.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
        masks.append(mask)
        return fused(query, key, value, mask, dropout)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    attention = SelfAttention(8, 2, window=window)
    x, mask = torch.randn(3, count, 8, requires_grad=True), lengths(count, 3, 0)
    attention(x, mask).sum().backward()
    assert masks[0].any(-1).all()
    torch.testing.assert_close(attention.weights(x, mask).sum(-1), torch.ones(3, 2, count))
    gradients = [x.grad, *(weight.grad for weight in attention.parameters())]
    assert all(one is not None and one.isfinite().all() for one in gradients)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_is_attention_at_fixed_distances(kernel: int) -> None:
    """Cordonnier et al. 2020: a head for each place of the kernel, which asks for one distance
    whatever the frames say. Rotary positions let it: the query is a key, turned that far."""
    torch.manual_seed(0)
    channels, frames, sure = 8, 20, 300.0
    convolution = nn.Conv1d(channels, 6, kernel, padding=kernel // 2).double()
    attention = SelfAttention(kernel * channels, kernel).double()
    keys = sure * torch.cat([torch.ones(channels // 2), torch.zeros(channels // 2)]).double()
    hand = angles(2, channels)[1].double()
    with torch.no_grad():
        for weight in attention.parameters():
            weight.zero_()
        query, key, _ = attention.queries_keys_values.bias.chunk(3)
        values = attention.queries_keys_values.weight.chunk(3)[2]
        for head in range(kernel):
            mine = slice(head * channels, (head + 1) * channels)
            key[mine], query[mine] = keys, turn(keys[None], (head - kernel // 2) * hand[None])[0]
            values[mine, :channels] = torch.eye(channels)
            attention.output.weight[:6, mine] = convolution.weight[..., head]
        assert convolution.bias is not None
        attention.output.bias[:6] = convolution.bias
    signal = torch.randn(2, frames, channels, dtype=torch.float64)
    # zeros around the signal, as the convolution has them, and room for the other heads' channels
    room = (0, (kernel - 1) * channels, kernel // 2, kernel // 2)
    around = F.pad(signal, room)
    found = attention(around, angles=angles(around.shape[1], channels))
    inside = slice(kernel // 2, kernel // 2 + frames)
    torch.testing.assert_close(
        found[:, inside, :6], convolution(signal.mT).mT, atol=1e-6, rtol=1e-6
    )


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 16, dtype=torch.float64)
    hands = angles(300, 16).double()
    for distance in (0, 1, 17):
        pairs = [(turn(query, hands[i]), turn(key, hands[i + distance])) for i in (0, 5, 250)]
        scores = torch.stack([first @ second for first, second in pairs])
        torch.testing.assert_close(scores, scores[:1].expand(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(turn(query, hands[77]).norm(), query.norm())


def test_sines_by_the_papers_formula() -> None:
    found = sinusoidal(50, 10)
    for place in range(50):
        for pair in range(5):
            angle = place / 10000 ** (2 * pair / 10)
            assert math.isclose(found[place, 2 * pair], math.sin(angle), abs_tol=1e-5)
            assert math.isclose(found[place, 2 * pair + 1], math.cos(angle), abs_tol=1e-5)


def test_what_is_added_is_the_same_for_all_utterances() -> None:
    x = torch.randn(2, 9, 8)
    for kind in ("none", "sinusoidal", "learned", "rotary"):
        positions = Positions(kind, 8, 2, longest=5)  # type: ignore[arg-type]
        moved, hands = positions(x)
        added = moved - x
        torch.testing.assert_close(added[0], added[1], atol=1e-6, rtol=0)
        assert (hands is not None) == (kind == "rotary")
        assert bool(added.any()) == (kind in ("sinusoidal", "learned"))
        if positions.vectors is not None:  # five of them: the last stands for all that follow
            known = positions.vectors[[0, 1, 2, 3, 4, 4, 4, 4, 4]]
            torch.testing.assert_close(added[0], known, atol=1e-6, rtol=0)


def test_widths_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.heads: 5 heads .* model.width=12"):
        SelfAttention(12, 5)
    with pytest.raises(UserError, match=r"rotary: .* model.width=12 / model.heads=4 is no even"):
        Positions("rotary", 12, 4, 10)
