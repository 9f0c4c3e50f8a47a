"""The regression task: metrics as scikit-learn's, penalties in training only, its figures."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.births import Births
from hlml.errors import UserError
from hlml.figures import curves
from hlml.models.piecewise import Linear, Piecewise
from hlml.task import Progress
from hlml.tasks.regression import Regression

PROGRESS = Progress(step=0, total_steps=1)
DATA = Births(64, lags=3)


def totals(task: Regression, x: Tensor, y: Tensor, size: int) -> dict[str, Tensor]:
    """Statistics added up over batches of `size` rows."""
    parts = [
        task.validation_step(batch) for batch in zip(x.split(size), y.split(size), strict=True)
    ]
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_metrics_are_those_of_scikit_learn_in_births(loss: str) -> None:
    torch.manual_seed(0)
    task = Regression(Linear(3), DATA, loss=loss).eval()  # type: ignore[arg-type]
    x, y = DATA.rows("valid").tensors
    with torch.no_grad():
        ours = task.metrics(totals(task, x, y, 64))
        answers = np.array(task.predict_step((x,)))
        training = float(task.training_step((x, y), "main", PROGRESS))
    truth = y.double().numpy() * DATA.target_std + DATA.target_mean
    assert ours["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, answers))
    assert ours["mae"] == pytest.approx(reference.mean_absolute_error(truth, answers))
    assert ours["r2"] == pytest.approx(reference.r2_score(truth, answers))
    assert ours["loss"] == pytest.approx(training, rel=1e-5)
    assert set(ours) == set(Regression.directions)
    assert next(iter(Regression.directions)) == "rmse"


@settings(max_examples=30)
@given(st.integers(1, 731), st.integers(0, 9))
def test_metrics_do_not_depend_on_the_batches(size: int, seed: int) -> None:
    torch.manual_seed(seed)
    task = Regression(Piecewise(3, width=5), DATA).double().eval()
    x, y = (tensor.double() for tensor in DATA.rows("valid").tensors)
    with torch.no_grad():
        whole = task.metrics(totals(task, x, y, len(x)))
        assert task.metrics(totals(task, x, y, size)) == pytest.approx(whole, rel=1e-12)


def test_one_row_and_equal_targets_have_no_r2() -> None:
    task = Regression(Linear(3), DATA)
    with torch.no_grad():
        found = task.metrics(task.validation_step((torch.randn(1, 3), torch.ones(1))))
    assert np.isnan(found["r2"])
    assert np.isfinite([found["rmse"], found["mae"], found["loss"]]).all()


@pytest.mark.parametrize(("l1", "l2"), [(0.1, 0.0), (0.0, 0.1), (0.2, 0.3)])
def test_penalties_weigh_on_training_and_not_on_validation(l1: float, l2: float) -> None:
    model = Piecewise(3, width=5, layers=2)
    plain, penalised = Regression(model, DATA), Regression(model, DATA, l1=l1, l2=l2)
    batch = (torch.randn(8, 3), torch.randn(8))
    weights = [weight for name, weight in model.named_parameters() if name.endswith("weight")]
    expected = sum(l1 * weight.abs().sum() + l2 * weight.square().sum() for weight in weights)
    difference = penalised.training_step(batch, "main", PROGRESS) - plain.training_step(
        batch, "main", PROGRESS
    )
    torch.testing.assert_close(difference, expected, rtol=1e-5, atol=1e-6)
    assert penalised.validation_step(batch) == plain.validation_step(batch)
    difference.backward()
    assert all(name.endswith("weight") for name, p in model.named_parameters() if p.grad.any())  # type: ignore[union-attr]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_the_loss_is_the_mean_on_standardised_targets(loss: str) -> None:
    task = Regression(Linear(3), DATA, loss=loss)  # type: ignore[arg-type]
    x, y = torch.randn(8, 3), torch.randn(8)
    functions = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
    expected = functions[loss](task.model(x), y)
    assert torch.equal(task.training_step((x, y), "main", PROGRESS), expected)


def test_huber_is_square_within_delta_and_straight_beyond() -> None:
    task = Regression(Linear(3), DATA, loss="huber", delta=0.2)
    with torch.no_grad():
        task.model.line.weight.zero_()
        task.model.line.bias.zero_()
        x, y = torch.zeros(2, 3), torch.tensor([0.1, 5.0])
        found = float(task.training_step((x, y), "main", PROGRESS))
        totals = task.validation_step((x, y))
    assert found == pytest.approx((0.1**2 / 2 + 0.2 * (5 - 0.2 / 2)) / 2)
    assert float(totals["loss"]) == pytest.approx(2 * found)


def test_the_units_travel_with_the_weights() -> None:
    trained = Regression(Linear(3), DATA)
    other = Regression(Linear(3), Births(64, lags=3, valid_days=3000))
    x = (torch.randn(4, 3),)
    assert trained.predict_step(x) != pytest.approx(other.predict_step(x))
    other.load_state_dict(trained.state_dict())
    assert trained.predict_step(x) == other.predict_step(x)


class Column(nn.Module):
    """The mistake everyone makes once."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1]


class Forgetful(nn.Module):
    def forward(self, x: Tensor) -> None:
        x.sum(1)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [(Column(), r"shape \(8, 1\) .*\.squeeze\(1\)"), (Forgetful(), "returned NoneType")],
)
def test_a_wrong_shape_is_an_error_at_the_line_of_forward(model: nn.Module, complaint: str) -> None:
    line = type(model).forward.__code__.co_firstlineno
    place = re.escape(f"{Path(__file__).name}, line {line}: {type(model).__name__}.forward")
    with pytest.raises(UserError, match=rf"{place} .*{complaint}"):
        Regression(model, DATA).training_step((torch.randn(8, 3), torch.randn(8)), "main", PROGRESS)


class Book:
    """Keeps figures as the log book would, and can be asked for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: dict[str, Figure] = {}

    def figure(self, name: str, figure: Figure) -> None:
        figure.savefig(self.folder / f"{name}.png")
        self.figures[name] = figure


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Piecewise(3, width=6, layers=2), {"predicted_and_true", "residuals", "function"}),
        (Piecewise(3, width=90), {"predicted_and_true", "residuals", "function"}),
        (Linear(3), {"predicted_and_true", "residuals"}),
    ],
)
def test_the_last_report_draws_its_figures(
    model: nn.Module, names: set[str], tmp_path: Path
) -> None:
    DATA.place(torch.device("cpu"))
    task, book = Regression(model, DATA).eval(), Book(tmp_path)
    with torch.no_grad():
        task.report(book, DATA, final=False)  # type: ignore[arg-type]
        assert not book.figures
        task.report(book, DATA, final=True)  # type: ignore[arg-type]
    assert set(book.figures) == names
    points = book.figures["predicted_and_true"].axes[0].collections[0].get_offsets()
    truth = DATA.rows("valid").tensors[1].double() * DATA.target_std + DATA.target_mean
    np.testing.assert_allclose(np.asarray(points)[:, 0], truth.numpy())


def test_learning_curves_take_rows_with_gaps() -> None:
    rows = [
        {"step": 1.0, "train/loss": 0.9},
        {"step": 2.0, "valid/loss": 0.5, "valid/rmse": 700.0},
        {"step": 3.0, "train/loss": float("nan")},
        {"step": 4.0, "valid/loss": 0.4, "valid/rmse": 600.0},
    ]
    losses, scores = curves.learning_curves(rows, "rmse").axes
    assert list(losses.get_lines()[-1].get_xdata()) == [2.0, 4.0]
    assert list(scores.get_lines()[0].get_ydata()) == [700.0, 600.0]
    assert np.asarray(scores.collections[0].get_offsets()).tolist() == [[4.0, 600.0]]
    assert curves.learning_curves([], "rmse").axes


def test_learning_curves_of_a_game_show_both_players() -> None:
    rows = [{"step": 1.0, "train/critic/loss": -2.0, "train/generator/loss": 3.0, "valid/gap": 1.0}]
    losses, _ = curves.learning_curves(rows, "gap").axes
    shown = {line.get_label(): list(line.get_ydata()) for line in losses.lines}
    assert shown["critic"] == [-2.0]
    assert shown["generator"] == [3.0]
