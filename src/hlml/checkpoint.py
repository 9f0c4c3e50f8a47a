"""One file holds a run: weights, optimizers, the step, every random state, and the config.

The file is what torch.save writes, with the SHA-256 of its bytes in the zip archive's comment:
torch.load reads it as it is, and a flipped bit or a cut-off tail is found before anything is used.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hlml.errors import UserError
from hlml.run_folder import LAST, PREVIOUS

State = dict[str, Any]
MARK = b"hlml-sha256:"
TAIL = len(MARK) + hashlib.sha256().digest_size * 2


class DamagedError(Exception):
    """The file is not what was written: cut short, or changed."""


class Saver:
    """Writes checkpoints while training goes on: only making bytes of the state is waited for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._last: Future[None] | None = None

    def save(self, state: State, path: Path, copy: Path | None = None) -> None:
        """Save to `path`, and under a second name; raises what the save before it failed with."""
        self.wait()
        self._last = self._thread.submit(_write, _to_bytes(state), path, copy)

    def wait(self) -> None:
        """Until the last save is on the disk."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        self._thread.shutdown()
        self.wait()


def save(state: State, path: Path) -> None:
    """Save, and return when the file is on the disk."""
    _write(_to_bytes(state), path, None)


def load(path: Path) -> State:
    """Read a checkpoint whole and checked; raises DamagedError, or UserError for a foreign file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the checkpoint ({error.strerror})") from error
    if MARK not in data[-TAIL:]:
        raise DamagedError(f"{path}: not a checkpoint of hlml, or its end is missing")
    if hashlib.sha256(data[:-TAIL]).hexdigest().encode() != data[-TAIL + len(MARK) :]:
        raise DamagedError(f"{path}: the checksum does not fit, so the file has changed")
    try:
        state: State = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused, it holds code and not only weights; use a checkpoint hlml wrote"
        ) from error
    except Exception as error:  # whatever torch makes of bytes that are no checkpoint
        raise UserError(f"{path}: torch cannot read it ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise UserError(f"{path}: is not a checkpoint of hlml")
    return state


def load_newest(path: Path) -> tuple[State, str]:
    """`path`, or the good one before it when `path` is damaged; and a word on which was used."""
    try:
        return load(path), ""
    except DamagedError as error:
        older = path.with_name(PREVIOUS)
        if path.name != LAST or not older.exists():
            raise UserError(f"{error}; no earlier checkpoint lies beside it") from error
        try:
            return load(older), f"{error}; going on from {older.name}"
        except DamagedError as second:
            raise UserError(f"{error}; {second}; start again without resume=") from second


def random_state() -> State:
    """The state of every generator a training may draw from, as plain types."""
    kind, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.tensor(np.asarray(keys, np.int64)), place, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: State) -> None:
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _to_bytes(state: State) -> bytearray:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return bytearray(buffer.getbuffer())


def _write(data: bytearray, path: Path, copy: Path | None) -> None:
    """To `path`, the old last.pt staying as previous.pt, and to `copy` (bytes of its own)."""
    data[-2:] = TAIL.to_bytes(2, "little")  # the zip's comment length: the mark and the hash
    data += MARK + hashlib.sha256(data).hexdigest().encode()
    try:
        for target in (path, copy) if copy else (path,):
            _put(data, target)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write the checkpoint of {len(data)} bytes ({error.strerror}); "
            "what was saved before is untouched"
        ) from error


def _put(data: bytearray, path: Path) -> None:
    """Write beside the target, force to disk, rename: a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """A rename is safe from a power cut only once the folder itself is on the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
