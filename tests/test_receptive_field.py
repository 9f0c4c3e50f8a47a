"""Receptive fields: the formula and the gradient's support, which know nothing of each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.gradient_support import UNSEEN, PositiveTwin, spans
from hlml.layer_table import Table, describe
from hlml.models.convolutional import CNN
from hlml.models.residual import ResNet
from hlml.models.vision_transformer import VisionTransformer
from hlml.receptive_field import Field, Formula


def fields(model: nn.Module, *shape: int) -> list[Field | None]:
    """By formula, of every layer of a Sequential."""
    x = torch.randn(2, *shape)
    with torch.no_grad(), Formula(x) as formula:
        found = []
        for layer in model:
            x = layer(x)
            found.append(formula.of(x))
    return found


def agreed(model: nn.Module, *shape: int) -> Table:
    table = describe(model, torch.randn(2, *shape))
    assert table.disagreements == []
    return table


def sees(table: Table) -> list[str]:
    return [row.sees for row in table.rows]


def test_the_lectures_example() -> None:
    """Two 3 x 3 convolutions see 5 x 5; with a stride in between, 7 x 7."""
    assert sees(agreed(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)), 1, 9, 9)) == [
        "3 x 3",
        "5 x 5",
    ]
    strided = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Conv2d(2, 2, 3))
    assert sees(agreed(strided, 1, 15, 15)) == ["3 x 3", "7 x 7"]


def test_a_published_network() -> None:
    """VGG-16's last pooling sees 212 x 212 (Araujo et al. 2019, "Computing receptive fields")."""
    layers: list[nn.Module] = []
    for convolutions in (2, 2, 3, 3, 3):
        layers += [nn.Conv2d(1, 1, 3, padding=1) for _ in range(convolutions)] + [nn.MaxPool2d(2)]
    found = fields(nn.Sequential(*layers), 1, 224, 224)[-1]
    assert found is not None
    assert (found.down.size, found.down.jump) == (212, 32)


def window(draw: st.DrawFn, channels: int, shape: tuple[int, int]) -> nn.Module | None:
    """A convolution or a pooling that fits, of any kind."""
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = draw(st.integers(1, 2))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    reach = [s + 2 * p - (k - 1) * dilation for s, p, k in zip(shape, padding, kernel, strict=True)]
    if min(reach) < 1:
        return None
    kind = draw(st.sampled_from(["conv", "same", "pad", "max", "mean"]))
    if kind == "same":
        return nn.Conv2d(channels, 4, kernel, 1, "same", dilation)
    if kind == "pad":
        return nn.ZeroPad2d((0, *kernel, 1))
    if kind == "max":
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=False)
    if kind == "mean":
        return nn.AvgPool2d(kernel, stride, padding, ceil_mode=draw(st.booleans()))
    return nn.Conv2d(channels, 4, kernel, stride, padding, dilation, groups=channels)


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, tuple[int, int]]:
    shape = (draw(st.integers(6, 24)), draw(st.integers(6, 24)))
    model, maps = nn.Sequential(), torch.zeros(2, 4, *shape)
    for _ in range(draw(st.integers(1, 5))):
        layer = window(draw, 4, tuple(maps.shape[-2:]))
        if layer is not None:
            model.append(layer)
            model.append(draw(st.sampled_from([nn.ReLU(), nn.BatchNorm2d(4), nn.Tanh()])))
            maps = layer(maps)
    ends = [[nn.AdaptiveAvgPool2d(1), nn.Flatten()], [nn.Flatten()], [nn.Flatten(2)], []]
    model.extend(draw(st.sampled_from(ends)))
    return model, shape


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # with an even kernel
@settings(max_examples=80)
@given(networks())
def test_formula_and_gradients_agree(network: tuple[nn.Sequential, tuple[int, int]]) -> None:
    model, shape = network
    agreed(model, 4, *shape)


class Branches(nn.Module):
    """Two ways that are added, put side by side, or one that gates the other."""

    def __init__(self, one: nn.Module, other: nn.Module, how: str) -> None:
        super().__init__()
        self.one, self.other, self.how, self.after = one, other, how, nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.one(x), self.other(x)
        if self.how == "cat":
            return self.after(torch.cat([one[:, :2], other[:, 2:]], 1))
        return self.after(one + other if self.how == "add" else one * torch.sigmoid(other))


@settings(max_examples=30)
@given(
    st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.sampled_from(["add", "cat", "gate"])
)
def test_through_branches_goes_the_largest(one: int, other: int, stride: int, how: str) -> None:
    left, right = (nn.Conv2d(4, 4, 2 * r + 1, stride, r) for r in (one, other))
    table = agreed(Branches(left, right, how), 4, 23, 23)
    size = 2 * max(one, other) + 1 + 2 * stride
    assert sees(table)[-1] == f"{size} x {size}"


@pytest.mark.parametrize("shortcut", ["pad", "projection", "none"])
def test_residual_networks(shortcut: Any) -> None:
    table = agreed(ResNet(1, 40, 4, 14, 2, shortcut), 1, 40, 40)
    assert [name for name in sees(table) if name != "whole"][:5] == [
        *("3 x 3", "5 x 5", "7 x 7", "9 x 9", "11 x 11")
    ]


def test_patches_see_themselves_until_they_look_at_each_other() -> None:
    table = agreed(VisionTransformer(1, 12, 3, 4, 8, 1, 2), 1, 12, 12)
    fields = {row.name: row.sees for row in table.rows}
    assert fields["layers.0.attention.queries_keys_values"] == "4 x 4"
    assert fields["layers.0.attention.output"] == "whole"
    assert fields["positions"] == ""


class ByHand(nn.Module):
    """A student's forward: functions, slices and shapes in place of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.score = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Linear(4, 2)
        self.look = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(F.conv2d(x, self.weight, stride=1)), 2)
        x = x + F.avg_pool2d(x, 3, stride=1, padding=1)
        x += 1
        x = self.look(F.pad(x, (1, 0, 0, 2))[:, :, ::2, ::2])
        rows = x.permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        return self.score(rows).mean(1)


def test_a_forward_by_hand_is_followed() -> None:
    model = ByHand()
    table = agreed(model, 1, 17, 17)
    assert [(row.name, row.sees) for row in table.rows] == [
        *(("look", "8 x 8"), ("score", "8 x 8"), ("weight", ""))
    ]


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.fft.ifft2(torch.fft.fft2(self.first(x))).real)


def test_what_nobody_knows_a_rule_for_is_not_made_up() -> None:
    assert sees(agreed(Strange(), 1, 9, 9)) == ["3 x 3", "-"]


@pytest.mark.parametrize("wrong", ["size", "jump", "padding"])
def test_a_wrong_formula_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hlml.receptive_field import Axis

    slide = Axis.slide

    def mistaken(axis: Axis, kernel: int, stride: int, padding: int, *rest: int) -> Axis:
        if wrong == "size":
            return slide(axis, kernel + (kernel > 3), stride, padding, *rest)
        if wrong == "jump":
            return slide(axis, kernel, max(1, stride - 1), padding, *rest)
        return slide(axis, kernel, stride, padding + 1, *rest)

    monkeypatch.setattr(Axis, "slide", mistaken)
    model = CNN(1, 40, 2, widths=[2, 2], kernels=[5, 3])
    table = describe(model, torch.randn(2, 1, 40, 40))
    assert table.disagreements
    assert "stages." in table.disagreements[0]


def test_the_twin_cannot_cancel() -> None:
    """Opposite weights, a ReLU that is off and a zero gain hide pixels from a plain gradient."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
    with torch.no_grad():
        model[0].weight[1] = -model[0].weight[0]
        model[0].bias.fill_(-100)
        model[1].weight.zero_()
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert spans(model.double().eval()(x)[..., 1, 1], x) == UNSEEN
    with PositiveTwin():
        assert spans(model(x)[..., 1, 1], x) == ((2, 5), (2, 5))


def test_pixels_that_a_stride_leaves_over_are_not_seen() -> None:
    """28 pixels, pooled by 2, 2 and 4: the last five are never looked at (the course's sample)."""
    table = agreed(CNN(1, 28, 10, [4, 4, 4], pools=[2, 2, 4], head="flatten"), 1, 28, 28)
    assert sees(table)[-1] == "23 x 23"
