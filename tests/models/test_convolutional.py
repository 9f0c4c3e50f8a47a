"""The convolutional network: a special case of a fully connected one, whatever its options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hlml.errors import UserError
from hlml.models.convolutional import CNN
from hlml.models.fully_connected import FullyConnected


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_the_sample_of_the_course_has_its_parameters() -> None:
    sample = CNN(
        3, 128, 11, widths=[64, 128, 256], pools=[2, 2, 4], head="flatten", hidden=[256, 256]
    )
    assert parameters(sample) == 4_634_891


@settings(max_examples=20)
@given(
    widths=st.lists(st.sampled_from([4, 8, 12]), min_size=1, max_size=3),
    depth=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    groups=st.sampled_from([1, 2, 4]),
    norm=st.booleans(),
    head=st.sampled_from(["mean", "flatten"]),
    pooling=st.sampled_from(["max", "mean", "none"]),
    hidden=st.lists(st.sampled_from([5, 7]), max_size=2),
)
def test_parameters_by_the_formula(
    widths: list[int],
    depth: int,
    kernel: tuple[int, int],
    groups: int,
    norm: bool,
    head: Any,
    pooling: Any,
    hidden: list[int],
) -> None:
    """A convolution: k_h k_w C_in / groups + 1 for each channel; batch norm: 2 for each."""
    model = CNN(
        3, 16, 10, widths=widths, depth=depth, kernels=[list(kernel)] * len(widths), groups=groups,
        batch_norm=norm, head=head, pooling=pooling, hidden=hidden,
    )  # fmt: skip
    before, expected, sides = 3, 0, [16, 16]
    for stage, width in enumerate(widths):
        for turn in range(depth):
            inputs = before // (groups if stage or turn else 1)
            expected += width * (kernel[0] * kernel[1] * inputs + 1 + 2 * norm)
            sides = [s + 1 - k % 2 for s, k in zip(sides, kernel, strict=True)]
            before = width
        sides = [s // 2 for s in sides] if pooling != "none" else sides
    features = before if head == "mean" else before * sides[0] * sides[1]
    for width in (*hidden, 10):
        expected += width * (features + 1)
        features = width
    assert parameters(model) == expected
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 10)


@torch.no_grad()
def as_matrix(convolution: nn.Conv2d, shape: tuple[int, int, int]) -> Tensor:
    """The fully connected layer (outputs, inputs) that a convolution is, weight by weight."""
    channels, height, width = shape
    kernel, stride, padding = convolution.kernel_size, convolution.stride, convolution.padding
    rows = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel[1]) // stride[1] + 1
    matrix = torch.zeros(convolution.out_channels, rows, columns, channels, height, width)
    for row in range(rows):
        for column in range(columns):
            for y in range(kernel[0]):
                for x in range(kernel[1]):
                    seen = (row * stride[0] - padding[0] + y, column * stride[1] - padding[1] + x)
                    if 0 <= seen[0] < height and 0 <= seen[1] < width:
                        matrix[:, row, column, :, seen[0], seen[1]] = convolution.weight[:, :, y, x]
    return matrix.flatten(3).flatten(0, 2)


def test_a_convolution_is_a_fully_connected_layer_with_few_weights_that_are_shared() -> None:
    torch.manual_seed(0)
    model = CNN(2, 7, 3, widths=[4], kernels=[[3, 2]], strides=2, padding=1, pooling="none")
    convolution = model.stages[0][0]
    pictures = torch.randn(5, 2, 7, 7)
    matrix = as_matrix(convolution, (2, 7, 7))
    maps = convolution(pictures)
    bias = convolution.bias.repeat_interleave(maps[0, 0].numel())
    torch.testing.assert_close(pictures.flatten(1) @ matrix.T + bias, maps.flatten(1))
    assert matrix.numel() == 4 * 4 * 4 * 2 * 49  # what full connection would learn
    assert len(matrix[matrix != 0].unique()) == convolution.weight.numel() == 4 * 2 * 3 * 2


def test_groups_do_not_hear_each_other() -> None:
    model = CNN(1, 8, 2, widths=[4, 4], groups=2, pooling="none").eval()
    maps = torch.randn(1, 4, 8, 8)
    changed = maps.clone()
    changed[:, :2] += 1  # the first group's channels
    before, after = model.stages[1](maps), model.stages[1](changed)
    assert not torch.equal(before[:, :2], after[:, :2])
    assert torch.equal(before[:, 2:], after[:, 2:])


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_a_picture_that_moves_moves_the_map_and_keeps_its_scores(pooling: Any) -> None:
    """By the stride of the whole stack; at the border, where zeros come in, nothing is promised."""
    torch.manual_seed(0)
    model = CNN(1, 80, 5, widths=[4, 8], kernels=[3, 5], strides=[2, 1], pooling=pooling)
    model.train()(torch.randn(8, 1, 80, 80))  # so that batch norm has something to do
    model.eval()
    picture = torch.zeros(1, 1, 80, 80)
    picture[..., 36:44, 36:44] = torch.randn(8, 8)
    moved = picture.roll((8, -8), (2, 3))  # strides 2, 2 (pool), 1, 2 (pool): a map's pixel is 8
    here, there = model.stages(picture), model.stages(moved)  # a field of 25 x 25: 2 see the border
    torch.testing.assert_close(here.roll((1, -1), (2, 3))[..., 3:-3, 3:-3], there[..., 3:-3, 3:-3])
    torch.testing.assert_close(model(picture), model(moved))
    dense = FullyConnected(1, 80, 5, widths=[16])
    assert (dense(picture) - dense(moved)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 0, "widths": [4] * 4}, r"kernels: in stage 4 the picture is 1 x 1 .* 3 x 3"),
        ({"widths": [4] * 4, "pools": [2, 2, 2, 4]}, r"pools: in stage 4 .* 2 x 2 .* for 4 x 4"),
        ({"kernels": [[30, 3], 3, 3], "padding": 0}, r"stage 1 the picture is 16 x 16 .* 30 x 3"),
        ({"kernels": [3, 3]}, r"kernels: \[3, 3\] names 2, and model.widths has 3 stages"),
        ({"groups": 3}, r"groups: 32 and 64 channels .* 3 groups"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], message: str) -> None:
    size = 16 if "kernels" in options else 22
    with pytest.raises(UserError, match=message):
        CNN(1, size, 10, **options)


def test_signals_keep_their_size_through_many_layers() -> None:
    """He et al.: half the variance is lost in a ReLU, and twice the variance makes up for it."""
    torch.manual_seed(0)
    model = FullyConnected(1, 16, 10, widths=[256] * 30)
    with torch.no_grad():
        x = torch.randn(64, 1, 16, 16)
        first, last = model.body[:2](x), model.body[:-1](x)
    assert 0.5 < last.square().mean() / first.square().mean() < 2
