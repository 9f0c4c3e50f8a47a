"""A classifier's pictures: what they show is what the model does, for models of any make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from hlml.evaluation import quietly
from hlml.figures import classification as figures
from hlml.figures.mosaic import mosaic
from hlml.tasks import classifier_report as report
from hlml.tasks.classification import Classification
from toy_pictures import CLASSES, SIZE, Columns, Small, shifting

ALWAYS = {"what_the_model_sees", "confusion_matrix", "worst_mistakes", "saliency"}


class Book:
    """Keeps what the log book would, and can be asked for it."""

    step = 5

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: dict[str, Figure] = {}
        self.points: list[Any] = []

    def figure(self, name: str, figure: Figure) -> None:
        figure.savefig(self.folder / f"{name}.png", dpi=40)
        self.figures[name] = figure

    def embedding(self, name: str, *points: Any) -> None:
        self.points = [name, *points]


class Flat(nn.Module):
    """No convolution and no linear layer: a student may do it so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels * SIZE * SIZE, CLASSES))

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1) @ self.weight


@pytest.mark.parametrize(("kind", "channels"), [(Small, 3), (Flat, 1)])
def test_the_last_report(channels: int, kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = Columns(channels=channels, augment=shifting(mixup=0.5), unlabelled_ratio=1)
    task, book = Classification(kind(channels), data), Book(tmp_path)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with quietly(task, torch.device("cpu")):
        task.report(book, data, final=False)  # type: ignore[arg-type]
        assert set(book.figures) == {"what_the_model_sees"}
        task.report(book, data, final=True)  # type: ignore[arg-type]
    more = {"filters", "feature_maps"} if kind is Small else set()
    assert set(book.figures) == ALWAYS | more
    assert all(weight.grad is None for weight in task.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    assert not any(layer._forward_hooks for layer in task.modules())
    assert bool(book.points) == (kind is Small)


def test_the_embedding_is_what_the_last_layer_is_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data, book = Columns(), Book(tmp_path)
    task = Classification(Small(), data).eval()
    with torch.no_grad():
        report._embedding(task, book, data, data.splits["valid"].labels)  # type: ignore[arg-type]
        name, vectors, labels, pictures = book.points
        scores = task.model.linear(vectors)  # type: ignore[operator]
        whole = next(iter(Columns(batch_size=20).evaluation("valid")))
        torch.testing.assert_close(scores.softmax(1), task.probabilities(whole))
    assert labels == [data.class_names[label] for label in whole.labels]
    assert torch.equal(pictures, whole.pictures)
    assert name == "features"


def test_saliency_is_the_slope_of_the_answers_score() -> None:
    """Against differences of the score when a pixel changes."""
    torch.manual_seed(0)
    data = Columns(channels=3)
    task = Classification(Small(3), data).double().eval()
    pictures = data.splits["valid"].read(torch.tensor([4]))
    with torch.no_grad():
        heat, answers = report.saliency(task, pictures)
        for row, column in ((0, 0), (2, 3), (5, 1)):
            slopes = []
            for channel in range(3):
                moved = pictures.double().repeat(2, 1, 1, 1)
                moved[:, channel, row, column] += torch.tensor([-1e-4, 1e-4])
                low, high = task.scores(moved)[:, answers[0]]
                slopes.append(abs(float(high - low)) / 2e-4)
            assert float(heat[0, row, column]) == pytest.approx(max(slopes), rel=1e-3)


def test_the_worst_mistakes_are_the_most_confident_of_the_wrong(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data, book = Columns(), Book(tmp_path)
    labels = data.splits["valid"].labels
    sure = torch.linspace(0.4, 0.9, 20)
    answers = torch.where(torch.arange(20) % 4 == 0, (labels + 1) % CLASSES, labels)
    likely = ((1 - sure) / 2)[:, None].repeat(1, CLASSES)
    likely[torch.arange(20), answers] = sure
    report._worst_mistakes(book, data, likely, labels)  # type: ignore[arg-type]
    shown = [place for place in book.figures["worst_mistakes"].axes if place.images]
    rows = [16, 12, 8, 4, 0]
    assert len(shown) == len(rows)
    pictures = data.splits["valid"].read(torch.tensor(rows))
    for place, row, picture in zip(shown, rows, pictures, strict=True):
        answer, truth = (data.class_names[some[row]] for some in (answers, labels))
        assert place.get_title() == f"{answer} ({100 * sure[row]:.1f} %)\ntrue: {truth}"
        seen = np.asarray(place.images[0].get_array())[:, :, 0]
        np.testing.assert_array_equal(seen, picture[0].numpy())


def test_no_mistakes_leave_the_picture_out(tmp_path: Path) -> None:
    data, book = Columns(), Book(tmp_path)
    labels = data.splits["valid"].labels
    report._worst_mistakes(book, data, torch.eye(CLASSES)[labels], labels)  # type: ignore[arg-type]
    assert not book.figures


@pytest.mark.parametrize("classes", [2, 12, 100])
def test_a_confusion_matrix_of_any_size(classes: int, tmp_path: Path) -> None:
    """Few classes are written out; of many, the most frequent mistakes are named."""
    counts = torch.eye(classes).double() * 9
    counts[0, 1], counts[1, 0] = 5, 3
    names = [f"class {number}" for number in range(classes)]
    figure = figures.confusion_matrix(counts, names)
    figure.savefig(tmp_path / "matrix.png", dpi=40)
    left, right = figure.axes
    shares = np.asarray(left.images[0].get_array())[:2, :2] ** 2
    np.testing.assert_allclose(shares, [[9 / 14, 5 / 14], [3 / 12, 9 / 12]], rtol=1e-6)
    if classes > figures.READABLE:
        assert len(left.get_xticks()) <= figures.MOST_NAMES
        pairs = [label.get_text() for label in right.get_yticklabels()]
        assert pairs == ["class 0 taken for class 1", "class 1 taken for class 0"]
    else:
        assert [text.get_text() for text in left.texts][:2] == ["9", "5"]


def test_a_mosaic_puts_pictures_in_rows() -> None:
    pictures = torch.arange(5 * 3 * 4).reshape(5, 3, 2, 2).byte()
    canvas = mosaic(pictures, columns=3, gap=1)
    assert canvas.shape == (5, 8, 3)
    for number in range(5):
        top, left = number // 3 * 3, number % 3 * 3
        cut = canvas[top : top + 2, left : left + 2].transpose(2, 0, 1)
        np.testing.assert_array_equal(cut, pictures[number].numpy())
    assert (canvas[2] == 255).all()
    assert (canvas[3:, 6:] == 255).all()
