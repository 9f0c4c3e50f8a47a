"""Frames of many utterances in one file of the cache: made once, mapped from then on.

What is read of a mapped file lies in the machine's page cache, which it takes back as it likes: a
process needs no more memory for a corpus ten times as large. F numbers a frame, N frames in all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hlml.data.picture_source import say
from hlml.errors import UserError

VERSION = 1  # of the format
MAGIC = b"hlmlfrms"
END = 16  # bytes: CRC-32 of the notes, their length, MAGIC

Notes = dict[str, Any]  # what else is known of the frames, as JSON
Put = Callable[[Tensor], None]  # appends frames (n, F)


@dataclass(frozen=True)
class Packing:
    """What is packed: the file's `name`, the `width` F and type of a frame, the `key` that says
    what the frames are made of (JSON), and `make`, which puts them and returns the notes."""

    name: str
    width: int
    dtype: torch.dtype
    key: Any
    make: Callable[[Put], Notes]


def packed(folder: Path, packing: Packing) -> tuple[Tensor, Notes]:
    """The frames (N, F), mapped, and the notes: from the cache in `folder`, or made and kept there.

    A file that was not written to its end is seen as such and made anew. UserError: it can be
    written nowhere. Errors in what is read must reach `make`'s caller as UserErrors, for an OSError
    is taken for one in writing.
    """
    text = json.dumps([VERSION, packing.width, str(packing.dtype), packing.key])
    path = folder / f"{packing.name}_{hashlib.sha256(text.encode()).hexdigest()[:20]}.bin"
    found = _read(path, packing)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # one process packs, others that start beside it wait and then read
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _read(path, packing) or _written(path, packing)
    except OSError as error:
        say(f"packed frames cannot be kept in {folder} ({error.strerror}): the next run packs anew")
    try:
        with tempfile.TemporaryDirectory() as elsewhere:  # what is mapped outlives its name
            return _written(Path(elsewhere) / path.name, packing)
    except OSError as error:
        raise UserError(
            f"packed frames can be kept neither in {folder} nor in {tempfile.gettempdir()} "
            f"({error.strerror}): choose another folder with data.root=FOLDER"
        ) from error


def _written(path: Path, packing: Packing) -> tuple[Tensor, Notes]:
    """Written beside and renamed: whoever finds the file finds all of it."""
    if path.exists():
        say(f"{path} is damaged and made anew")
    partial = path.with_suffix(".partial")  # only the holder of the lock writes it
    rows = 0
    try:
        with partial.open("wb") as file:

            def put(frames: Tensor) -> None:
                nonlocal rows
                file.write(frames.to(packing.dtype).contiguous().numpy().data)
                rows += len(frames)

            notes = json.dumps(packing.make(put) | {"rows": rows}).encode()
            ends = zlib.crc32(notes), len(notes)
            file.write(notes + b"".join(end.to_bytes(4, "little") for end in ends) + MAGIC)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    found = _read(path, packing)
    if found is None:
        raise OSError(0, "it cannot be read back")
    return found


def _read(path: Path, packing: Packing) -> tuple[Tensor, Notes] | None:
    """None: there is no such file, or it is not whole."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - END))
            end = file.read()
            length = int.from_bytes(end[4:8], "little")
            file.seek(max(0, size - END - length))
            notes = file.read(length)
    except OSError:
        return None
    whole = end[8:] == MAGIC and zlib.crc32(notes) == int.from_bytes(end[:4], "little")
    return _mapped(path, packing, json.loads(notes), size - END - length) if whole else None


def _mapped(path: Path, packing: Packing, notes: Notes, size: int) -> tuple[Tensor, Notes] | None:
    count = notes["rows"] * packing.width
    if count * packing.dtype.itemsize != size or not count:
        return None
    # not shared: what a model might write into a batch would not reach the file
    frames = torch.from_file(str(path), False, count, dtype=packing.dtype)
    return frames.view(-1, packing.width), notes
