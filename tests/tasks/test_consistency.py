"""FixMatch, against a loop over pictures that follows the paper's equations 3 and 4."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from hlml import checkpoint
from hlml.data.images import Pictures
from hlml.errors import UserError
from hlml.phase import Phase
from hlml.task import Progress
from hlml.tasks.consistency import Consistency
from test_resume import same
from toy_pictures import Columns, Small, shifting

PROGRESS = Progress(0, 10)


def data(**options: Any) -> Columns:
    strong = shifting(rotation=20.0, cutout=0.3)
    given = {"augment": shifting(), "strong_view": strong, "unlabelled_ratio": 2}
    return Columns(**given | options)


def first(pictures: Columns) -> Pictures:
    return pictures.splits["train"].batch(pictures.plan(0)[0], 0)


def by_hand(task: Consistency, batch: Pictures, labelled: int) -> tuple[float, float, int]:
    """(loss of labels, loss of consistency, how many were sure), picture by picture."""
    supervised = consistency = 0.0
    sure = 0
    others = len(batch.rows) - labelled
    for place in range(len(batch.rows)):
        weak = task.scores(batch.pictures[place : place + 1])[0].softmax(0).tolist()
        if place < labelled:
            supervised -= math.log(weak[int(batch.labels[place])]) / labelled
        elif max(weak) > task.threshold:
            strong = task.scores(batch.strong[place : place + 1])[0].softmax(0).tolist()  # type: ignore[index]
            consistency -= math.log(strong[weak.index(max(weak))]) / others
            sure += 1
    return supervised, consistency, sure


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_the_loss_is_the_papers(weight: float) -> None:
    toys.seed()
    pictures = data()
    task = Consistency(Small(), pictures, threshold=0.4, weight=weight).eval()
    batch = first(pictures)
    supervised, consistency, sure = by_hand(task, batch, 8)
    assert 0 < sure < 16
    found = task.training_step(batch, "main", PROGRESS).item()
    assert found == pytest.approx(supervised + weight * consistency, rel=1e-5)


def test_shares_of_a_batch_add_up_to_its_loss() -> None:
    """As processes do it: every second row each, weighed by how many items they count."""
    toys.seed()
    pictures = data(batch_size=7)
    task = Consistency(Small(), pictures, threshold=0.4).eval()
    batch = first(pictures)
    whole = task.items(batch) * task.training_step(batch, "main", PROGRESS)
    shares = [Pictures(*(part[n::2] for part in batch)) for n in range(2)]  # type: ignore[index]
    labelled = [int((share.labels >= 0).sum()) for share in shares]
    assert labelled == [4, 3]
    parts = [task.items(share) * task.training_step(share, "main", PROGRESS) for share in shares]
    torch.testing.assert_close(sum(parts), whole)


def test_no_gradient_flows_through_the_weak_view() -> None:
    """With weight alone on unlabelled pictures: the gradient is that of fixed targets."""
    toys.seed()
    pictures = data()
    task = Consistency(Small(), pictures, threshold=0.0).eval()
    batch = first(pictures)
    inputs = batch.pictures.float().requires_grad_()
    task.training_step(batch._replace(pictures=inputs), "main", PROGRESS).backward()
    assert inputs.grad is not None
    assert inputs.grad[:8].any()
    assert not inputs.grad[8:].any()


def test_batch_norm_sees_labelled_weak_and_strong_together() -> None:
    toys.seed()
    pictures = data()
    task = Consistency(Small(), pictures)
    batch = first(pictures)
    task.training_step(batch, "main", PROGRESS)
    assert batch.strong is not None
    everything = torch.cat([batch.pictures.float(), batch.strong[8:].float()])
    x = (everything - pictures.mean[0]) / pictures.std[0]
    seen = task.model.convolution(x).mean((0, 2, 3))  # type: ignore[operator]
    momentum = task.model.norm.momentum  # type: ignore[union-attr]
    torch.testing.assert_close(task.model.norm.running_mean, seen * momentum, atol=1e-5, rtol=1e-4)  # type: ignore[arg-type]


def test_the_share_of_sure_answers_is_counted_between_reports() -> None:
    toys.seed()
    pictures = data()
    task = Consistency(Small(), pictures, threshold=0.4)
    batch = first(pictures)
    for _ in range(2):
        task.training_step(batch, "main", PROGRESS)
    task.eval()
    with torch.no_grad():  # as when threads are chosen: nothing is counted
        task.training_step(batch, "main", PROGRESS)
    assert task.sure[1] == 32

    class Book:
        def __init__(self) -> None:
            self.step, self.kept = 3, dict[str, float]()

        def scalars(self, step: int, values: dict[str, float]) -> None:
            self.kept.update(values)

        def figure(self, name: str, figure: object) -> None: ...

    book = Book()
    share = float(task.sure[0] / 32)
    task.report(book, pictures, final=False)  # type: ignore[arg-type]
    assert book.kept == {"consistency/sure": share}
    assert not task.sure.any()


def test_a_resumed_run_is_the_whole_one_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hlml.tasks.classifier_report.what_the_model_sees", lambda *_: None)  # slow

    def start() -> tuple[Consistency, Columns, dict[str, Phase]]:
        toys.seed()
        pictures = data()
        main = Phase(functools.partial(torch.optim.Adam, lr=1e-2))
        return Consistency(Small(dropout=0.2), pictures, threshold=0.5), pictures, {"main": main}

    toys.fit(tmp_path / "whole", *start(), epochs=3, validate_every=2)
    end = checkpoint.load(tmp_path / "whole" / "last.pt")
    for stop in (1, 4, 7):
        toys.fit(tmp_path / str(stop), *start(), at=stop, epochs=3, validate_every=2)
        state = checkpoint.load(tmp_path / str(stop) / "last.pt")
        toys.fit(tmp_path / str(stop), *start(), state=state, epochs=3, validate_every=2)
        same(end, checkpoint.load(tmp_path / str(stop) / "last.pt"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"unlabelled_ratio": 0}, r"data\.unlabelled_ratio"),
        ({"strong_view": None}, r"data\.strong_view"),
        ({"augment": None}, "augment"),
    ],
)
def test_what_it_cannot_do_without_is_named(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Consistency(Small(), data(**options))
