"""Pictures: their splits, their batches, and what of them has labels.

Pictures are in units 0..255 everywhere: uint8 as decoded, float32 once an augmentation has
interpolated. A task standardises them, on the device. B batch, C channels, S side, K classes.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hlml.data import mixup
from hlml.data.module import DataModule, Rows, Split, generator, to_device
from hlml.data.randomness import keys as keys_of
from hlml.errors import UserError

View = Callable[[Tensor, Tensor], Tensor]  # pictures (B, C, S, S) and their keys (B,) -> pictures
Part = tuple[Tensor, Tensor]  # which of the source's pictures (n,), and their labels (n,)
UNKNOWN = -1  # the label of a picture of which nobody says what it shows


class Pictures(NamedTuple):
    """A batch."""

    pictures: Tensor  # (B, C, S, S) uint8 or float32, 0..255
    labels: Tensor  # (B,) int64, UNKNOWN where nobody says; or (B, K) float32 when mixed
    rows: Tensor  # (B,) int64: their numbers within the split
    strong: Tensor | None = None  # (B, C, S, S): the same pictures, changed more


class Source(Protocol):
    """Where pictures come from: a tensor (N, C, S, S) uint8, or what decodes on demand."""

    @property
    def shape(self) -> Any: ...
    def index_select(self, dim: int, index: Tensor) -> Tensor: ...


class ImageRows:
    """One split: some of a source's pictures, seen as they are or through an augmentation."""

    def __init__(
        self,
        source: Source,
        index: Tensor,
        labels: Tensor,
        augment: View | None = None,
        strong_view: View | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.index, self.labels = source, index, labels
        self.augment, self.strong_view, self.seed = augment, strong_view, seed
        self.labelled = int((labels != UNKNOWN).sum())  # they come first
        self.classes = int(labels.max()) + 1 if self.labelled else 0
        self.mixup = float(getattr(augment, "mixup", 0.0))

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, rows: Tensor, epoch: int) -> Pictures:
        pictures, labels = self.read(rows), self.labels.index_select(0, rows)
        if self.augment is None:
            return Pictures(pictures, labels, rows)
        keys = keys_of(self.seed, epoch, rows)
        strong = None if self.strong_view is None else self.strong_view(pictures, ~keys)
        pictures = self.augment(pictures, keys)
        if self.mixup:
            pictures, labels = self._mixed(pictures, labels, keys, epoch)
        return Pictures(pictures, labels, rows, strong)

    def read(self, rows: Tensor) -> Tensor:
        """The plain pictures (B, C, S, S) uint8 of some rows."""
        return self.source.index_select(0, self.index.index_select(0, rows))

    def bytes(self) -> float:
        """What the split takes in memory; inf where it is decoded on demand."""
        held = isinstance(self.source, Tensor)
        return len(self) * math.prod(self.source.shape[1:]) if held else math.inf

    def to(self, device: torch.device) -> ImageRows:
        everything = self.source.index_select(0, self.index).to(device)
        index, labels = torch.arange(len(self), device=device), self.labels.to(device)
        views = (self.augment, self.strong_view)
        return ImageRows(everything, index, labels, *views, seed=self.seed)

    def seen_through(self, augment: View) -> ImageRows:
        """The same rows, augmented: what test-time augmentation averages over."""
        rows = ImageRows(self.source, self.index, self.labels, augment, seed=self.seed)
        rows.mixup = 0.0  # mixed with a training picture, it would be half of the question
        return rows

    def _mixed(
        self, pictures: Tensor, labels: Tensor, keys: Tensor, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Each picture with a bit of another one of the labelled (Zhang et al. 2018)."""
        assert self.augment is not None
        partners, weights = mixup.partners(keys, self.labelled, self.mixup)
        others = self.augment(self.read(partners), keys_of(self.seed, epoch, partners))
        theirs = self.labels.index_select(0, partners)
        mixed: tuple[Tensor, Tensor] = mixup.mix(
            pictures, others, labels, theirs, weights, self.classes
        )
        return mixed


class Images(DataModule, ABC):
    """A set of pictures.

    Args beside those of every data set: `augment` changes the training pictures, differently in
    each epoch; `strong_view` makes the second view that consistency training compares with;
    `unlabelled_ratio` how many unlabelled pictures follow each labelled one in a batch (0: none
    are read, and an epoch is one pass over the labelled ones in any case).
    """

    answers_name = "predict.csv"
    class_names: list[str]
    hidden_labels: Tensor | None = None  # of the unlabelled rows, where the data set knows them
    splits: dict[Split, ImageRows]
    mean: list[float]  # of the training split's pictures, by channel, in 0..255
    std: list[float]

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        augment: View | None = None,
        strong_view: View | None = None,
        unlabelled_ratio: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers)
        self.augment, self.strong_view = augment, strong_view
        self.unlabelled_ratio = unlabelled_ratio

    def fill(
        self, source: Source, train: Part, unlabelled: Part | None, valid: Part, test: Part
    ) -> None:
        """Set the splits. Training statistics are those of the training split alone."""
        self.source = source
        self.labelled = len(train[0])
        if self.unlabelled_ratio and unlabelled is None:
            raise UserError(
                "data.unlabelled_ratio: this data set has no unlabelled pictures; leave it at 0"
            )
        index, labels = train
        if unlabelled is not None:
            index = torch.cat([index, unlabelled[0]])
            labels = torch.cat([labels, torch.full_like(unlabelled[0], UNKNOWN)])
        views = (self.augment, self.strong_view)
        self.splits = {
            "train": ImageRows(source, index, labels, *views, seed=self.seed),
            "valid": ImageRows(source, *valid),
            "test": ImageRows(source, *test),
        }
        self.mean, self.std = _statistics(source, index)

    @property
    def channels(self) -> int:
        return int(self.source.shape[1])

    @property
    def size(self) -> int:
        return int(self.source.shape[2])

    def rows(self, split: Split) -> Rows:
        return self.splits[split]

    def sizes(self) -> dict[str, int]:
        return {"channels": self.channels, "size": self.size, "classes": len(self.class_names)}

    def plan(self, epoch: int) -> list[Tensor]:
        """Batches of the rows with labels, each followed by its share of those without.

        Where nothing has labels (faces for a GAN), the rows are simply shuffled.
        """
        labelled = self.labelled if self.class_names else len(self.splits["train"])
        batches = torch.randperm(labelled, generator=generator(self.seed, epoch)).split(
            self.batch_size
        )
        if not self.unlabelled_ratio:
            return list(batches)
        others = self._unlabelled_order(epoch, labelled * self.unlabelled_ratio)
        shares = others.split([len(batch) * self.unlabelled_ratio for batch in batches])
        return [torch.cat(pair) for pair in zip(batches, shares, strict=True)]

    def views(self, split: Split, number: int) -> Iterator[Pictures]:
        """A split's batches in order, as the training's augmentation shows them the n-th time."""
        assert self.augment is not None
        rows = self.splits[split].seen_through(self.augment)
        for chunk in torch.arange(len(rows)).split(self.batch_size):
            yield to_device(rows.batch(chunk, number), self.device)

    def write_answers(self, answers: list[Any], path: Path) -> None:
        lines = [f"{number},{answer}\n" for number, answer in enumerate(answers)]
        path.write_text("Id,Category\n" + "".join(lines))

    def _unlabelled_order(self, epoch: int, count: int) -> Tensor:
        """`count` rows without labels: all of them, shuffled, before any comes again."""
        number = len(self.splits["train"]) - self.labelled
        first = epoch * count  # as if all epochs were one long reading of the shuffled rows
        passes = range(first // number, (first + count - 1) // number + 1)
        orders = [torch.randperm(number, generator=generator(self.seed, n, 1)) for n in passes]
        start = first - passes.start * number
        return torch.cat(orders)[start : start + count] + self.labelled


def _statistics(source: Source, index: Tensor, most: int = 5000) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, over evenly spread pictures, `most` of them."""
    spread = torch.linspace(0, len(index) - 1, min(most, len(index))).long()
    sums = torch.zeros(2, source.shape[1], dtype=torch.float64)
    for chunk in index[spread].split(500):
        pictures = source.index_select(0, chunk).double()
        sums += torch.stack([pictures.sum((0, 2, 3)), pictures.square().sum((0, 2, 3))])
    mean, square = sums / (len(spread) * source.shape[2] * source.shape[3])
    std = (square - mean.square()).clamp(min=1.0).sqrt()  # a blank channel keeps its scale
    return mean.tolist(), std.tolist()


def stratified(labels: Tensor, counts: list[int], seed: int) -> list[Tensor]:
    """Disjoint index lists of `counts` rows each, every class in its share."""
    order = torch.randperm(len(labels), generator=generator(seed, 101))
    classes = labels[order]
    place = torch.zeros(len(labels), dtype=torch.float64)
    for label in classes.unique():
        members = (classes == label).nonzero().flatten()
        place[members] = (torch.arange(len(members)).double() + 0.5) / len(members)
    # by its place within its class: the first share of all places is the first share of each class
    mixed = order[torch.argsort(place, stable=True)]
    parts = mixed[: sum(counts)].split(counts)
    return [part.sort().values for part in parts]
