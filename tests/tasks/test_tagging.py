"""Tagging: torch's loss and scikit-learn's metrics over real frames, however they are batched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor, nn
from torch.nn import functional as F

import toys
from hlml import checkpoint, smoothing
from hlml.data.sequences import UNKNOWN, Sequences
from hlml.error_rates import edit_distances, without_repeats
from hlml.errors import UserError
from hlml.task import Progress
from hlml.tasks.tagging import Tagging
from toy_speech import FEATURES, PHONES, Small, Utterances

PROGRESS = Progress(step=0, total_steps=1)
KINDS: Any = ["none", "aba", "viterbi"]


def padded(batch: Sequences, more: int) -> Sequences:
    """The same with so many frames more behind the ends, and something in all of them."""
    frames = F.pad(batch.frames, (0, 0, 0, more))
    mask = F.pad(batch.mask, (0, more))
    frames[~mask] = 1e3
    if batch.labels.dim() == 1:
        return Sequences(frames, mask, batch.labels, batch.rows)
    return Sequences(frames, mask, F.pad(batch.labels, (0, more), value=UNKNOWN), batch.rows)


def sums(task: Any, data: Utterances, size: int, split: Any = "valid") -> dict[str, Tensor]:
    """Statistics added up over batches of so many utterances."""
    rows = data.splits[split]
    parts = [task.validation_step(rows.batch(n, 0)) for n in torch.arange(len(rows)).split(size)]
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


def whole(data: Utterances, split: Any = "valid") -> Sequences:
    return data.splits[split].batch(torch.arange(len(data.splits[split])), 0)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_the_loss_is_torchs_over_the_frames_that_have_a_label(
    label_smoothing: float, unknown: float
) -> None:
    data = Utterances(unknown=unknown)
    task = Tagging(Small(), data, label_smoothing).eval()
    batch = next(data.windows(0, 1))[0]
    known = batch.labels >= 0
    with torch.no_grad():
        scores = task.model((batch.frames[known] - data.mean) / data.std, None)
        expected = F.cross_entropy(scores, batch.labels[known], label_smoothing=label_smoothing)
        torch.testing.assert_close(task.training_step(batch, "main", PROGRESS), expected)
    assert task.items(batch) == int(known.sum())


@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_single_frames_mean_what_utterances_mean(unknown: float) -> None:
    """All frames with their neighbours, one by one, have the loss of all utterances."""
    losses = []
    for unit in ("utterance", "frame"):
        torch.manual_seed(0)
        data = Utterances(unit=unit, context=2, unknown=unknown)  # type: ignore[arg-type]
        task = Tagging(Small(5 * FEATURES), data).double().eval()
        rows = data.rows("train")
        batch = rows.batch(torch.arange(len(rows)), 0)
        batch = batch._replace(frames=batch.frames.double())
        with torch.no_grad():
            losses.append((float(task.training_step(batch, "main", PROGRESS)), task.items(batch)))
    assert losses[0] == pytest.approx(losses[1])


def test_metrics_are_those_of_scikit_learn() -> None:
    torch.manual_seed(1)
    data = Utterances(unknown=0.2)
    task = Tagging(Small(), data, label_smoothing=0.3).eval()
    batch = whole(data)
    with torch.no_grad():
        found = task.metrics(sums(task, data, 4))
        answers = task.predict_step(batch)
        likely = task.scores(batch).double().softmax(2)
    known = batch.labels >= 0
    truth, guess = batch.labels[known], torch.cat([torch.tensor(row) for row in answers])
    guess = guess[known[batch.mask]]
    assert 0.1 < found["accuracy"] < 0.9
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["recall"] == pytest.approx(reference.balanced_accuracy_score(truth, guess))
    expected = reference.log_loss(truth, likely[known], labels=list(range(PHONES)))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    errors = phones = 0
    for row, answer in zip(batch.labels, answers, strict=True):
        known = row[: len(answer)] >= 0
        heard, said = torch.tensor(answer)[known].numpy(), row[: len(answer)][known].numpy()
        parts = [without_repeats(heard)], [without_repeats(said)]
        errors, phones = errors + int(edit_distances(*parts)[0]), phones + len(parts[1][0])
    assert found["per"] == pytest.approx(errors / phones)
    assert set(found) == set(Tagging.directions)
    assert next(iter(Tagging.directions)) == "accuracy"


@settings(max_examples=10)
@given(st.integers(1, 9), st.sampled_from(KINDS))
def test_neither_batches_nor_padding_change_the_metrics(size: int, kind: Any) -> None:
    torch.manual_seed(0)
    data = Utterances(unknown=0.1)
    task = Tagging(Small(attention=True), data, smoothing=kind).double().eval()
    batch = whole(data)
    with torch.no_grad():
        found = task.metrics(sums(task, data, size))
        at_once = task.validation_step(batch)
        more = task.validation_step(padded(batch, 5))
        assert task.predict_step(padded(batch, 5)) == task.predict_step(batch)
    assert found == pytest.approx(task.metrics(at_once), rel=1e-9)
    for name, value in more.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, at_once[name])


def test_padding_changes_no_gradient() -> None:
    data = Utterances()
    task = Tagging(Small(attention=True), data)
    batch = next(data.windows(0, 1))[0]
    gradients = []
    for some in (batch, padded(batch, 4)):
        task.zero_grad()
        task.training_step(some, "main", PROGRESS).backward()
        gradients.append([weight.grad for weight in task.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_changes_answers_and_their_scores_alone(kind: Any) -> None:
    torch.manual_seed(0)
    data = Utterances(noise=4)
    plain, task = Tagging(Small(), data).eval(), Tagging(Small(), data, smoothing=kind).eval()
    task.load_state_dict(plain.state_dict())  # a saved run can be smoothed later
    batch = whole(data)
    with torch.no_grad():
        scores = task.scores(batch)
        answers, raw = task.predict_step(batch), scores.argmax(2)
        found, without = task.metrics(sums(task, data, 9)), plain.metrics(sums(plain, data, 9))
        training = [one.training_step(batch, "main", PROGRESS) for one in (plain, task)]
    expected = {
        "none": raw,
        "aba": smoothing.aba(raw, batch.mask),
        "viterbi": smoothing.viterbi(scores.log_softmax(2), task.steps, batch.mask),
    }[kind]
    lengths = data.splits["valid"].lengths.tolist()
    assert answers == [r[:length].tolist() for r, length in zip(expected, lengths, strict=True)]
    assert found["loss"] == without["loss"]
    assert torch.equal(*training)
    assert (found["per"] < without["per"]) == (kind != "none")
    assert found["accuracy"] == float((expected == batch.labels)[batch.mask].double().mean())


def test_a_batch_without_labels_moves_nothing() -> None:
    """One process's share of a ragged batch may be so, and it still owes every gradient."""
    data = Utterances()
    task = Tagging(Small(), data)
    batch = next(data.windows(0, 1))[0]
    nothing = batch._replace(labels=torch.full_like(batch.labels, UNKNOWN))
    assert task.items(nothing) == 0
    loss = task.training_step(nothing, "main", PROGRESS)
    loss.backward()
    assert loss == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in task.parameters())


@settings(max_examples=20)
@given(st.integers(0, 30), st.integers(0, 7), st.integers(0, 10**6))
def test_masks_hide_stretches_in_training_and_only_there(time: int, width: int, seed: int) -> None:
    """Twice at most `time` frames, and a fifth of the utterance; twice at most `width` features,
    the same in all frames that are joined."""
    torch.manual_seed(seed)
    data = Utterances(context=1)
    task = Tagging(Small(3 * FEATURES), data, time_mask=time, feature_mask=width)
    batch = whole(data, "train")
    plain, shown = task.shown(batch, training=False), task.shown(batch, training=True)
    assert torch.equal(plain, Tagging(Small(3 * FEATURES), data).shown(batch, training=True))
    hidden = (shown != plain).reshape(*batch.mask.shape, 3, FEATURES)
    assert (shown == 0)[shown != plain].all()
    for row, length in zip(hidden, data.splits["train"].lengths.tolist(), strict=True):
        row = row[:length]
        frames, features = row.all(dim=(1, 2)), row.all(dim=(0, 1))
        expected = frames[:, None, None] | features
        assert torch.equal(row, expected.expand_as(row))
        if not features.all():
            assert frames.sum() <= 2 * min(time, length // 5)
        if not frames.all():
            assert features.sum() <= 2 * width
    if time >= 4 and width == 0:
        assert hidden.any()


def test_the_units_travel_with_the_weights() -> None:
    one, two = Tagging(Small(), Utterances()).eval(), Tagging(Small(), Utterances(noise=9)).eval()
    batch = whole(Utterances())
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one.scores(batch), two.scores(batch))


@pytest.mark.parametrize("unit", ["utterance", "frame"])
def test_a_resumed_run_is_the_uninterrupted_one(unit: Any, tmp_path: Path) -> None:
    """Dropout and masks are drawn on from where they stopped."""

    def start() -> tuple[Tagging, Utterances]:
        toys.seed()
        data = Utterances(unit=unit, batch_size=6 if unit == "utterance" else 60)
        task = Tagging(Small(dropout=0.2), data, time_mask=3, feature_mask=2)
        task._pictured = True  # there is nothing to see here
        return task, data

    options: Any = {"epochs": 2}
    whole = toys.fit(tmp_path / "whole", *start(), toys.one_phase(), **options)
    toys.fit(tmp_path / "half", *start(), toys.one_phase(), at=whole.total_steps // 2, **options)
    state, _ = checkpoint.load_newest(tmp_path / "half" / "last.pt")
    fresh = start()
    toys.seed(99)
    toys.fit(tmp_path / "half", *fresh, toys.one_phase(), state=state, **options)
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "half")]
    assert all(torch.equal(ends[0]["task"][key], ends[1]["task"][key]) for key in ends[0]["task"])


class Transposed(nn.Module):
    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return frames[..., :PHONES].transpose(1, 2)


class Forgetful(nn.Module):
    def forward(self, frames: Tensor, mask: Tensor) -> None:
        frames.sum()


@pytest.mark.parametrize(
    ("model", "found"), [(Transposed(), r"shape \(9, 4, 17\)"), (Forgetful(), "NoneType")]
)
def test_a_wrong_shape_is_an_error_at_the_line_of_forward(model: nn.Module, found: str) -> None:
    line = type(model).forward.__code__.co_firstlineno
    place = re.escape(f"{Path(__file__).name}, line {line}: {type(model).__name__}.forward")
    data = Utterances()
    with pytest.raises(UserError, match=rf"{place} returned {found} for 9 rows.*\(9, 17, 4\)"):
        Tagging(model, data).training_step(whole(data), "main", PROGRESS)


def test_utterances_with_one_label_are_refused() -> None:
    with pytest.raises(UserError, match="task=identification"):
        Tagging(Small(), Utterances(one_label=True))
