"""The course's rows of speech: sentences found again, context rebuilt, and faults in one line."""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlml.data import npy
from hlml.data.phonemes import CLASSES
from hlml.data.sequences import UNKNOWN
from hlml.data.timit import LABELS, TEST, TRAIN, Timit
from hlml.errors import UserError

SENTENCES, TESTS = [40, 25, 30, 60, 20, 45, 30], [33, 1, 50]
SPLITS = ("train", "valid", "test")


def rows(lengths: list[int], seed: int = 0) -> np.ndarray:
    """(N, 429) as the course made them: eleven frames side by side, a sentence's ends repeated."""
    draw = np.random.default_rng(seed)
    made = []
    for length in lengths:
        frames = draw.normal(size=(length, 39)).astype(np.float32)
        places = np.arange(length)[:, None] + np.arange(-5, 6)
        made.append(frames[places.clip(0, length - 1)].reshape(length, 429))
    return np.concatenate(made)


@pytest.fixture
def files() -> dict[str, np.ndarray]:
    labels = np.random.default_rng(7).integers(0, 39, sum(SENTENCES))
    return {TRAIN: rows(SENTENCES), LABELS: labels.astype(str), TEST: rows(TESTS, 1)}


def write(folder: Path, files: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        np.save(folder / name, content)
    return folder


def read(root: Path, **options: Any) -> Timit:
    return Timit(4, root=str(root), **options)


def frames(data: Timit, split: str) -> np.ndarray:
    """All of a split's frames, in order."""
    split_rows = data.splits[split]  # type: ignore[index]
    batch = split_rows.batch(torch.arange(len(split_rows)), 0)
    return batch.frames[batch.mask].numpy()


@pytest.mark.parametrize("kind", [np.float32, np.float64, ">f4"])
def test_eleven_frames_are_the_files_rows_and_sentences_are_found(
    kind: Any, tmp_path: Path, files: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy, "CHUNK", 10_000)  # a few rows: sentences go over the chunks' ends
    stored = files | {name: files[name].astype(kind) for name in (TRAIN, TEST)}
    data = read(write(tmp_path, stored))
    assert data.sizes() == {"inputs": 429, "classes": 39}
    assert data.class_names == CLASSES
    assert data.splits["train"].lengths.tolist() == SENTENCES[:5]
    assert data.splits["valid"].lengths.tolist() == SENTENCES[5:]
    assert data.splits["test"].lengths.tolist() == TESTS
    assert np.array_equal(np.concatenate([frames(data, s) for s in SPLITS[:2]]), files[TRAIN])
    assert np.array_equal(frames(data, "test"), files[TEST])


@pytest.mark.parametrize("context", [0, 1, 8])
def test_other_contexts_come_from_neighbouring_rows(
    context: int, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    data = read(write(tmp_path, files), context=context)
    middle = files[TRAIN][:, 195:234]
    ends = list(itertools.accumulate(SENTENCES))
    wanted = []
    for start, end in zip([0, *ends], ends, strict=False):
        sentence = middle[start:end]
        for place in range(len(sentence)):
            around = [
                sentence[min(max(place + step, 0), len(sentence) - 1)]
                for step in range(-context, context + 1)
            ]
            wanted.append(np.concatenate(around))
    found = np.concatenate([frames(data, s) for s in SPLITS[:2]])
    assert np.array_equal(found, np.stack(wanted))


@pytest.mark.parametrize("kind", ["U2", "S2", np.int64, np.uint8, np.float32, ">i4"])
def test_labels_may_be_text_or_numbers(
    kind: Any, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    files[LABELS], numbers = files[LABELS].astype(kind), files[LABELS].astype(int)
    data = read(write(tmp_path, files))
    batches = [data.splits[s].batch(torch.arange(len(data.splits[s])), 0) for s in SPLITS]  # type: ignore[index]
    found = torch.cat([batch.labels[batch.mask] for batch in batches])
    assert found.tolist() == [*numbers, *[UNKNOWN] * sum(TESTS)]
    assert [data.has_labels(split) for split in SPLITS] == [True, True, False]  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [".", "timit_11"])
@pytest.mark.parametrize("packing", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_found_where_the_course_leaves_them(
    place: str, packing: int | None, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    home = tmp_path / place
    write(home, {} if packing is not None else files)
    if packing is not None:
        (tmp_path / "other.zip").write_bytes(b"half a download")
        with zipfile.ZipFile(home / "data.zip", "w", packing) as archive:
            archive.writestr(f"__MACOSX/timit_11/{TRAIN}", b"shadow")
            for name, content in files.items():
                stream = io.BytesIO()
                np.save(stream, content)
                archive.writestr(f"timit_11/{name}", stream.getvalue())
    for root in [tmp_path, home] + ([home / "data.zip"] if packing is not None else []):
        assert np.array_equal(frames(read(root), "test"), files[TEST])
    left = {path.name for path in home.iterdir()} - {"cache"}
    assert TRAIN not in left or packing is None  # nothing of a zip reaches the disk


def test_packed_once_and_anew_when_a_file_changes(
    tmp_path: Path, files: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path, files)
    read(root)
    assert "packing the frames of" in capsys.readouterr().err
    read(root, context=0, stretch=7, valid=0.5)
    assert capsys.readouterr().err == ""
    write(root, {TEST: rows(TESTS, seed=2)})
    assert np.array_equal(frames(read(root), "test"), rows(TESTS, seed=2))
    assert len(list((root / "cache").glob("*.bin"))) == 2


def test_validation_is_the_end_of_the_file_and_shares_no_sentence_with_training(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    root = write(tmp_path, files)
    for share in (0.1, 0.3, 0.6):
        data = read(root, valid=share)
        train, valid = (data.splits[split].index.tolist() for split in SPLITS[:2])  # type: ignore[index]
        assert train + valid == list(range(len(SENTENCES)))
        held_out = sum(SENTENCES[row] for row in valid)
        # whole sentences: at least the share, and less than one sentence more
        assert 0 <= held_out - share * sum(SENTENCES) < max(SENTENCES)
    with pytest.raises(UserError, match=r"data\.valid=0 leaves 7 of 7 utterances to train on"):
        read(root, valid=0)
    with pytest.raises(UserError, match=r"data\.valid=0\.99 leaves 0 of 7"):
        read(root, valid=0.99)


@pytest.mark.parametrize("stretch", [1, 7, 40, 59])
def test_longer_sentences_are_cut_into_equal_parts(
    stretch: int, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    data = read(write(tmp_path, files), stretch=stretch, context=0)
    lengths = iter(torch.cat([data.splits[split].lengths for split in SPLITS]).tolist())  # type: ignore[index]
    for sentence in SENTENCES + TESTS:
        parts = list(itertools.islice(lengths, -(-sentence // stretch)))
        assert sum(parts) == sentence
        assert max(parts) <= stretch
        assert max(parts) - min(parts) <= 1
    assert not list(lengths)
    assert np.array_equal(frames(data, "test"), files[TEST][:, 195:234])


def test_rows_that_do_not_show_their_sentences_are_cut_at_stretches(
    tmp_path: Path, files: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    """As when somebody has standardised every column."""
    changed = {name: files[name] * np.linspace(1, 2, 429) for name in (TRAIN, TEST)}
    data = read(write(tmp_path, files | changed), stretch=50)
    assert "rows do not repeat their neighbours' frames" in capsys.readouterr().err
    assert data.splits["train"].lengths.tolist() == [50] * 4
    assert data.splits["valid"].lengths.tolist() == [50]
    assert data.splits["test"].lengths.tolist() == [42, 42]
    middle = changed[TEST][:, 195:234].astype(np.float32)
    assert np.array_equal(frames(data, "test")[:, 195:234], middle)


def test_answers_have_a_line_a_frame_in_the_files_order(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    data = read(write(tmp_path, files), budget=40)
    answers: list[list[int]] = []
    for batch in data.evaluation("test"):
        # a frame's answer is told from the frame
        told = (batch.frames[..., 0].abs() * 1e4).long() % 39
        answers += [row[real].tolist() for row, real in zip(told, batch.mask, strict=True)]
    data.write_answers(answers, tmp_path / data.answers_name)
    wanted = (torch.from_numpy(files[TEST][:, 0]).abs() * 1e4).long() % 39
    lines = [f"{row},{answer}" for row, answer in enumerate(wanted.tolist())]
    assert (tmp_path / "prediction.csv").read_text() == "\n".join(["Id,Class", *lines, ""])
    with pytest.raises(ValueError, match="83 answers for 84 frames"):
        data.write_answers([answers[0][:-1], *answers[1:]], tmp_path / "short.csv")


def spoil(path: Path, content: Any) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, int):
        path.write_bytes(path.read_bytes()[:content])
    else:
        np.save(path, content, allow_pickle=True)


OBJECTS = np.array(["1", 2, None], dtype=object)
NAN = rows([30])
NAN[17, 300] = np.nan
HUGE = rows([30]).astype(np.float64)
HUGE[3, 200] = 1e300
BAD_ROWS = {
    "columns": (rows([30])[:, :428], "holds 30x428 of float32, and must hold rows of 429 floats"),
    "whole numbers": (rows([30]).astype(int), "holds 30x429 of int64, and must hold rows of 429"),
    "three dimensions": (rows([30]).reshape(30, 11, 39), "holds 30x11x39 of float32"),
    "no rows": (rows([30])[:0], "holds 0x429"),
    "by columns": (np.asfortranarray(rows([30])), "is stored by columns"),
    "NaN": (NAN, "row 17: a number in it is none to compute with"),
    "too large": (HUGE, "row 3: a number in it is none"),
    "cut in the rows": (5000, "has 5,000 bytes, and its header promises"),
    "cut in the header": (50, "cannot be read"),
    "empty": (b"", "is empty: fetch it again"),
    "text": (b"<!doctype html>", r"is no \.npy file"),
    "a pickle": (b"\x80\x04K\x01.", "is a pickle"),
    "objects": (OBJECTS, "holds Python objects, and to read those is to run them"),
    "a header of code": (
        b"\x93NUMPY\x01\x00\x46\x00" + b"__import__('os').getpid()".ljust(69) + b"\n",
        "cannot be read",
    ),
    "another version": (b"\x93NUMPY\x09\x00", "unknown version"),
}


@pytest.mark.parametrize("name", [TRAIN, TEST])
@pytest.mark.parametrize("case", BAD_ROWS)
def test_rows_that_cannot_be_used_are_one_line_with_the_file(
    case: str, name: str, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    root = write(tmp_path, files)
    content, message = BAD_ROWS[case]
    spoil(root / name, content)
    with pytest.raises(UserError, match=message) as caught:
        read(root)
    assert str(caught.value).startswith(str(root / name))
    assert "\n" not in str(caught.value)
    assert not list((root / "cache").glob("*.bin")) + list((root / "cache").glob("*.partial"))


NUMBERS = np.arange(sum(SENTENCES)) % 39
BAD_LABELS = {
    "too few": (NUMBERS[:-1], "has 249 labels for 250 rows of train_11.npy"),
    "39": (np.where(NUMBERS == 5, 39, NUMBERS), "row 5: 39 is no class from 0 to 38"),
    "-1": (np.where(NUMBERS == 7, -1, NUMBERS).astype(str), "row 7: -1 is no class"),
    "a name": (np.where(NUMBERS == 8, "sil", NUMBERS.astype(str)), "row 8: sil is no class"),
    "a power": (np.where(NUMBERS == 8, "²", NUMBERS.astype(str)), "row 8: ² is no class"),
    "huge": (np.where(NUMBERS == 8, "9" * 30, NUMBERS.astype(str)), "row 8: 9{30} is no class"),
    "half": (np.where(NUMBERS == 2, 2.5, NUMBERS), r"row 2: 2\.5 is no class"),
    "NaN": (np.where(NUMBERS == 2, np.nan, NUMBERS), "row 2: nan is no class"),
    "columns": (NUMBERS[:, None], "holds 250x1 of int64, and must hold one column of labels"),
    "objects": (NUMBERS.astype(object), "holds Python objects"),
    "cut": (200, "has 200 bytes, and its header promises"),
    "text": (b"0,1,2", r"is no \.npy file"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_cannot_be_used_are_one_line_with_the_file(
    case: str, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    root = write(tmp_path, files)
    content, message = BAD_LABELS[case]
    spoil(root / LABELS, content)
    with pytest.raises(UserError, match=message) as caught:
        read(root)
    assert str(caught.value).startswith(str(root / LABELS))
    assert "\n" not in str(caught.value)


def test_missing_files_are_named_with_where_they_come_from(
    tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    del files[TRAIN], files[TEST]
    message = (
        f"{TRAIN} and {TEST} not found in .*timit_11 or a zip there: .*ml2021spring-hw2.*"
        r"data\.root=FOLDER"
    )
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, files))


def packed_rows(path: Path, content: bytes, packing: int) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in (TRAIN, LABELS, TEST):
            archive.writestr(name, content)
    return path


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path, files: dict[str, np.ndarray]) -> None:
    stream = io.BytesIO()
    np.save(stream, files[TRAIN])
    path = packed_rows(tmp_path / "data.zip", stream.getvalue(), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[len(content) // 6] ^= 1  # in the middle of the first
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{path}/{TRAIN} cannot be read (Bad CRC-32")):
        read(tmp_path)


def test_a_zip_that_swells_is_refused(tmp_path: Path) -> None:
    packed_rows(tmp_path / "data.zip", bytes(20_000_000), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="unpacks to over 200 times its size"):
        read(tmp_path)


@pytest.mark.parametrize("stretch", [-1, -400])
def test_a_stretch_of_less_than_nothing_is_refused(
    stretch: int, tmp_path: Path, files: dict[str, np.ndarray]
) -> None:
    with pytest.raises(UserError, match=rf"data\.stretch={stretch}"):
        read(write(tmp_path, files), stretch=stretch)
