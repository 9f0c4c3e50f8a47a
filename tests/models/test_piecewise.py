"""Piecewise linear models: the law of kinks, and the shapes tasks rely on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.models import kinks
from hlml.models.piecewise import ACTIVATIONS, Linear, Piecewise


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_one_number_a_row(activation: str, layers: int) -> None:
    model = Piecewise(5, width=7, layers=layers, activation=activation, dropout=0.5)  # type: ignore[arg-type]
    assert model(torch.randn(4, 5)).shape == (4,)
    assert model(torch.randn(1, 5)).shape == (1,)
    assert Linear(5)(torch.randn(4, 5)).shape == (4,)


def test_the_course_model_has_its_parameters() -> None:
    model = Piecewise(93, width=64)
    assert sum(weight.numel() for weight in model.parameters()) == 6_081


def test_one_layer_is_the_formula_of_the_lecture() -> None:
    model = Piecewise(1, width=9)
    w, b = model.bends[0].weight, model.bends[0].bias
    c, constant = model.sum.weight, model.sum.bias
    x = torch.linspace(-3, 3, 50)
    bent = torch.maximum(torch.zeros(()), b + w.squeeze(1) * x[:, None])
    torch.testing.assert_close(model(x[:, None]), constant + (c.squeeze(0) * bent).sum(1))


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_a_layer_of_w_relus_bends_at_most_w_times(width: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = Piecewise(1, width=width).double().eval()
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)[:, None]
    with torch.no_grad():
        curve = kinks.curve(model, x)
    assert curve is not None
    exact = (-model.bends[0].bias / model.bends[0].weight.squeeze(1)).detach()
    exact = exact[(exact > -4) & (exact < 4)].sort().values
    assert len(curve.kinks) <= width
    step = 8 / 4000
    for kink in exact:  # each is found, to within a step of the line it is looked for on
        assert (curve.kinks - kink).abs().min() <= step
    for kink in curve.kinks:
        assert (exact - kink).abs().min() <= step


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_between_kinks_the_curve_is_a_line(layers: int) -> None:
    torch.manual_seed(layers)
    model = Piecewise(3, width=12, layers=layers).double().eval()
    with torch.no_grad():
        curve = kinks.curve(model, torch.randn(200, 3, dtype=torch.float64))
    assert curve is not None
    ends = [float(curve.x[0]), *curve.kinks.tolist(), float(curve.x[-1])]
    step = float(curve.x[1] - curve.x[0])
    for low, high in pairwise(ends):
        inside = (curve.x > low + step) & (curve.x < high - step)
        if inside.sum() >= 3:
            bend = curve.y[inside].diff().diff().abs().max()
            assert bend < 1e-12


class ByHand(nn.Module):
    """A student's model may call functions in place of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        return self.last(self.second(hidden).relu_()).squeeze(1)


def test_kinks_of_functions_are_seen_as_those_of_layers() -> None:
    model = ByHand()
    layers = nn.Sequential(model.first, nn.ReLU(), model.second, nn.ReLU(), model.last)
    x = torch.linspace(-3, 3, 20)[:, None]
    with torch.no_grad():
        ours = kinks.curve(model, x)
        theirs = kinks.curve(nn.Sequential(layers, nn.Flatten(0)), x)
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours.kinks, theirs.kinks)


def test_without_relus_there_is_no_curve() -> None:
    with torch.no_grad():
        assert kinks.curve(Piecewise(2, activation="sigmoid"), torch.randn(9, 2)) is None
        assert kinks.curve(Linear(2), torch.randn(9, 2)) is None


def test_the_curve_follows_the_input_that_moves_the_output_most() -> None:
    model = Linear(3)
    model.line.weight.data = torch.tensor([[0.1, -2.0, 0.5]])
    relu = nn.Sequential(model, nn.ReLU())
    with torch.no_grad():
        curve = kinks.curve(relu, torch.randn(50, 3))
    assert curve is not None
    assert curve.input == 1
