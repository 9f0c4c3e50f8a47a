"""Frames that took time to make, kept on the disk and memory-mapped: what is not read takes no RAM.

A folder for each set: frames.bin (N, F) float16, labels.bin (N,) or (U,) int64, waves.bin int16 of
the few utterances that are kept as they sound, and index.npz: how long each utterance is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlml.data.sequences import Corpus
from hlml.errors import UserError


class Piece(NamedTuple):
    """An utterance: frames (T, F), its labels (T,) or its label (1,); and its wave (n,) in -1..1,
    if that is to be kept."""

    frames: Tensor
    labels: Tensor
    wave: Tensor | None


@dataclass(frozen=True)
class Kept:
    """A corpus, and where its waves are: utterance u's is samples [bounds[u], bounds[u + 1])."""

    corpus: Corpus
    path: Path
    bounds: list[int]

    def wave(self, utterance: int) -> Tensor | None:
        """(n,) in -1..1; None: it was not kept."""
        first, last = self.bounds[utterance : utterance + 2]
        if first == last:
            return None
        wave = np.fromfile(self.path, np.int16, last - first, offset=2 * first)
        return torch.from_numpy(wave).float() / 2**15


def kept(root: Path, name: str, width: int, make: Callable[[], Iterator[Piece]]) -> Kept:
    """The set called `name`, of frames of `width` numbers: from root/cache, or made into it.

    UserError: nothing can be written there.
    """
    cache = root.expanduser() / "cache"
    folder = cache / name
    found = _read(folder, width)
    if found is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # one process makes it, others that start beside it wait and then read
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _read(folder, width)
            if found is None:
                _write(folder, make())
                found = _read(folder, width)
    except OSError as error:
        raise UserError(
            f"{cache} cannot be written ({error.strerror}): the speech is kept there; choose "
            "another folder with data.root=FOLDER"
        ) from error
    assert found is not None
    return found


def _read(folder: Path, width: int) -> Kept | None:
    """None: there is nothing, or not all of it."""
    try:
        with (
            (folder / "index.npz").open("rb") as file,  # numpy forgets to close a spoilt one
            np.load(file, allow_pickle=False) as index,
        ):
            lengths, waves, labels = (index[name] for name in ("lengths", "waves", "labels"))
        frames = _map(folder / "frames.bin", np.float16, (int(lengths.sum()), width))
        marks = _map(folder / "labels.bin", np.int64, (int(labels),))
        bounds = [0, *waves.cumsum().tolist()]
        if (folder / "waves.bin").stat().st_size != 2 * bounds[-1]:
            return None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    counts = torch.from_numpy(lengths)
    corpus = Corpus(frames, counts.cumsum(0) - counts, counts, marks)
    return Kept(corpus, folder / "waves.bin", bounds)


def _map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> Tensor:
    """The file as a tensor. ValueError: it has another size."""
    if path.stat().st_size != np.dtype(kind).itemsize * int(np.prod(shape)):
        raise ValueError(path.name)
    # c: writable as torch wants it, though what is written never reaches the file
    mapped: NDArray[Any] = np.memmap(path, kind, "c", shape=shape)
    return torch.from_numpy(mapped)


def _write(folder: Path, pieces: Iterator[Piece]) -> None:
    """Written beside and renamed: whoever finds the folder finds all of it."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    lengths, waves, labels = [], [], 0
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context((partial / f"{name}.bin").open("wb"))
                for name in ("frames", "labels", "waves")
            ]
            for piece in pieces:
                wave = torch.zeros(0) if piece.wave is None else piece.wave
                files[0].write(piece.frames.half().contiguous().numpy().tobytes())
                files[1].write(piece.labels.long().contiguous().numpy().tobytes())
                files[2].write((wave * 2**15).clamp(-(2**15), 2**15 - 1).short().numpy().tobytes())
                lengths.append(len(piece.frames))
                waves.append(len(wave))
                labels += len(piece.labels)
        np.savez(partial / "index.npz", lengths=lengths, waves=waves, labels=labels)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
