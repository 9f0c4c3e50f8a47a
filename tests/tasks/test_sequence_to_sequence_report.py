"""What a model that writes shows of itself: its answers, its looks, its scores by length."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hlml import report
from hlml.evaluation import evaluate, quietly
from hlml.tasks import sequence_to_sequence_report as pictures
from hlml.tasks.sequence_to_sequence import WIDE, SequenceToSequence
from hlml.tokens import BEGIN, PAD, UNKNOWN
from toy_pairs import Words, glance


class Book:
    """Keeps what the log book would."""

    step = 5

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.figures: dict[str, Figure] = {}
        self.texts: dict[str, str] = {}

    def figure(self, name: str, figure: Figure) -> None:
        if self.folder:
            figure.savefig(self.folder / f"{name}.png", dpi=30)
        self.figures[name] = figure

    def text(self, name: str, markdown: str) -> None:
        self.texts[name] = markdown


def reported(task: SequenceToSequence, folder: Path | None = None) -> Book:
    """Both reports; they leave no trace on the task."""
    book: Any = Book(folder)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with quietly(task, torch.device("cpu")):
        task.report(book, task.data, final=False)
        assert set(book.figures) == {"what_the_model_sees"}
        assert set(book.texts) == {"what_the_model_sees", "samples"}
        task.report(book, task.data, final=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())
    found: Book = book
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("scoring", "beam"), [("errors", 1), ("bleu", 7)])
def test_what_is_reported(scoring: Any, beam: int, tmp_path: Path) -> None:
    data = Words(scoring=scoring, names=True, several=True, budget=30)
    task = SequenceToSequence(glance(data, copying=True), data, beam=beam).eval()
    book = reported(task, tmp_path if beam == 1 else None)
    alignments = [f"alignment_{number}" for number in range(1, 5)]
    assert set(book.figures) == {"what_the_model_sees", "by_length", *alignments}

    head, _, *lines = map(cells, book.texts["samples"].splitlines())
    wide = max(beam, WIDE)
    assert head == ["", "source", "reference", "greedy", f"beam {wide}"]
    rows = [int(line[0].removeprefix("valid_")) for line in lines]
    assert rows == [0, 1, 3, 4, 6, 8, 9, 11]  # of 13
    batch = data.rows("valid").batch(torch.tensor(rows), 0)
    with torch.no_grad():
        both = task.answers(batch, 1), task.answers(batch, wide)
        metrics = evaluate(task, data, "valid")
    for line, row, greedy, searched in zip(lines, rows, *both, strict=True):
        references = " / ".join(data.references("valid", row))
        assert line[1:] == [data.source_text("valid", row), references, greedy, searched]

    assert metrics is not None
    name = {"errors": "wer", "bleu": "bleu"}[scoring]
    place = book.figures["by_length"].axes[0]
    assert f"{name.upper()} by length" in place.get_title(loc="left")
    assert f"together, {metrics[name]:.2f}" in place.get_title(loc="left")
    assert sum(int(text.get_text()) for text in place.texts if text.get_text().isdigit()) == 13


def test_an_alignment_is_of_the_answer_that_was_written() -> None:
    data = Words()
    task = SequenceToSequence(glance(data), data, beam=2).eval()
    book = reported(task)
    for number, row in enumerate((0, 3, 6, 9), 1):
        batch = data.rows("valid").batch(torch.tensor([row]), 0)
        with torch.no_grad():
            (answer,) = task.write(batch, 2)
            state = task.model.read(batch.source)
            looks = task.model.write(state, torch.tensor([[BEGIN, *answer]]), True).looks
        assert looks is not None
        place = book.figures[f"alignment_{number}"].axes[0]
        assert f"valid_{row}" in place.get_title(loc="left")
        np.testing.assert_allclose(np.asarray(place.images[0].get_array()), looks[0], atol=1e-6)
        written = [label.get_text() for label in place.get_yticklabels()]
        letters = dict(enumerate("abcdef", 4)) | {UNKNOWN: "UNKNOWN"}
        assert written == [*(letters[number] for number in answer), "END"]
        read = [label.get_text() for label in place.get_xticklabels()]
        assert read == [*data.source_text("valid", row).split(), "END"]


def test_the_first_batch_is_the_one_that_is_trained_on() -> None:
    data = Words(names=True, budget=60)
    task = SequenceToSequence(glance(data), data)
    book = reported(task)
    (batch,) = next(data.windows(0, 1))
    source, target = batch.source != PAD, batch.target[:, 1:] != PAD
    share = 1 - (source.sum() + target.sum()) / (source.numel() + target.numel())
    title = book.figures["what_the_model_sees"].get_suptitle()
    assert f"the {len(batch.rows)} pairs" in title
    assert f"{float(share):.1%}" in title
    line = cells(book.texts["what_the_model_sees"].splitlines()[2])
    row = int(batch.rows[0])
    assert line[0] == f"train_{row}"
    text, answer = data.source_text("train", row), data.references("train", row)[0]
    assert line[1:] == [f"{text} END", f"BEGIN {answer}", f"{answer} END"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 6))
def test_groups_are_of_equal_lengths_and_in_order(lengths: list[int], most: int) -> None:
    found = [rows.tolist() for rows in pictures.groups(torch.tensor(lengths), most)]
    assert len(found) <= most
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    spans = [(min(lengths[r] for r in rows), max(lengths[r] for r in rows)) for rows in found]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))


def test_the_summary_says_how_bleu_was_counted() -> None:
    data = Words(scoring="bleu", several=True)
    task = SequenceToSequence(glance(data), data)
    trainer: Any = SimpleNamespace(
        smoke=False, best=SimpleNamespace(metric="bleu", direction="max"), step=3, steps_per_epoch=2
    )
    about = {"config": dict.fromkeys(("homework", "level", "seed")), "command": ""}
    about["config"] |= {"baselines": {}}  # type: ignore[operator]
    scores = {"valid": evaluate(task, data, "valid")}
    summary = report._summary(trainer, task, data, about, "finished", scores)
    assert summary["bleu_signature"].startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|")
    assert summary["valid"] == scores["valid"]
