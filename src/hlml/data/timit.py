"""TIMIT as the course's hw2 has it: ten milliseconds of read speech a row, and the phoneme of each.

A row is eleven frames of 39 MFCCs, its own in the middle and five either side, so all but the
middle one are repeated in other rows. We keep that one and put the context together anew, of any
width. Where a sentence ends is not said, but can be seen: there the next row does not go on.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hlml.data.answers import write_frames
from hlml.data.archive import shown
from hlml.data.module import Split
from hlml.data.npy import USE, Npy, find_npy, read_column, read_rows
from hlml.data.packed import Notes, Packing, Put, packed
from hlml.data.phonemes import CLASSES
from hlml.data.picture_source import cache_folder, say
from hlml.data.sequences import UNKNOWN, Corpus, SequenceData
from hlml.errors import UserError

TRAIN, LABELS, TEST = "train_11.npy", "train_label_11.npy", "test_11.npy"
FEATURES, JOINED = 39, 11  # numbers a frame, frames a row
COLUMNS = FEATURES * JOINED
MIDDLE = slice(FEATURES * (JOINED // 2), FEATURES * (JOINED // 2 + 1))
SOURCE = (
    "they are the data of the course's Kaggle contest ml2021spring-hw2 (data.zip, also linked "
    "from HW02 of github.com/ga642381/ML2021-Spring); put them there, or say where they are with "
    "data.root=FOLDER"
)


class Timit(SequenceData):
    """The course's three files in `root`, in timit_11/ there, or in a zip in either, read in place.

    The sentences in the last `valid` of the labelled rows are for validation: a shuffled split
    would put neighbours, which are nearly equal, on both sides. `stretch`: what is longer (0:
    nothing) is cut into equal parts of at most so many frames, over whose ends no context reaches;
    no sentence of TIMIT is so long, but where their ends cannot be seen, all of a file is. The
    middle frames of all rows are kept in root/cache, 262 MB for the course's files.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 5,
        segment: int = 0,
        budget: int = 8000,
        root: str = "data",
        valid: float = 0.2,
        stretch: int = 800,
    ) -> None:
        super().__init__(batch_size, seed, workers, unit, context, segment, budget)
        home = Path(root).expanduser()
        places = [home, home / "timit_11"]
        train, labels, test = find_npy((TRAIN, LABELS, TEST), places, SOURCE)
        key = [train.identity(), test.identity()]
        make = partial(_pack, train, test)
        packing = Packing("timit", FEATURES, torch.float32, key, make)
        frames, notes = packed(cache_folder(home), packing)
        self.test_rows = sum(notes["test"])
        known = _labels(labels, len(frames) - self.test_rows)
        lengths, tests = _cut(notes["train"], stretch), _cut(notes["test"], stretch)
        trained = _first_part(lengths, valid)
        self.class_names = CLASSES
        every = torch.tensor(lengths + tests)
        unknown = torch.full((self.test_rows,), UNKNOWN)
        corpus = Corpus(frames, every.cumsum(0) - every, every, torch.cat([known, unknown]))
        rows = torch.arange(len(every))
        self.fill(corpus, *rows.split([trained, len(lengths) - trained, len(tests)]))

    def has_labels(self, split: Split) -> bool:
        return split != "test"

    def write_answers(self, answers: list[Any], path: Path) -> None:
        """`answers`: for each utterance the classes of its frames; a line a frame, in order."""
        count = sum(map(len, answers))
        if count != self.test_rows:
            raise ValueError(f"{count} answers for {self.test_rows} frames")
        write_frames(answers, path)


def _pack(train: Npy, test: Npy, put: Put) -> Notes:
    """The middle frames of both files, and how long their utterances are."""
    say(f"packing the frames of {train} and {test}, once")
    return {"train": _utterances(train, put), "test": _utterances(test, put)}


def _utterances(npy: Npy, put: Put) -> list[int]:
    """Puts the middle frames, returns the lengths of utterances; one, where no ends can be seen."""
    goes_on = [np.zeros(1, dtype=bool)]
    before = np.empty((0, COLUMNS))
    for chunk in read_rows(npy, COLUMNS):
        rows = np.concatenate([before, chunk]) if len(before) else chunk
        goes_on.append((rows[1:, :-FEATURES] == rows[:-1, FEATURES:]).all(1))
        put(torch.from_numpy(chunk[:, MIDDLE].astype(np.float32)))
        before = chunk[-1:].copy()
    joined = np.concatenate(goes_on)
    if len(joined) > 1 and joined.mean() < 0.5:  # rows that were each standardised, say
        say(f"{npy}: rows do not repeat their neighbours' frames, so no sentence's end is seen")
        return [len(joined)]
    lengths: list[int] = np.diff(np.flatnonzero(~joined), append=len(joined)).tolist()
    return lengths


def _labels(npy: Npy, count: int) -> Tensor:
    """(count,) int64: stored as numbers, or as text that says them."""
    column = read_column(npy)
    if len(column) != count:
        raise UserError(f"{npy} has {len(column):,} labels for {count:,} rows of {TRAIN}: {USE}")
    try:
        with np.errstate(invalid="ignore"):
            numbers = column.astype(np.int64)
    except (ValueError, OverflowError):  # astype does not say which
        numbers = np.array([_number(text) for text in column])
    good = (numbers >= 0) & (numbers < len(CLASSES))
    if column.dtype.kind == "f":
        good &= numbers == column
    if not good.all():
        row = int((~good).argmax())
        raise UserError(
            f"{npy}, row {row:,}: {shown(str(column[row]))} is no class from 0 to "
            f"{len(CLASSES) - 1}: {USE}"
        )
    return torch.from_numpy(numbers)


def _number(text: str | bytes) -> int:
    """-1: it says none."""
    try:
        return int(text)
    except ValueError:
        return -1


def _cut(lengths: list[int], stretch: int) -> list[int]:
    """What is longer than a stretch, in as few parts as that allows, all about as long."""
    if stretch < 0:
        raise UserError(f"data.stretch={stretch}: frames to cut at, or 0 to cut nowhere")
    cut = []
    for length in lengths:
        parts = -(-length // stretch) if stretch else 1
        ends = [length * part // parts for part in range(parts + 1)]
        cut += [end - start for start, end in itertools.pairwise(ends)]
    return cut


def _first_part(lengths: list[int], valid: float) -> int:
    """How many utterances lie whole in what is not the last `valid` of all frames."""
    wanted = round((1 - valid) * sum(lengths))
    trained = sum(end <= wanted for end in itertools.accumulate(lengths))
    if not 0 < trained < len(lengths):
        raise UserError(
            f"data.valid={valid:g} leaves {trained:,} of {len(lengths):,} utterances to train on: "
            "there must be some for training and some for validation"
        )
    return trained
