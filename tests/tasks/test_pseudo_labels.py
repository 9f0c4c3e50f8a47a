"""Self-training: when labels are given, to whom, and that a resumed run gives the same."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

import toys
from hlml import checkpoint
from hlml.errors import UserError
from hlml.phase import Phase
from hlml.task import Progress
from hlml.tasks.classification import Classification
from hlml.tasks.pseudo_labels import PseudoLabels
from test_resume import logged, same
from toy_pictures import Columns, Small, shifting


def data(**options: Any) -> Columns:
    return Columns(**{"augment": shifting(), "unlabelled_ratio": 2, **options})


def phases() -> dict[str, Phase]:
    return {"main": Phase(functools.partial(torch.optim.Adam, lr=1e-2))}


class Counted(PseudoLabels):
    """Remembers which steps were over when labels were given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given: list[int] = []
        self.step = -1

    def training_step(self, batch: Any, phase: str, progress: Progress) -> Any:
        self.step = progress.step
        return super().training_step(batch, phase, progress)

    def relabel(self) -> None:
        self.given.append(self.step + 1)
        super().relabel()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("rounds", [1, 3])
def test_labels_are_given_once_where_each_part_begins(accumulate: int, rounds: int) -> None:
    toys.seed()
    pictures = data()
    task = Counted(Small(), pictures, rounds=rounds, threshold=0.5)
    run = toys.fit(None, task, pictures, phases(), epochs=8, accumulate=accumulate)
    total = run.total_steps
    parts = [step * (rounds + 1) // total for step in range(total)]
    assert task.given == [step for step in range(1, total) if parts[step] != parts[step - 1]]
    assert len(task.given) == rounds == int(task.round)


def test_only_what_is_sure_gets_a_label_from_plain_pictures_at_rest() -> None:
    toys.seed()
    pictures = data()
    task = PseudoLabels(Small(dropout=0.5), pictures, threshold=0.4)
    before, buffers = torch.get_rng_state(), task.model.norm.running_mean.clone()  # type: ignore[operator, union-attr]
    task.relabel()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(buffers, task.model.norm.running_mean)  # type: ignore[arg-type]
    assert task.training
    plain = Columns(batch_size=50).splits["train"].batch(torch.arange(20, 50), 0)
    with torch.no_grad():
        sure, label = task.eval().probabilities(plain).max(1)
    assert 0 < int((sure > 0.4).sum()) < 30
    assert torch.equal(task.pseudo, label.where(sure > 0.4, -1))
    quality, truth = task.quality(), pictures.hidden_labels
    right = [int(a) == int(b) for a, b in zip(task.pseudo, truth, strict=True) if a >= 0]  # type: ignore[arg-type]
    assert quality["pseudo/labels"] == len(right)
    assert quality["pseudo/right"] == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_the_loss_is_that_of_the_union(mixup: float) -> None:
    """Rows with a pseudo-label count as labelled ones do, the others not at all."""
    toys.seed()
    pictures = data(augment=shifting(mixup=mixup))
    task = PseudoLabels(Small(), pictures)
    task.pseudo[::3] = torch.arange(10) % 3
    rows = pictures.plan(0)[0]
    batch = pictures.splits["train"].batch(rows, 0)
    truth = torch.cat([pictures.splits["train"].labels[:20], task.pseudo])[rows]
    have = truth >= 0
    assert 8 < int(have.sum()) < 24
    assert task.items(batch) == int(have.sum())
    scores = task.scores(batch.pictures[have])
    one_hot = torch.nn.functional.one_hot(truth[have], 3).float()
    if mixup:
        one_hot[:8] = batch.labels[:8]
    expected = -(one_hot * scores.log_softmax(1)).sum(1).mean()
    found = task.training_step(batch, "main", Progress(0, 100))
    torch.testing.assert_close(found, expected)


def test_a_threshold_that_nothing_passes_leaves_the_labelled_alone(tmp_path: Path) -> None:
    """And the run is that of plain classification."""
    weights = []
    for kind, options in ((PseudoLabels, {"threshold": 1.0}), (Classification, {})):
        toys.seed()
        pictures = data()
        task = kind(Small(dropout=0.2), pictures, **options)  # type: ignore[arg-type]
        toys.fit(None, task, pictures, phases(), epochs=4)
        weights.append(task.model.state_dict())
    same(*weights)


def start() -> tuple[PseudoLabels, Columns]:
    toys.seed()
    pictures = data()
    return PseudoLabels(Small(dropout=0.2), pictures, rounds=2, threshold=0.45), pictures


def test_a_resumed_run_is_the_whole_one_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it was stopped exactly where labels are given."""
    monkeypatch.setattr("hlml.tasks.classifier_report.what_the_model_sees", lambda *_: None)  # slow
    options: dict[str, Any] = {"epochs": 5, "accumulate": 2, "ema": 0.9, "validate_every": 2}
    task, pictures = start()
    whole = toys.fit(tmp_path / "whole", task, pictures, phases(), **options)
    assert (whole.total_steps, int((task.pseudo >= 0).sum()) > 0) == (10, True)
    end = checkpoint.load(tmp_path / "whole" / "last.pt")
    for stop in range(1, whole.total_steps):
        folder = tmp_path / str(stop)
        task, pictures = start()
        toys.fit(folder, task, pictures, phases(), at=stop, **options)
        state, _ = checkpoint.load_newest(folder / "last.pt")
        assert state["step"] == stop
        assert int(state["task"]["round"]) == stop * 3 // 10
        task, pictures = start()
        toys.seed(99)
        toys.fit(folder, task, pictures, phases(), state=state, **options)
        same(end, checkpoint.load(folder / "last.pt"))
        assert logged(tmp_path / "whole") == logged(folder)


def test_without_unlabelled_pictures_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.unlabelled_ratio"):
        PseudoLabels(Small(), Columns())
    with pytest.raises(UserError, match=r"task\.threshold"):
        PseudoLabels(Small(), data(), threshold=1.2)
