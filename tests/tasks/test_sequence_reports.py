"""The pictures of tagging and identification: they show what the model does, whatever its make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from hlml.evaluation import evaluate, quietly
from hlml.logbook import Logbook
from hlml.tasks import identification_report, sequence_report
from hlml.tasks.identification import Identification
from hlml.tasks.tagging import Tagging
from toy_speech import FEATURES, PHONES, Known, Small, Utterances


class Book:
    """Keeps what the log book would, and can be asked for it."""

    step = 5

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.figures: dict[str, Figure] = {}
        self.texts: dict[str, str] = {}
        self.sounds: dict[str, tuple[Tensor, int]] = {}
        self.points: list[Any] = []

    def figure(self, name: str, figure: Figure) -> None:
        figure.savefig(self.folder / f"{name}.png", dpi=30)
        self.figures[name] = figure

    def text(self, name: str, markdown: str) -> None:
        self.texts[name] = markdown

    def audio(self, name: str, wave: Tensor, rate: int) -> None:
        self.sounds[name] = (wave, rate)

    def embedding(self, name: str, *points: Any) -> None:
        self.points = [name, *points]


def reported(task: Any, data: Utterances, folder: Path) -> Book:
    """Both reports; they leave no trace on the task."""
    book: Any = Book(folder)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with quietly(task, torch.device("cpu")):
        task.report(book, data, final=False)
        assert set(book.figures) == {"what_the_model_sees"}
        task.report(book, data, final=True)
    assert all(weight.grad is None for weight in task.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    found: Book = book
    return found


def texts(figure: Figure, axes: int) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].texts]


@pytest.mark.parametrize("attention", [True, False])
def test_what_a_tagger_reports(attention: bool, tmp_path: Path) -> None:
    """With sound and attention, and with neither."""
    torch.manual_seed(0)
    data = Utterances(audible=attention, unknown=0.1)
    task = Tagging(Small(attention=attention), data, time_mask=3)
    book = reported(task, data, tmp_path)
    always = {"what_the_model_sees", "confusion_matrix", "recall", "utterance"}
    assert set(book.figures) == always | ({"attention"} if attention else set())
    assert len(book.sounds) == (3 if attention else 0)
    batch = data.splits["valid"].batch(torch.tensor([0]), 0)
    with torch.no_grad():
        answers = task.eval().predict_step(batch)[0]
        metrics = evaluate(task, data, "valid")
    assert metrics is not None
    bars = [bar.get_height() for bar in book.figures["recall"].axes[0].patches]
    assert np.mean(bars) == pytest.approx(metrics["recall"], abs=1e-6)
    right = np.mean([a == b for a, b in zip(answers, batch.labels[0].tolist(), strict=True)])
    assert f"{right:.0%}" in book.figures["utterance"].axes[0].get_title(loc="left")
    if attention:
        (weights,) = task.model.maps(task.shown(batch, False), batch.mask)  # type: ignore[operator]
        drawn = np.asarray(book.figures["attention"].axes[2].images[0].get_array()) ** 2
        np.testing.assert_allclose(drawn, weights[0, 0].detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-5)
    names = [data.class_names[answer] for answer in answers]
    joined = [n for i, n in enumerate(names) if i == 0 or names[i - 1] != n]
    assert f"| {' '.join(joined)} |" in book.texts["utterances"].splitlines()[2]


def test_single_frames_are_shown_with_their_neighbours(tmp_path: Path) -> None:
    data = Utterances(unit="frame", context=2, batch_size=20)
    task, book = Tagging(Small(5 * FEATURES), data), Book(tmp_path)
    sequence_report.what_the_model_sees(task, book, data)  # type: ignore[arg-type]
    lines = book.figures["what_the_model_sees"].axes
    batch = next(data.windows(0, 1))[0]
    plain = task.shown(batch, training=False).reshape(20, 5, FEATURES)
    labels = [data.class_names[label] for label in batch.labels.flatten().tolist()]
    assert texts(book.figures["what_the_model_sees"], 0) == labels[:8]
    assert texts(book.figures["what_the_model_sees"], 1) == labels[8 : sequence_report.SEEN_FRAMES]
    for number in range(sequence_report.SEEN_FRAMES):
        image = np.asarray(lines[number // 8].images[0].get_array())
        left = number % 8 * 6
        np.testing.assert_array_equal(image[:, left : left + 5], plain[number].T.numpy())


@pytest.mark.parametrize("known", [True, False])
def test_what_an_identification_reports(known: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = Utterances(one_label=True, audible=known)
    model = Known(pool="attention") if known else Small(one_label=True, attention=True)
    task = Identification(model, data, feature_mask=1)
    book = reported(task, data, tmp_path)
    always = {"what_the_model_sees", "confusion_matrix", "pairs", "listening"}
    assert set(book.figures) == always
    assert len(book.sounds) == (3 if known else 0)
    with torch.no_grad():
        metrics = evaluate(task.eval(), data, "valid")
    assert metrics is not None
    title = book.figures["pairs"].axes[0].get_title(loc="left")
    assert f"{metrics['eer']:.2%}" in title
    name, vectors, labels = book.points
    assert (name, len(vectors), vectors.shape[1]) == ("speakers", 9, 8 if known else PHONES)
    truth = data.corpus.labels[data.splits["valid"].index].tolist()
    assert labels == [data.class_names[label] for label in truth]


def test_the_weights_of_frames_are_the_poolings_own() -> None:
    """The pooled vector is the mean of the frames' with them."""
    torch.manual_seed(0)
    data = Utterances(one_label=True)
    task = Identification(Known(pool="attention"), data).eval()
    batch, _, _ = sequence_report.utterance(data, 1, 1000)
    with torch.no_grad():
        weights = identification_report.pool_weights(task, batch)
        assert weights is not None
        frames = task.model.encode(task.shown(batch, False), batch.mask)[0]  # type: ignore[operator]
        expected = task.vectors_and_scores(batch)[0][0]
        torch.testing.assert_close(weights @ frames, expected)


def test_the_slope_of_the_answers_score() -> None:
    """Against differences of the score when a frame changes."""
    torch.manual_seed(0)
    data = Utterances(one_label=True)
    task = Identification(Small(one_label=True), data).double().eval()
    batch, _, _ = sequence_report.utterance(data, 2, 4)
    batch = batch._replace(frames=batch.frames.double())
    with torch.no_grad():
        shares, answer = identification_report.moving(task, batch)
        slopes = torch.zeros(batch.frames.shape[1], FEATURES)
        for place in np.ndindex(*slopes.shape):
            moved = batch.frames.detach().repeat(2, 1, 1)
            moved[:, place[0], place[1]] += torch.tensor([-1e-5, 1e-5], dtype=torch.float64)
            both = batch._replace(frames=moved, mask=batch.mask.repeat(2, 1), labels=batch.labels.repeat(2))  # fmt: skip # noqa: E501
            low, high = task.scores(both)[:, answer]
            slopes[place] = (high - low) / 2e-5
    lengths = slopes.norm(dim=1)
    torch.testing.assert_close(shares, lengths / lengths.sum(), rtol=1e-3, atol=1e-5)


def test_a_cut_utterance_keeps_its_clock() -> None:
    """Frames, picture and sound of the same stretch."""
    for audible in (True, False):
        data = Utterances(audible=audible)
        whole, _, _ = sequence_report.utterance(data, 0, 1000)
        batch, ground, hop = sequence_report.utterance(data, 0, 4)
        assert hop == 0.01
        assert ground.seconds == pytest.approx(0.064 if audible else 0.04, abs=0.03)
        assert torch.equal(batch.frames, whole.frames[:, :4])
        assert torch.equal(batch.labels, whole.labels[:, :4])


def test_sounds_and_points_without_pictures_reach_tensorboard(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    wave = 2 * torch.sin(torch.arange(800) / 5)  # louder than there is
    book.audio("clip", wave, 8000)
    book.embedding("speakers", torch.randn(5, 3), list("abcde"))
    book.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (sound,) = events.Audio("clip")
    assert (sound.sample_rate, sound.content_type) == (8000, "audio/wav")
    heard = np.frombuffer(sound.encoded_audio_string[44:], dtype="<i2") / 32767
    np.testing.assert_allclose(heard, wave.clamp(-1, 1).numpy(), atol=1e-4)
    assert (tmp_path / "00000" / "speakers" / "tensors.tsv").exists()
