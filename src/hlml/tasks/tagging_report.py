"""What a tagger hears: its mistakes by class, an utterance with both labels, and where it looks.

K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hlml.data.sequences import SequenceData
from hlml.error_rates import without_repeats
from hlml.figures import speech as figures
from hlml.figures.classification import confusion_matrix
from hlml.tasks.classifier_report import confusion
from hlml.tasks.sequence_report import CLIPS, attention_maps, clips, name, utterance

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.tagging import Tagging

SHOWN = 300  # frames of the utterance that is drawn: names of phonemes need room
WRITTEN = 1000  # frames of those that are written down


def what_it_has_learnt(task: Tagging, book: Logbook, data: SequenceData) -> None:
    if data.has_labels("valid"):
        counts = torch.zeros(task.classes, task.classes, dtype=torch.float64)
        for batch in data.evaluation("valid"):
            answers, known = task.smoothed(task.scores(batch), batch.mask), batch.labels >= 0
            counts += confusion(batch.labels[known], answers[known], task.classes).cpu()
        book.figure("confusion_matrix", confusion_matrix(counts, data.class_names, "frames"))
        book.figure("recall", figures.class_recall(counts, data.class_names))
    _one_utterance(task, book, data)
    first = range(min(CLIPS, len(data.splits["valid"])))
    clips(book, data, [f"valid_{row}" for row in first])
    book.text("utterances", _transcripts(task, data, torch.tensor(first)))


def _one_utterance(task: Tagging, book: Logbook, data: SequenceData) -> None:
    """The first of the validation split, its labels and, with attention, where it looks."""
    batch, ground, hop = utterance(data, 0, SHOWN)
    answers = task.smoothed(task.scores(batch), batch.mask)
    true, predicted = ([name(data, n) for n in row[0].tolist()] for row in (batch.labels, answers))
    speech = figures.Speech(ground, hop, true, predicted)
    book.figure("utterance", figures.labelled(speech))
    maps = attention_maps(task, batch)
    if maps:
        title = f"self-attention, layer {len(maps)} of {len(maps)}"
        book.figure("attention", figures.attention(speech, maps[-1], title))


def _transcripts(task: Tagging, data: SequenceData, rows: Tensor) -> str:
    """A markdown table of what was said and what was heard, repeats joined."""
    lines = ["| | true | predicted |", "|---|---|---|"]
    for row in rows:
        batch, _, _ = utterance(data, int(row), WRITTEN)
        answers = task.predict_step(batch)[0]
        both = (batch.labels[0].cpu().numpy(), torch.tensor(answers).numpy())
        texts = [" ".join(name(data, n) for n in without_repeats(some)) for some in both]
        lines.append(f"| valid_{int(row)} | {texts[0]} | {texts[1]} |")
    return "\n".join(lines)
