"""A checkpoint is whole or refused: cut files, flipped bits, pickles, full disks, kill -9."""

from __future__ import annotations

import os
import pickle
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlml import checkpoint
from hlml.checkpoint import DamagedError
from hlml.errors import UserError

STATE: dict[str, Any] = {
    "weights": torch.arange(1000.0),
    "lr": 0.1,
    "none": None,
    "list": [1, (2.5, "x")],
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    checkpoint.save(STATE | {"lr": 0.2}, path)
    checkpoint.save(STATE, path)
    return path


def test_round_trip_and_torch_reads_it(saved: Path) -> None:
    for state in (checkpoint.load(saved), torch.load(saved, weights_only=True)):
        assert torch.equal(state.pop("weights"), STATE["weights"])
        assert state == {name: value for name, value in STATE.items() if name != "weights"}


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_a_cut_file_falls_back_to_the_one_before(saved: Path, keep: float) -> None:
    data = saved.read_bytes()
    length = len(data) - 1 if keep == -1 else int(keep * len(data)) if keep < 1 else int(keep)
    saved.write_bytes(data[:length])
    with pytest.raises(DamagedError):
        checkpoint.load(saved)
    state, warning = checkpoint.load_newest(saved)
    assert state["lr"] == 0.2
    assert "previous.pt" in warning


def test_a_flipped_bit_anywhere_is_found(saved: Path) -> None:
    data = saved.read_bytes()
    places = random.Random(0).sample(range(len(data)), 64)
    for place in [*places, 0, len(data) - 1]:
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << (place % 8)
        saved.write_bytes(spoiled)
        with pytest.raises(DamagedError):
            checkpoint.load(saved)


def test_both_damaged_is_said(saved: Path) -> None:
    for name in ("last.pt", "previous.pt"):
        (saved.parent / name).write_bytes(b"")
    with pytest.raises(UserError, match="start again"):
        checkpoint.load_newest(saved)


def test_killed_between_the_two_renames(saved: Path) -> None:
    """Then there is no last.pt for a moment, and the one before is what counts."""
    saved.unlink()
    assert checkpoint.load_newest(saved)[0]["lr"] == 0.2


class Payload:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("pwned",))


def test_a_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a right checksum: whoever writes the file can compute one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    checkpoint.save({"task": Payload()}, path)
    with pytest.raises(UserError, match="code and not only weights"):
        checkpoint.load(path)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DamagedError):
        checkpoint.load(path)
    assert not Path("pwned").exists()


def test_a_full_disk_leaves_the_old_one(saved: Path) -> None:
    """The file size limit stands for the disk: the message has the path and the bytes."""
    before = saved.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(UserError, match=r"last\.pt: cannot write the checkpoint of \d+ bytes"):
            checkpoint.save(STATE, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert saved.read_bytes() == before


def test_a_failed_save_in_the_background_is_an_error(tmp_path: Path) -> None:
    saver = checkpoint.Saver()
    saver.save(STATE, tmp_path / "gone" / "last.pt")
    with pytest.raises(UserError, match="cannot write"):
        saver.close()


def test_random_states_round_trip() -> None:
    state = checkpoint.random_state()
    drawn = (random.random(), np.random.rand(), torch.rand(3).tolist())
    checkpoint.set_random_state(state)
    assert (random.random(), np.random.rand(), torch.rand(3).tolist()) == drawn


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from hlml import checkpoint

path, moments = Path("last.pt"), random.Random(1)
checkpoint.save({"n": -1, "w": torch.full((200_000,), -1.0)}, path)
for kill in range(60):
    child = os.fork()
    if child == 0:
        for n in range(10**6):
            checkpoint.save({"n": n, "w": torch.full((200_000,), float(n))}, path)
    time.sleep(moments.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    state, _ = checkpoint.load_newest(path)
    assert torch.equal(state["w"], torch.full((200_000,), float(state["n"])))
"""


def test_kill_9_while_saving_never_leaves_an_unreadable_run(tmp_path: Path) -> None:
    """60 kills at random moments of a process that does nothing but save."""
    subprocess.run([sys.executable, "-c", KILLS], cwd=tmp_path, check=True)
