"""What is kept on the disk: read back as it was, and made again where it is spoilt."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hlml.data.speech_cache import Kept, Piece, kept
from hlml.errors import UserError

LENGTHS = [4, 1, 7]


def pieces(width: int = 3, labels: str = "frames") -> Iterator[Piece]:
    draw = torch.Generator().manual_seed(0)
    for number, length in enumerate(LENGTHS):
        frames = torch.randn(length, width, generator=draw)
        marks = torch.arange(length) + number if labels == "frames" else torch.tensor([number])
        wave = torch.rand(length * 10, generator=draw) * 2 - 1 if number == 1 else None
        yield Piece(frames, marks, wave)


class Counted:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Iterator[Piece]:
        self.times += 1
        return pieces()


@pytest.mark.parametrize("labels", ["frames", "utterances"])
def test_it_comes_back_as_it_was_made(tmp_path: Path, labels: str) -> None:
    found = kept(tmp_path, "some", 3, lambda: pieces(labels=labels))
    made = list(pieces(labels=labels))
    corpus = found.corpus
    assert corpus.one_label == (labels == "utterances")
    assert torch.equal(corpus.frames, torch.cat([piece.frames for piece in made]).half())
    assert torch.equal(corpus.labels, torch.cat([piece.labels for piece in made]))
    assert corpus.lengths.tolist() == LENGTHS
    assert corpus.starts.tolist() == [0, 4, 5]
    assert found.wave(0) is found.wave(2) is None
    wave = found.wave(1)
    assert wave is not None
    assert made[1].wave is not None
    np.testing.assert_allclose(wave.numpy(), made[1].wave.numpy(), atol=2**-15)


def test_what_is_louder_than_int16_is_cut_off_and_does_not_wrap(tmp_path: Path) -> None:
    loud = Piece(torch.zeros(1, 3), torch.zeros(1), torch.tensor([1.5, -1.5, 0.5]))
    wave = kept(tmp_path, "loud", 3, lambda: iter([loud])).wave(0)
    assert wave is not None
    np.testing.assert_allclose(wave.numpy(), [1.0, -1.0, 0.5], atol=2**-15)


@pytest.mark.parametrize("name", ["frames.bin", "labels.bin", "waves.bin", "index.npz"])
@pytest.mark.parametrize("spoilt", ["cut", "longer", "empty", "gone"])
def test_a_spoilt_file_is_made_again(tmp_path: Path, name: str, spoilt: str) -> None:
    make = Counted()
    first = kept(tmp_path, "some", 3, make).corpus.frames.clone()
    kept(tmp_path, "some", 3, make)
    assert make.times == 1
    path = tmp_path / "cache/some" / name
    content = path.read_bytes()
    changed = {"cut": content[:-3], "longer": content + b"more", "empty": b""}
    if spoilt == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[spoilt])
    assert torch.equal(kept(tmp_path, "some", 3, make).corpus.frames, first)
    # a zip file may be followed by anything
    assert make.times == (1 if (name, spoilt) == ("index.npz", "longer") else 2)


def test_who_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def stopping() -> Iterator[Piece]:
        yield from pieces()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path, "some", 3, stopping)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["some.lock"]
    make = Counted()
    kept(tmp_path, "some", 3, make)
    assert make.times == 1


def test_frames_are_mapped_and_what_is_written_to_them_stays_in_memory(tmp_path: Path) -> None:
    found = kept(tmp_path, "some", 3, pieces)
    before = found.corpus.frames.clone()
    found.corpus.frames.zero_()
    assert torch.equal(kept(tmp_path, "some", 3, pieces).corpus.frames, before)


def _total(root: Path) -> float:
    def slow() -> Iterator[Piece]:
        (root / f"made {multiprocessing.current_process().pid}").touch()
        return pieces()

    found: Kept = kept(root, "some", 3, slow)
    return float(found.corpus.frames.float().sum())


def test_of_processes_that_start_at_once_one_makes_it(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        totals = pool.map(_total, [tmp_path] * 3)
    assert len(set(totals)) == 1
    assert len(list(tmp_path.glob("made *"))) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cache cannot be written .*data\.root=FOLDER"):
        kept(tmp_path, "some", 3, pieces)
