"""Classification: torch's losses, scikit-learn's metrics, and labels that nobody gave."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.images import Pictures
from hlml.errors import UserError
from hlml.task import Progress
from hlml.tasks.classification import Classification
from hlml.tasks.classifier_report import confusion
from toy_pictures import CLASSES, Columns, Small, shifting

PROGRESS = Progress(step=0, total_steps=1)


def batch(data: Columns, rows: list[int], epoch: int = 0) -> Pictures:
    return data.splits["train"].batch(torch.tensor(rows), epoch)


def standardised(data: Columns, pictures: Tensor) -> Tensor:
    mean, std = (torch.tensor(n).reshape(1, -1, 1, 1) for n in (data.mean, data.std))
    return (pictures.float() - mean) / std


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_is_torchs_on_standardised_pictures(
    smoothing: float, mixup: float, channels: int
) -> None:
    data = Columns(augment=shifting(mixup=mixup), channels=channels)
    task = Classification(Small(channels), data, smoothing).eval()
    some = batch(data, [0, 3, 7, 12])
    assert some.labels.dim() == (2 if mixup else 1)
    with torch.no_grad():
        scores = task.model(standardised(data, some.pictures))
        shares = some.labels if mixup else F.one_hot(some.labels, CLASSES).float()
        shares = shares * (1 - smoothing) + smoothing / CLASSES
        expected = -(shares * scores.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(task.training_step(some, "main", PROGRESS), expected)


def sums(task: Classification, data: Columns, size: int) -> dict[str, Tensor]:
    rows = data.splits["valid"]
    parts = [task.validation_step(rows.batch(n, 0)) for n in torch.arange(len(rows)).split(size)]
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


def test_metrics_and_confusion_are_those_of_scikit_learn() -> None:
    torch.manual_seed(1)
    data = Columns()
    task = Classification(Small(), data, label_smoothing=0.3).eval()
    with torch.no_grad():
        found = task.metrics(sums(task, data, 7))
        whole = next(iter(Columns(batch_size=20).evaluation("valid")))
        answers, likely = task.predict_step(whole), task.probabilities(whole)
    truth = whole.labels.numpy()
    assert 0.1 < found["accuracy"] < 0.9
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, answers))
    assert found["recall"] == pytest.approx(reference.balanced_accuracy_score(truth, answers))
    likely = likely.double() / likely.double().sum(1, keepdim=True)
    assert found["loss"] == pytest.approx(reference.log_loss(truth, likely), rel=1e-5)
    counts = confusion(whole.labels, torch.tensor(answers), CLASSES)
    np.testing.assert_array_equal(counts.numpy(), reference.confusion_matrix(truth, answers))
    assert set(found) == set(Classification.directions)
    assert next(iter(Classification.directions)) == "accuracy"


@settings(max_examples=20)
@given(st.integers(1, 20))
def test_metrics_do_not_depend_on_the_batches(size: int) -> None:
    torch.manual_seed(0)
    data = Columns()
    task = Classification(Small(), data).eval()
    with torch.no_grad():
        whole = task.metrics(sums(task, data, 20))
        assert task.metrics(sums(task, data, size)) == pytest.approx(whole, rel=1e-5)


def test_a_class_without_rows_has_no_part_in_the_recall() -> None:
    data = Columns()
    task = Classification(Small(), data)
    totals = {
        "rows": torch.tensor([4.0, 0.0, 2.0]),
        "right": torch.tensor([3.0, 0.0, 2.0]),
        "loss": torch.tensor(1.0),
    }
    assert task.metrics(totals)["recall"] == pytest.approx((0.75 + 1) / 2)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_pictures_without_labels_reach_no_loss(mixup: float) -> None:
    """Their pixels are poisoned: one that is read makes the loss not a number."""
    data = Columns(augment=shifting(mixup=mixup), unlabelled_ratio=2)
    task = Classification(Small(), data)
    rows = data.plan(0)[0]
    mixed = batch(data, rows.tolist())
    poisoned = mixed.pictures.float()
    poisoned[rows >= data.labelled] = torch.nan
    some = mixed._replace(pictures=poisoned)
    assert task.items(some) == 8
    loss = task.training_step(some, "main", PROGRESS)
    only = Pictures(*(part[:8] for part in mixed[:3]))
    assert torch.equal(loss, task.training_step(only, "main", PROGRESS))
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in task.parameters())  # type: ignore[union-attr]


def test_a_batch_without_labels_moves_nothing() -> None:
    """One process's share of a ragged batch may be so, and it still owes every gradient."""
    data = Columns(unlabelled_ratio=2)
    task = Classification(Small(), data)
    some = batch(data, [20, 21, 22])
    assert task.items(some) == 0
    loss = task.training_step(some, "main", PROGRESS)
    loss.backward()
    assert loss == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in task.parameters())


def test_rows_without_labels_are_not_scored() -> None:
    data = Columns()
    task = Classification(Small(), data).eval()
    whole = next(iter(Columns(batch_size=20).evaluation("valid")))
    labels = whole.labels.clone()
    labels[::3] = -1
    with torch.no_grad():
        some = task.validation_step(whole._replace(labels=labels))
        rest = task.validation_step(Pictures(*(part[labels >= 0] for part in whole[:3])))
    assert task.metrics(some) == pytest.approx(task.metrics(rest))


def test_the_units_travel_with_the_weights() -> None:
    trained, other = Columns(), Columns(noise=5)
    assert trained.std != other.std
    some = batch(trained, [0, 1, 2])
    one, two = Classification(Small(), trained).eval(), Classification(Small(), other).eval()
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one.probabilities(some), two.probabilities(some))


def test_uint8_and_float_pictures_are_the_same() -> None:
    data = Columns()
    task = Classification(Small(), data).eval()
    some = batch(data, [0, 1])
    assert some.pictures.dtype == torch.uint8
    as_float = some._replace(pictures=some.pictures.float())
    assert torch.equal(task.probabilities(some), task.probabilities(as_float))


class Transposed(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)[:, :CLASSES].T


class Forgetful(nn.Module):
    def forward(self, pictures: Tensor) -> None:
        pictures.sum()


@pytest.mark.parametrize(
    ("model", "found"), [(Transposed(), r"shape \(3, 4\)"), (Forgetful(), "NoneType")]
)
def test_a_wrong_shape_is_an_error_at_the_line_of_forward(model: nn.Module, found: str) -> None:
    line = type(model).forward.__code__.co_firstlineno
    place = re.escape(f"{Path(__file__).name}, line {line}: {type(model).__name__}.forward")
    data = Columns()
    task = Classification(model, data)
    with pytest.raises(UserError, match=rf"{place} returned {found} for 4 rows.*\(4, 3\)"):
        task.training_step(batch(data, [0, 1, 2, 3]), "main", PROGRESS)


def test_pictures_without_classes_are_refused() -> None:
    data = Columns()
    data.class_names = []
    with pytest.raises(UserError, match="no labels"):
        Classification(Small(), data)
