"""Speakers from a folder: whose a recording is, who is held out, and real digits."""

from __future__ import annotations

import csv
import io
import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlml.data.speaker_folder import SpeakerFolder
from hlml.errors import UserError

soundfile = pytest.importorskip("soundfile", reason="the extra `speech` is not installed")

SHARED = Path(__file__).parents[3] / "shared/data/spoken_digits.zip"
SPLITS = ("train", "valid", "test")


def sound(number: int, rate: int = 8_000) -> np.ndarray:
    """(n,) a tone by which a recording is known again, 0.15 s to 0.3 s."""
    time = np.arange(int(rate * (0.15 + number % 4 * 0.05))) / rate
    return 0.3 * np.sin(2 * np.pi * (200 + 10 * number) * time)


def wav(number: int, rate: int = 8_000) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, sound(number, rate), rate, format="WAV")
    return stream.getvalue()


def make(root: Path, speakers: dict[str, int], layout: str = "{speaker}/{index}.wav") -> Path:
    """`root` with so many recordings of each speaker, all different."""
    number = 0
    for speaker, count in speakers.items():
        for index in range(count):
            path = root / layout.format(speaker=speaker, index=index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wav(number))
            number += 1
    return root


def read(folder: Path, **options: Any) -> SpeakerFolder:
    return SpeakerFolder(4, root=str(folder.parent / "data"), folder=str(folder), **options)


def files_of(data: SpeakerFolder) -> dict[str, list[str]]:
    return {
        split: [data.file_names[row] for row in data.splits[split].index.tolist()]  # type: ignore[index]
        for split in SPLITS
    }


def test_every_recording_is_in_one_split_and_every_speaker_in_their_share(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"eve": 30, "ann": 20, "joe d": 10})
    (folder / "eve/notes.txt").write_text("not a recording")
    data = read(folder, valid=0.2)
    assert data.class_names == ["ann", "eve", "joe d"]
    assert data.sizes() == {"inputs": 40, "classes": 3, "one_label": True}
    files = files_of(data)
    everything = sorted(itertools.chain(*files.values()))
    assert everything == sorted(f"{p.parent.name}/{p.name}" for p in folder.glob("*/*.wav"))
    for split, counts in (("train", [14, 21, 7]), ("valid", [4, 6, 2]), ("test", [2, 3, 1])):
        rows = data.splits[split]  # type: ignore[index]
        labels = rows.batch(torch.arange(len(rows)), 0).labels
        assert labels.bincount().tolist() == counts
        speakers = [file.split("/")[0] for file in files[split]]
        assert [data.class_names[label] for label in labels.tolist()] == speakers
    assert data.has_labels("test")


def test_the_split_depends_on_its_own_seed_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    first = files_of(read(folder))
    assert files_of(read(folder, seed=5)) == first
    assert files_of(read(folder, split_seed=5)) != first


@pytest.mark.parametrize(
    "layout", ["{speaker}/{index}.wav", "wavs/{speaker}/{index}.WAV", "{speaker}/day 1/{index}.wav"]
)
def test_a_speaker_is_the_first_folder_in_which_recordings_differ(
    layout: str, tmp_path: Path
) -> None:
    data = read(make(tmp_path / "set", {"10": 10, "9": 10}, layout))
    assert data.class_names == ["9", "10"]  # by number, where all are numbers


def test_a_zip_in_root_is_the_same(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 10, "b": 10})
    wanted = read(folder)
    (tmp_path / "data").mkdir(exist_ok=True)
    with zipfile.ZipFile(tmp_path / "data/set.zip", "w") as archive:
        for path in sorted(folder.glob("*/*.wav")):
            archive.write(path, f"set/{path.relative_to(folder)}")
        archive.writestr("__MACOSX/a/._0.wav", b"shadow")
    data = SpeakerFolder(4, root=str(tmp_path / "data"), folder="set.zip")
    files = files_of(wanted)
    assert files_of(data) == {split: [f"set/{f}" for f in files[split]] for split in SPLITS}
    for one, other in zip(data.evaluation("test"), wanted.evaluation("test"), strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.labels, other.labels)


def test_a_row_sounds_as_its_file_does(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 10, "b": 10})
    data = read(folder)
    for row, name in enumerate(files_of(data)["valid"]):
        heard = data.sound(row)
        assert heard is not None
        wave, rate = heard
        number = int(Path(name).stem) + (10 if name.startswith("b/") else 0)
        assert rate == 8_000
        assert np.abs(wave.numpy() - sound(number)).max() < 1e-4
    (folder / files_of(data)["valid"][0]).unlink()  # a report does not end a run
    assert data.sound(0) is None


def test_answers_are_paths_and_names(tmp_path: Path) -> None:
    data = read(make(tmp_path / "set", {"a": 10, 'b, "the" bee': 10}))
    names = files_of(data)["test"]
    data.write_answers([1, 0], tmp_path / data.answers_name)
    with (tmp_path / "output.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["Id", "Category"],
            [names[0], 'b, "the" bee'],
            [names[1], "a"],
        ]


def test_bad_recordings_are_in_no_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    (folder / "a/3.wav").write_bytes(b"text")
    (folder / "b/7.wav").write_bytes(wav(27)[:800])
    (folder / "b/\x1b[31m.wav").write_bytes(b"")
    files = list(itertools.chain(*files_of(read(folder)).values()))
    assert len(files) == 38
    assert not {"a/3.wav", "b/7.wav"} & set(files)
    assert capsys.readouterr().err.endswith(
        f"hlml: 3 of 41 recordings of {folder} cannot be used and are left out: "
        "a/3.wav (no recording), b/\\x1b[31m.wav (empty or unreadable), b/7.wav (cut off)\n"
    )


def test_a_speaker_without_a_good_recording_is_none(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 10, "b": 10})
    make(folder, {"c": 2})
    for path in folder.glob("c/*.wav"):
        path.write_bytes(b"")
    assert read(folder).class_names == ["a", "b"]


def test_copies_across_the_split_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    read(folder)
    assert "scores on them flatter" not in capsys.readouterr().err
    for index in range(20):
        (folder / f"b/{index}.wav").write_bytes(wav(77))
    files = files_of(read(folder))
    held_out = sum(name.startswith("b") for s in ("valid", "test") for name in files[s])
    said = capsys.readouterr().err
    assert f"hlml: {held_out} recordings to validate or test on are also among those" in said


@pytest.mark.parametrize(
    ("speakers", "layout", "options", "message"),
    [
        ({}, "", {}, r"there are no recordings in it \(files that end in \.flac, \.ogg, \.wav\)"),
        ({"a": 4}, "{index}.wav", {}, r"4 recordings lie in no speaker's folder, such as 0\.wav"),
        ({"a": 4}, "{speaker}/{index}.wav", {}, "the folders in it are a, and must be two or more"),
        ({"train": 5, "Test": 5}, "{speaker}/{index}.wav", {}, "are Test, train, and must be two"),
        (
            {"a": 5, "b": 5},
            "{speaker}/{index}.wav",
            {"valid": 0.5, "test": 0.5},
            "of 10 recordings leave 0 to train on, 5 to validate on and 5 to test on",
        ),
        ({"a": 5, "b": 5}, "{speaker}/{index}.wav", {"valid": 0.01}, "0 to validate on"),
        ({"a": 5, "b": 5}, "{speaker}/{index}.wav", {"test": -0.5}, r"data\.test=-0\.5"),
        ({"a": 5, "b": 5}, "{speaker}/{index}.wav", {"unit": "frame"}, r"data\.unit=frame"),
    ],
)
def test_what_cannot_be_used_is_refused(
    speakers: dict[str, int], layout: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(UserError, match=message) as caught:
        read(make(folder, speakers, layout), **options)
    assert "\n" not in str(caught.value)


def test_a_recording_beside_the_speakers_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 5, "b": 5})
    (folder / "stray.wav").write_bytes(wav(3))
    with pytest.raises(UserError, match=r"1 recordings lie in no speaker's folder.*stray\.wav"):
        read(folder)


def test_a_folder_that_is_not_there_is_named_with_its_places(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.folder=nowhere: there is no nowhere and no .*data/nowhere: name a"
    ):
        SpeakerFolder(4, root=str(tmp_path / "data"), folder="nowhere")
    with pytest.raises(UserError, match="there is no /nowhere: name a"):
        SpeakerFolder(4, root=str(tmp_path / "data"), folder="/nowhere")


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED.name} is not here")
def test_real_digits_tell_their_speakers_by_their_mean_spectrum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fifty recordings a speaker, as they lie in the zip; the nearest mean is mostly right."""
    with zipfile.ZipFile(SHARED) as archive, zipfile.ZipFile(tmp_path / "digits.zip", "w") as few:
        for name in archive.namelist()[::9]:
            few.writestr(name, archive.read(name))
    data = SpeakerFolder(32, root=str(tmp_path), folder="digits.zip", segment=0, test=0.3)
    assert data.class_names == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    assert "cannot be used" not in capsys.readouterr().err
    assert len(data.file_names) == 300

    def means(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        rows = data.splits[split]  # type: ignore[index]
        batch = rows.batch(torch.arange(len(rows)), 0)
        sums = (batch.frames * batch.mask[..., None]).sum(1)
        return sums / batch.mask.sum(1, keepdim=True), batch.labels

    known, labels = means("train")
    centres = torch.stack([known[labels == speaker].mean(0) for speaker in range(6)])
    asked, truth = means("test")
    right = (torch.cdist(asked, centres).argmin(1) == truth).float().mean()
    assert right > 0.6  # by chance a sixth
