"""Packed frames: what was put, made once, whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from hlml.data import packed as module
from hlml.data.packed import Notes, Packing, Put, packed
from hlml.errors import UserError

FRAMES = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


def packing(made: list[int] | None = None, **other: Any) -> Packing:
    """Of FRAMES, in parts; counts in `made` how often."""

    def make(put: Put) -> Notes:
        if made is not None:
            made.append(1)
        for part in FRAMES.split(7):
            put(part)
        return {"lengths": [20, 30], "name": "\u00e9\n"}

    return Packing(
        **{"name": "toy", "width": 3, "dtype": torch.float32, "key": 1, "make": make} | other
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_was_put_is_read_again_and_made_once(dtype: torch.dtype, tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(3):
        frames, notes = packed(tmp_path / "cache", packing(made, dtype=dtype))
        assert torch.equal(frames, FRAMES.to(dtype))
        assert notes == {"lengths": [20, 30], "name": "\u00e9\n", "rows": 50}
    assert len(made) == 1


def test_anything_else_about_it_is_another_file(tmp_path: Path) -> None:
    made: list[int] = []
    others: list[dict[str, Any]] = [{}, {"name": "b"}, {"key": 2}, {"key": [["a", 1]]}]
    others += [{"dtype": torch.float16}]
    for other in others:
        packed(tmp_path, packing(made, **other))
    assert len(made) == len(others) == len(list(tmp_path.glob("*.bin")))


@pytest.mark.parametrize("cut", [0, 5, 16, 60, 200, 599, "all", "notes", "magic", "more"])
def test_a_file_that_is_not_whole_is_made_anew(
    cut: int | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    packed(tmp_path, packing(made))
    (path,) = tmp_path.glob("*.bin")
    content = path.read_bytes()
    spoilt = {
        "all": b"",
        "notes": content[:-30] + bytes([content[-30] ^ 1]) + content[-29:],
        "magic": content[:-1] + b"?",
        "more": content[:40] + content[36:],
    }
    path.write_bytes(content[: -int(cut) - 1] if isinstance(cut, int) else spoilt[cut])
    frames, _ = packed(tmp_path, packing(made))
    assert torch.equal(frames, FRAMES)
    assert len(made) == 2
    assert path.read_bytes() == content
    assert capsys.readouterr().err == f"hlml: {path} is damaged and made anew\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_an_interrupted_packing_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    def make(put: Put) -> Notes:
        put(FRAMES)
        raise error

    with pytest.raises(error):
        packed(tmp_path, packing(make=make))
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
    frames, _ = packed(tmp_path, packing())
    assert torch.equal(frames, FRAMES)


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    packed(tmp_path, packing())
    (path,) = tmp_path.glob("*.bin")
    path.rename(path.with_suffix(".partial"))
    with path.with_suffix(".partial").open("ab") as file:
        file.write(bytes(1000))
    frames, _ = packed(tmp_path, packing())
    assert torch.equal(frames, FRAMES)
    assert not list(tmp_path.glob("*.partial"))


def _pack_in_a_process(folder: Path) -> int:
    made: list[int] = []
    frames, _ = packed(folder, packing(made))
    assert torch.equal(frames, FRAMES)
    return len(made)


def test_of_processes_that_start_at_once_one_packs(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert sum(pool.map(_pack_in_a_process, [tmp_path] * 3, chunksize=1)) == 1


def test_writing_to_frames_does_not_reach_the_file(tmp_path: Path) -> None:
    packed(tmp_path, packing())[0].zero_()
    assert torch.equal(packed(tmp_path, packing())[0], FRAMES)


def test_without_a_place_in_the_cache_frames_are_still_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "cache").write_text("a file where the folder should be")
    frames, _ = packed(tmp_path / "cache", packing())
    assert torch.equal(frames, FRAMES)  # mapped, though the file is gone
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert "packed frames cannot be kept in" in capsys.readouterr().err
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"kept neither in .*cache nor in .* data\.root=FOLDER"):
        packed(tmp_path / "cache", packing())


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.strerror(28)

    def fsync(number: int) -> None:
        raise OSError(28, full)

    monkeypatch.setattr(module.os, "fsync", fsync)
    with pytest.raises(UserError, match=full):
        packed(tmp_path, packing())
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_finished_cache_is_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    packed(tmp_path, packing())
    for path in tmp_path.glob("*.lock"):
        path.unlink()
    tmp_path.chmod(0o500)
    try:
        frames, _ = packed(tmp_path, packing(make=None))  # it is not asked
    finally:
        tmp_path.chmod(0o700)
    assert torch.equal(frames, FRAMES)
