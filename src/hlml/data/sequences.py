"""Sequences of vectors: speech as frames, with a label for each frame or one for the whole.

All frames of a data set lie one after the other in one tensor, which may be a memory map; an
utterance is a stretch of it. B batch, T frames of the longest utterance in it, F numbers a frame,
K classes, N frames in all, U utterances. Masks: True = real frame.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hlml.data.module import DataModule, Rows, Split
from hlml.data.of_one_length import pools, shuffled, within_budget
from hlml.data.randomness import keys as keys_of
from hlml.data.randomness import uniform
from hlml.errors import UserError

UNKNOWN = -1  # the label of a frame or an utterance of which nobody says what it is
POOLS = 8  # batches of about the same length among which utterances change places each epoch


class Sequences(NamedTuple):
    """A batch."""

    frames: Tensor  # (B, T, F) float32, 0 after an utterance's end
    mask: Tensor  # (B, T) bool: which frames are real
    labels: Tensor  # (B, T) int64, UNKNOWN after the end; or (B,): one for the whole
    rows: Tensor  # (B,) int64: their numbers within the split


@dataclass
class Corpus:
    """Every utterance of a data set: `frames` (N, F) of any float type, in RAM or memory-mapped;
    utterance u is frames[starts[u] : starts[u] + lengths[u]]; `labels` (N,) or (U,) int64."""

    frames: Tensor
    starts: Tensor
    lengths: Tensor
    labels: Tensor
    _elsewhere: dict[torch.device, Corpus] = field(init=False, default_factory=dict, repr=False)

    @property
    def one_label(self) -> bool:
        """Whether an utterance has one label, and not one for each of its frames."""
        return len(self.labels) == len(self.starts) != len(self.frames)

    def labels_of(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The labels of all frames of the utterances `index`, one after the other, and the place in
        `index` of the utterance each belongs to; with one label for the whole, those and theirs."""
        if self.one_label:
            return self.labels[index], torch.arange(len(index))
        lengths = self.lengths[index]
        which = torch.repeat_interleave(torch.arange(len(index)), lengths)
        offsets = self.starts[index] - (lengths.cumsum(0) - lengths)
        return self.labels[torch.arange(len(which)) + offsets[which]], which

    def on(self, device: torch.device) -> Corpus:
        """The same on another device, moved there once for all splits."""
        if device not in self._elsewhere:
            parts = (self.frames, self.starts, self.lengths, self.labels)
            self._elsewhere[device] = Corpus(*(part.to(device) for part in parts))
        return self._elsewhere[device]

    def read(self, first: Tensor, lengths: Tensor, around: Around) -> tuple[Tensor, Tensor, Tensor]:
        """Stretches of frames from `first` (B,) on: frames (B, T, F (2c + 1)), mask and places
        (B, T). `around` says how far each frame's context of c frames either side may reach."""
        ticks = torch.arange(int(lengths.max()), device=first.device)
        mask = ticks < lengths[:, None]
        places = first[:, None] + torch.minimum(ticks, lengths[:, None] - 1)
        wanted = places[..., None] + torch.arange(
            -around.context, around.context + 1, device=first.device
        )
        wanted = wanted.clamp(around.first[:, None, None], around.last[:, None, None])
        frames = self.frames.index_select(0, wanted.flatten()).float()
        frames = frames.reshape(*mask.shape, -1) * mask[..., None]
        return frames, mask, places


class Around(NamedTuple):
    """The frames that are joined to each: `context` before and as many after, none from outside
    first .. last (B,), where the edge is repeated instead."""

    context: int
    first: Tensor
    last: Tensor


class Utterances:
    """One split, an utterance a row: whole, or a `segment` of so many frames, anew each epoch."""

    def __init__(
        self, corpus: Corpus, index: Tensor, context: int = 0, segment: int = 0, seed: int = 0
    ) -> None:
        self.corpus, self.index = corpus, index
        self.context, self.segment, self.seed = context, segment, seed
        self.lengths = corpus.lengths[index]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Tensor:
        """Of each frame, one utterance after the other; or of each utterance."""
        return self.corpus.labels_of(self.index)[0]

    def batch(self, rows: Tensor, epoch: int) -> Sequences:
        index = self.index.index_select(0, rows)
        first, lengths = self.corpus.starts[index], self.corpus.lengths[index]
        around = Around(self.context, first, first + lengths - 1)
        if self.segment:
            room = (lengths - self.segment).clamp(min=0)
            chance = uniform(keys_of(self.seed, epoch, rows), 1)[:, 0].double()
            first = first + (chance * (room + 1)).long().clamp(max=room)
            lengths = lengths.clamp(max=self.segment)
        frames, mask, places = self.corpus.read(first, lengths, around)
        if self.corpus.one_label:
            return Sequences(frames, mask, self.corpus.labels[index], rows)
        labels = self.corpus.labels[places].masked_fill(~mask, UNKNOWN)
        return Sequences(frames, mask, labels, rows)

    def bytes(self) -> float:
        return self.corpus.frames.numel() * self.corpus.frames.element_size()

    def to(self, device: torch.device) -> Utterances:
        corpus, index = self.corpus.on(device), self.index.to(device)
        return Utterances(corpus, index, self.context, self.segment, self.seed)


class Windows:
    """One split, a frame a row: an utterance of one frame, with its context of neighbours."""

    def __init__(self, corpus: Corpus, index: Tensor, context: int) -> None:
        self.corpus, self.index, self.context = corpus, index, context
        lengths = corpus.lengths[index]
        self.ends = lengths.cumsum(0)  # row r belongs to the first utterance that ends behind it
        self.offsets = corpus.starts[index] - (self.ends - lengths)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, rows: Tensor, epoch: int) -> Sequences:
        which = torch.searchsorted(self.ends, rows, right=True)
        place = rows + self.offsets[which]
        index = self.index[which]
        first, lengths = self.corpus.starts[index], self.corpus.lengths[index]
        around = Around(self.context, first, first + lengths - 1)
        frames, mask, _ = self.corpus.read(place, torch.ones_like(place), around)
        return Sequences(frames, mask, self.corpus.labels[place][:, None], rows)

    def bytes(self) -> float:
        return self.corpus.frames.numel() * self.corpus.frames.element_size()

    def to(self, device: torch.device) -> Windows:
        return Windows(self.corpus.on(device), self.index.to(device), self.context)


class SequenceData(DataModule, ABC):
    """A set of utterances.

    Args beside those of every data set: `unit` of training, whole utterances or single frames
    (validation reads utterances in any case); `context` frames before and after each are joined to
    it; `segment` frames at random of each utterance are what training reads (0: all of it);
    `budget` frames a batch, padding included, of utterances that are about as long as each other
    (0: batch_size utterances of any length).
    """

    class_names: list[str]
    splits: dict[Split, Utterances]
    mean: Tensor  # (F (2c + 1),) float32: of the training split's frames, context included
    std: Tensor

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        segment: int = 0,
        budget: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        self.unit, self.context, self.segment, self.budget = unit, context, segment, budget

    def fill(self, corpus: Corpus, train: Tensor, valid: Tensor, test: Tensor) -> None:
        """Set the splits: the numbers of their utterances."""
        if corpus.one_label and self.unit == "frame":
            raise UserError("data.unit=frame: here whole utterances have labels; leave it out")
        self.corpus = corpus
        context = self.context
        self.splits = {
            "train": Utterances(corpus, train, context, self.segment, self.seed),
            "valid": Utterances(corpus, valid, context),
            "test": Utterances(corpus, test, context),
        }
        single = self.unit == "frame"
        self._train: Rows = Windows(corpus, train, context) if single else self.splits["train"]
        self.mean, self.std = (part.repeat(2 * context + 1) for part in _statistics(corpus, train))

    def rows(self, split: Split) -> Rows:
        return self._train if split == "train" else self.splits[split]

    def sizes(self) -> dict[str, int]:
        sizes = {"inputs": len(self.mean), "classes": len(self.class_names)}
        return sizes | {"one_label": True} if self.corpus.one_label else sizes

    def sound(self, row: int) -> tuple[Tensor, int] | None:
        """A validation utterance as it sounds, (samples,) in -1..1, and its samples a second."""
        return None

    def plan(self, epoch: int) -> list[Tensor]:
        """Rows shuffled; with a budget, only among utterances of about the same length."""
        if not self.budget or self.unit == "frame":
            return super().plan(epoch)
        lengths = self.splits["train"].lengths
        if self.segment:
            lengths = lengths.clamp(max=self.segment)
        order = lengths.argsort(descending=True, stable=True)
        return shuffled(pools(lengths, order, self.budget, POOLS), self.seed, epoch)

    def reading(self, split: Split) -> list[Tensor]:
        """A split's rows in order, as many at once as the budget allows."""
        rows = self.rows(split)
        if not self.budget or not isinstance(rows, Utterances):
            return super().reading(split)
        return within_budget(rows.lengths, torch.arange(len(rows)), self.budget)


def _statistics(corpus: Corpus, index: Tensor, most: int = 100_000) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (F,) over the frames of evenly spread utterances."""
    every = max(1, int(corpus.lengths[index].sum()) // most)
    chosen = index[::every]
    sums = torch.zeros(2, corpus.frames.shape[1], dtype=torch.float64)
    count = 0
    pairs = zip(corpus.starts[chosen].tolist(), corpus.lengths[chosen].tolist(), strict=True)
    for start, length in pairs:
        frames = corpus.frames[start : start + length].double()
        sums += torch.stack([frames.sum(0), frames.square().sum(0)])
        count += length
    mean, square = sums / max(1, count)
    std = (square - mean.square()).clamp(min=1e-6).sqrt()
    return mean.float(), std.float()
