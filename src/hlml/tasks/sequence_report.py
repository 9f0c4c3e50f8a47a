"""The pictures that tagging and identification share: what a batch is, how an utterance sounds and
where a model with self-attention looks.

B batch, T frames, F numbers a frame, H attention heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hlml.data.module import to_device
from hlml.data.sequences import SequenceData, Sequences
from hlml.figures import speech as figures
from hlml.figures.speech import Ground

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.sequence_task import SequenceTask

SEEN_WHOLE, SEEN_FRAMES, CLIPS = 4, 16, 3  # how many of each are shown
HOP = 0.010  # seconds from frame to frame, where no sound says it


def what_the_model_sees(task: SequenceTask, book: Logbook, data: SequenceData) -> None:
    """Utterances or single frames of the first batch of training, as they reach the model."""
    rows = data.rows_of(0, 1)[0]
    single = data.unit == "frame"
    some = rows[: SEEN_FRAMES if single else SEEN_WHOLE]
    batch = to_device(data.rows("train").batch(some, 0), data.device)
    frames = task.shown(batch, training=True).float().cpu()
    labels = batch.labels.reshape(len(some), -1).cpu()
    names = [[name(data, label) for label in row] for row in labels.tolist()]
    if single:
        windows = frames.reshape(len(some), 2 * data.context + 1, -1)
        figure = figures.training_frames(windows, [row[0] for row in names], len(rows))
    else:
        figure = figures.training_batch(frames, batch.mask.cpu(), names, len(rows))
    book.figure("what_the_model_sees", figure)


def name(data: SequenceData, label: int) -> str:
    return data.class_names[label] if label >= 0 else "?"


def utterance(data: SequenceData, row: int, most: int) -> tuple[Sequences, Ground, float]:
    """One of the validation split, its first `most` frames: as a batch of one, as the picture to
    lay under it, and the seconds from one frame to the next."""
    batch = data.splits["valid"].batch(torch.tensor([row]), 0)
    length = batch.frames.shape[1]
    most = min(most, length)
    labels = batch.labels[:, :most] if batch.labels.dim() == 2 else batch.labels
    cut = Sequences(batch.frames[:, :most], batch.mask[:, :most], labels, batch.rows)
    sound = data.sound(row)
    if sound is None:
        plain = (cut.frames[0] - data.mean) / data.std
        return to_device(cut, data.device), figures.features(plain, HOP), HOP
    wave, rate = sound
    # windows reach over the ends, so the quotient is not exact; frames are whole milliseconds apart
    hop = max(0.001, round(len(wave) / rate / length, 3))
    ground = figures.spectrogram(wave[: round(most * hop * rate)], rate)
    return to_device(cut, data.device), ground, hop


def clips(book: Logbook, data: SequenceData, titles: list[str]) -> None:
    """Let TensorBoard play the first utterances of the validation split."""
    for row, title in enumerate(titles):
        sound = data.sound(row)
        if sound is not None:
            book.audio(f"utterances/{title}", *sound)


def attention_maps(task: SequenceTask, batch: Sequences) -> list[Tensor]:
    """(H, T, T) by layer, of a batch of one; none, unless the model has `attention_maps`."""
    look = getattr(task.model, "attention_maps", None)
    if look is None:
        return []
    return [layer[0].float().cpu() for layer in look(task.shown(batch, False), batch.mask)]
