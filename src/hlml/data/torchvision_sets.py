"""CIFAR-10, Fashion-MNIST and MNIST, downloaded by torchvision, which knows where they are.

What is on the disk already is used as it is, and without a network. CIFAR-10 is published as
pickles: torchvision checks their MD5 first, so that only the published ones are ever opened.
"""

from __future__ import annotations

import fcntl
import gzip
import math
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.data.archive import DAMAGED, MEMBER_BYTES, shown
from hlml.data.images import Images, View, stratified
from hlml.errors import UserError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
AGAIN = "delete it, and the next run downloads it again"
SECONDS = 30.0  # of silence, after which a download is given up
Labelled = tuple[Tensor, Tensor]  # pictures (N, C, S, S) uint8, labels (N,) int64


class Published(Images, ABC):
    """A published set in `root`, or downloaded to it.

    `valid` is the share of the training pictures that is held out, chosen by `split_seed`;
    `labelled` how many of the others keep their labels (null: all), each class in its share.
    `pad` puts a black frame around: 2 makes 28 x 28 a 32 x 32, as a GAN wants it.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        augment: View | None = None,
        strong_view: View | None = None,
        unlabelled_ratio: int = 0,
        root: str = "data",
        labelled: int | None = None,
        valid: float = 0.1,
        split_seed: int = 0,
        pad: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        pictures, labels, test_pictures, test_labels = self.read(Path(root).expanduser())
        held_out = round(len(labels) * valid)
        most = len(labels) - held_out
        count = most if labelled is None else labelled
        least = len(self.class_names)
        if held_out < 1 or not least <= count <= most:
            raise UserError(
                f"data.valid={valid:g} and data.labelled={labelled} of {len(labels):,} pictures: "
                f"some must be held out, and {least} to {most:,} keep their labels"
            )
        valid_rows, train, rest = stratified(labels, [held_out, count, most - count], split_seed)
        self.hidden_labels = labels[rest]
        test = torch.arange(len(labels), len(labels) + len(test_labels))
        everything = torch.cat([labels, test_labels])
        pairs = [(rows, everything[rows]) for rows in (train, rest, valid_rows, test)]
        source = F.pad(torch.cat([pictures, test_pictures]), (pad, pad, pad, pad)).contiguous()
        self.fill(source, pairs[0], pairs[1] if len(rest) else None, pairs[2], pairs[3])

    @abstractmethod
    def read(self, root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures and labels to train on, pictures and labels to test on; and class_names."""


class CIFAR10(Published):
    """60,000 photos of ten kinds of things, 32 x 32 in colour (Krizhevsky 2009)."""

    def read(self, root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found: list[Tensor] = []
        with _downloading("CIFAR-10", root, "cifar-10-batches-py") as datasets:
            for train in (True, False):
                part = datasets.CIFAR10(root, train=train, download=True)
                found += [torch.from_numpy(part.data).permute(0, 3, 1, 2)]
                found += [torch.tensor(part.targets)]
        self.class_names = list(part.classes)
        return found[0], found[1], found[2], found[3]


class FashionMNIST(Published):
    """70,000 pictures of clothes, 28 x 28 in grey (Xiao et al. 2017)."""

    def read(self, root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.class_names = [
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ]
        return _read_idx("FashionMNIST", root, DEBIAN)


class MNIST(Published):
    """70,000 handwritten digits, 28 x 28 in grey (LeCun et al. 1998)."""

    def read(self, root: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.class_names = [str(digit) for digit in range(10)]
        return _read_idx("MNIST", root)


def _read_idx(name: str, root: Path, *places: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four files of MNIST's format: of root, of other `places`, or else downloaded to root."""
    home = root / name / "raw"  # where torchvision puts them
    found = _find_idx(home, root / name, *places)
    if found is None:
        with _downloading(name, root, f"{name}/raw") as datasets:
            getattr(datasets, name)(root, download=True)
        found = _find_idx(home)
    if found is None:
        raise UserError(f"{home} is not complete after the download: delete it, and try again")
    parts = []
    for pictures_path, labels_path in (found[:2], found[2:]):
        pictures, labels = read_idx(pictures_path), read_idx(labels_path)
        if pictures.dim() != 3 or labels.shape != pictures.shape[:1] or labels.max() > 9:
            raise UserError(
                f"{pictures_path} and {labels_path.name} do not fit together (shapes "
                f"{[*pictures.shape]} and {[*labels.shape]}): delete them, and they come again"
            )
        parts += [pictures.unsqueeze(1), labels.long()]
    return parts[0], parts[1], parts[2], parts[3]


def _find_idx(*folders: Path) -> list[Path] | None:
    """The files, plain or gzipped, in the first folder that has them all."""
    for folder in folders:
        found = []
        for part in PARTS:
            paths = [folder / f"{part}-ubyte{ending}" for ending in ("", ".gz")]
            found += [path for path in paths if path.is_file()][:1]
        if len(found) == len(PARTS):
            return found
    return None


def read_idx(path: Path) -> Tensor:
    """A file of MNIST's format: 0, 0, 8 (for uint8), how many sizes, the sizes, the data."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read(MEMBER_BYTES)
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read ({shown(str(error))}): {AGAIN}") from error
    sizes = [
        int.from_bytes(content[start : start + 4])
        for start in range(4, 4 + 4 * (content[3] if len(content) > 3 else 0), 4)
    ]
    start = 4 + 4 * len(sizes)
    if content[:3] != b"\0\0\x08" or math.prod(sizes) != len(content) - start or not content:
        raise UserError(
            f"{path} is damaged: it says it holds {sizes} bytes and has {len(content):,} in all: "
            f"{AGAIN}"
        )
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(sizes)


@contextmanager
def _downloading(name: str, root: Path, folder: str) -> Iterator[Any]:
    """torchvision.datasets, for one process at a time, and whatever goes wrong is one line.

    A network that says nothing is not waited for for ever.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        from torchvision import datasets  # takes seconds, and is needed here alone

        with _alone(root):
            yield datasets
    except Exception as error:  # torchvision lets through what sockets, zlib and pickle raise
        why = shown(str(error).splitlines()[-1] if str(error) else type(error).__name__)
        raise UserError(
            f"{name} is not (whole) in {root / folder} and could not be downloaded ({why}): run "
            "it once where there is a network, or say where it is with data.root=FOLDER"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Several processes (torchrun) would write the same files; in a read-only folder none does."""
    with ExitStack() as stack:
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((root / ".download.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
