"""Any folder of class folders: its classes, its split, and what it must not be."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from hlml.data.image_folder import ImageFolder
from hlml.data.images import UNKNOWN
from hlml.errors import UserError

SPLITS = ("train", "valid", "test")


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (6, 6), (number, 0, 255 - number)).save(file, "PNG")
    return file.getvalue()


def make(root: Path, counts: dict[str, int]) -> Path:
    """So many pictures in each folder, each of another colour."""
    number = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (root / folder / f"{index}.png").write_bytes(picture(number))
            number += 1
    return root


def read(folder: Path, **options: object) -> ImageFolder:
    root = str(folder.parent / "data")
    return ImageFolder(4, root=root, folder=str(folder), **options)  # type: ignore[arg-type]


def files_of(data: ImageFolder) -> dict[str, list[int]]:
    return {split: data.splits[split].index.tolist() for split in SPLITS}  # type: ignore[index]


def test_every_picture_is_in_one_split_and_every_class_in_its_share(tmp_path: Path) -> None:
    data = read(make(tmp_path / "set", {"rose": 60, "ivy": 30, "oak tree": 10}), valid=0.2)
    assert data.class_names == ["ivy", "oak tree", "rose"]
    splits = files_of(data)
    assert sorted(itertools.chain(*splits.values())) == list(range(100))
    counts = {s: data.splits[s].labels.bincount().tolist() for s in SPLITS}  # type: ignore[index]
    assert counts == {"train": [21, 7, 42], "valid": [6, 2, 12], "test": [3, 1, 6]}
    for split, rows in splits.items():
        labels = data.splits[split].labels.tolist()  # type: ignore[index]
        folders = [data.file_names[row].split("/")[0] for row in rows]
        assert [data.class_names[label] for label in labels] == folders
    assert data.has_labels("test")


def test_the_split_depends_on_its_own_seed_alone(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    first = files_of(read(folder))
    assert files_of(read(folder, seed=5)) == first
    assert files_of(read(folder, split_seed=5)) != first


def test_an_archive_in_root_with_a_folder_around_is_the_same(tmp_path: Path) -> None:
    folder = make(tmp_path / "set", {"a": 10, "b": 10})
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data/set.tgz", "w:gz") as packed:
        packed.add(folder, "downloads/set")
    data = ImageFolder(4, root=str(tmp_path / "data"), folder="set.tgz")
    assert data.class_names == ["a", "b"]
    assert files_of(data) == files_of(read(folder))
    wanted = read(folder).splits["test"].read(torch.arange(2))
    assert torch.equal(data.splits["test"].read(torch.arange(2)), wanted)


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    data = read(make(tmp_path / "set", {str(number): 10 for number in (10, 9, 0)}))
    assert data.class_names == ["0", "9", "10"]


def test_a_folder_without_classes_has_no_labels_and_can_be_scored(tmp_path: Path) -> None:
    data = read(make(tmp_path / "set/faces", {"": 30}).parent)
    assert data.class_names == []
    assert data.sizes() == {"channels": 3, "size": 6, "classes": 0}
    assert {len(rows) for rows in files_of(data).values()} == {24, 3}
    assert set(data.splits["train"].labels.tolist()) == {UNKNOWN}
    assert sorted(torch.cat(data.plan(0)).tolist()) == list(range(24))
    assert data.has_labels("test")


def test_one_channel_is_grey(tmp_path: Path) -> None:
    data = read(make(tmp_path / "set", {"a": 10, "b": 10}), channels=1)
    row = data.splits["train"].index[3]
    colour = (int(row), 0, 255 - int(row))
    grey = round(0.299 * colour[0] + 0.114 * colour[2])
    pixels = data.splits["train"].read(torch.tensor([3]))
    assert pixels.shape == (1, 1, 6, 6)
    assert (pixels.int() - grey).abs().max() <= 1


def test_bad_files_are_in_no_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    (folder / "a/3.png").write_bytes(b"text")
    (folder / "b/\x1b[31m.png").write_bytes(b"")
    splits = files_of(data := read(folder))
    left = {name for rows in splits.values() for row in rows for name in [data.file_names[row]]}
    assert len(left) == 39
    assert "a/3.png" not in left
    assert capsys.readouterr().err == (
        f"hlml: 2 of 41 pictures of {folder} cannot be read and are left out: "
        "a/3.png (not a picture), b/\\x1b[31m.png (empty or unreadable)\n"
    )


def test_copies_across_the_split_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "set", {"a": 20, "b": 20})
    read(folder)
    assert capsys.readouterr().err == ""
    for index in range(20):
        (folder / f"b/{index}.png").write_bytes(picture(200))
    data = read(folder)
    held_out = sum(name.startswith("b") for s in ("valid", "test") for name in names(data, s))
    assert f"hlml: {held_out} pictures to validate or test on are also" in capsys.readouterr().err


def names(data: ImageFolder, split: str) -> list[str]:
    return [data.file_names[row] for row in files_of(data)[split]]


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"notes": 0}, {}, r"there are no pictures in it \(files that end in .*\.jpg"),
        ({"a": 5, "b": 5, "": 3}, {}, "3 pictures lie beside the class folders a, b"),
        ({"train": 5, "val": 5}, {}, "train, val are splits, not classes"),
        ({"a": 5, "b": 5}, {"valid": 0.5, "test": 0.5}, "leave 0 to train on, 5 .* 5 to test"),
        ({"a": 5, "b": 5}, {"valid": 0.01}, "0 to validate on"),
        ({"a": 5, "b": 5}, {"test": -0.5}, r"data\.test=-0\.5"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, counts: dict[str, int], options: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(make(tmp_path / "set", counts), **options)


def test_a_folder_that_is_not_there_is_named_with_both_places(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.folder=nowhere: there is no nowhere and no .*data/"
    ):
        ImageFolder(4, root=str(tmp_path / "data"), folder="nowhere")
