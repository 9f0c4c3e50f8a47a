"""Identification: the margin of the paper, and error rates that no batching changes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.sequences import Sequences
from hlml.error_rates import equal_error_rate, pairs
from hlml.errors import UserError
from hlml.task import Progress
from hlml.tasks import identification
from hlml.tasks.identification import Identification
from toy_speech import FEATURES, PHONES, Known, Small, Utterances

PROGRESS = Progress(step=0, total_steps=1)


def task_of(known: bool, **options: Any) -> Identification:
    torch.manual_seed(0)
    data = Utterances(one_label=True, **options)
    return Identification(Known() if known else Small(one_label=True), data).double().eval()


def whole(data: Utterances, split: Any = "valid") -> Sequences:
    return data.splits[split].batch(torch.arange(len(data.splits[split])), 0)


def sums(task: Identification, data: Utterances, parts: Any) -> dict[str, Tensor]:
    """Statistics added up over these batches of validation utterances."""
    found = [task.validation_step(data.splits["valid"].batch(rows, 0)) for rows in parts]
    return {name: torch.stack([one[name] for one in found]).sum(0) for name in found[0]}


class Angles(nn.Module):
    """Cosines that are what the utterance's first frame says."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return self.scale * frames[:, 0, :PHONES].cos()


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_the_margin_is_that_of_the_paper(margin: float) -> None:
    """Equation 6 of Wang et al. 2018, written out."""
    data = Utterances(one_label=True)
    task = Identification(Angles(5.0), data, margin=margin)
    batch = whole(data, "train")
    losses = []
    for cosines, label in zip(task.shown(batch, False)[:, 0, :PHONES].cos(), batch.labels):  # noqa: B905
        true = math.exp(5 * (float(cosines[label]) - margin))
        others = sum(math.exp(5 * float(c)) for k, c in enumerate(cosines) if k != label)
        losses.append(-math.log(true / (true + others)))
    loss = task.training_step(batch, "main", PROGRESS)
    assert float(loss.detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert task.items(batch) == len(losses)
    # a learnt scale learns from the margin too
    scale = torch.tensor(5.0, requires_grad=True)
    scores = scale * (
        task.shown(batch, False)[:, 0, :PHONES].cos() - margin * F.one_hot(batch.labels, PHONES)
    )
    (expected,) = torch.autograd.grad(F.cross_entropy(scores, batch.labels), scale)
    loss.backward()
    torch.testing.assert_close(task.model.scale.grad, expected)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_without_a_margin_the_loss_is_torchs(label_smoothing: float) -> None:
    data = Utterances(one_label=True)
    task = Identification(Small(one_label=True), data, label_smoothing).eval()
    batch = whole(data, "train")
    frames = ((batch.frames - data.mean) / data.std) * batch.mask[..., None]
    with torch.no_grad():
        scores = task.model(frames, batch.mask)
        expected = F.cross_entropy(scores, batch.labels, label_smoothing=label_smoothing)
        torch.testing.assert_close(task.training_step(batch, "main", PROGRESS), expected)


@pytest.mark.parametrize("known", [True, False])
def test_metrics_are_those_of_scikit_learn(known: bool) -> None:
    """Vectors are a tagger's own, or the scores of any other model."""
    data = Utterances(one_label=True)
    task = Identification(Known() if known else Small(one_label=True), data, 0.3).double().eval()
    batch = whole(data)
    with torch.no_grad():
        found = task.metrics(sums(task, data, torch.arange(9).split(4)))
        scores = task.scores(batch)
        vectors = scores - scores.mean(1, keepdim=True)
        if isinstance(task.model, Known):
            vectors = task.model.vectors(task.shown(batch, False), batch.mask)
        answers = task.predict_step(batch)
    labels = batch.labels.numpy()
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    expected = reference.log_loss(labels, scores.softmax(1), labels=list(range(PHONES)))
    assert found["loss"] == pytest.approx(expected)
    assert found["eer"] == equal_error_rate(*pairs(vectors, batch.labels))[0]
    assert set(found) == set(Identification.directions)
    assert next(iter(Identification.directions)) == "accuracy"


@settings(max_examples=15)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_the_metrics_do_not_depend_on_the_batches(size: int, seed: int) -> None:
    """Nor on their order, nor on how processes share them."""
    data = Utterances(one_label=True, valid=30)
    task = task_of(known=True, valid=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        at_once = sums(task, data, [torch.arange(30)])
        found = sums(task, data, order.split(size))
    for name, value in found.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, at_once[name])


def test_padding_changes_nothing() -> None:
    task, data = task_of(known=True), Utterances(one_label=True)
    batch = whole(data)
    frames, mask = F.pad(batch.frames, (0, 0, 0, 5)), F.pad(batch.mask, (0, 5))
    frames[~mask] = 1e3
    with torch.no_grad():
        found = task.validation_step(Sequences(frames, mask, batch.labels, batch.rows))
        expected = task.validation_step(batch)
    torch.testing.assert_close(found, expected)


def test_of_many_utterances_the_same_are_always_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there may be, each in a row of its own, whatever batch it came in."""
    monkeypatch.setattr(identification, "MOST_COMPARED", 20)
    task, data = task_of(known=True, valid=70), Utterances(one_label=True, valid=70)
    with torch.no_grad():
        vectors, _ = task.vectors_and_scores(whole(data))
        totals = sums(task, data, torch.arange(70).split(13))
    compared = task.compared(torch.arange(70))
    assert compared.sum() == len(totals["vectors"]) == len(totals["speakers"]) == 20
    seats = task.seats[compared]
    assert seats.sort().values.tolist() == list(range(20))
    torch.testing.assert_close(totals["vectors"][seats], vectors[compared])
    labels = whole(data).labels[compared]
    expected = equal_error_rate(*pairs(vectors[compared], labels))[0]
    assert task.metrics(totals)["eer"] == expected
    assert torch.equal(task_of(known=True, valid=70).seats, task.seats)
    assert "seats" not in task.state_dict()  # a run may be scored on a split of another size


class Wide(nn.Module):
    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return frames[:, 0, :FEATURES]


def test_a_wrong_shape_is_an_error_at_the_line_of_forward() -> None:
    place = re.escape(f"{Path(__file__).name}, line {Wide.forward.__code__.co_firstlineno}: Wide")
    data = Utterances(one_label=True)
    task = Identification(Wide(), data)
    with pytest.raises(UserError, match=rf"{place}.forward returned shape \(9, 5\).*\(9, 4\)"):
        task.training_step(whole(data), "main", PROGRESS)


def test_a_margin_needs_a_cosine() -> None:
    data = Utterances(one_label=True)
    for model in (Small(one_label=True), Known()):
        with pytest.raises(UserError, match=r"margin=0\.2.*model\.cosine=true"):
            Identification(model, data, margin=0.2)
    Identification(Known(cosine=True), data, margin=0.2)


def test_frames_with_labels_of_their_own_are_refused() -> None:
    with pytest.raises(UserError, match="task=tagging"):
        Identification(Small(one_label=True), Utterances())


def test_a_threshold_separates_what_the_vectors_separate() -> None:
    """Vectors that are the speaker's own leave no error; random ones leave every second pair."""
    data = Utterances(one_label=True, valid=400)
    task, labels = task_of(known=True, valid=400), whole(data).labels
    draw = np.random.default_rng(0)
    for vectors, expected in (
        (torch.eye(PHONES)[labels], 0.0),
        (torch.tensor(draw.normal(size=(400, 8))), 0.5),
    ):
        totals = {name: torch.ones(()) for name in ("rows", "right", "loss")}
        totals |= {"vectors": vectors.double(), "speakers": labels.double() + 1}
        assert task.metrics(totals)["eer"] == pytest.approx(expected, abs=0.02)
