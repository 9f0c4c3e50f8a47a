"""The course's photos: their layout, labels and order, and what is said of what is wrong."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hlml.data.food11 import DISHES, Food11
from hlml.data.images import UNKNOWN
from hlml.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data/food-11.zip"
CLASSES = ["00", "01", "02"]


def picture(number: int, size: int = 20) -> bytes:
    """A file of one colour, by which it is known again: (number, 2 * number, 7)."""
    file = io.BytesIO()
    Image.new("RGB", (size, size + 4), (number, 2 * number, 7)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def files() -> dict[str, bytes]:
    """Three classes of 4 labelled and 2 validation pictures, 5 unlabelled and 3 to test on."""
    names = [f"training/labeled/{c}/{c}_{n}.jpg" for c in CLASSES for n in range(4)]
    names += [f"training/unlabeled/00/{n}.JPG" for n in range(5)]
    names += [f"validation/{c}/{c}_{n}.jpg" for c in CLASSES for n in range(2)]
    names += [f"testing/00/{n:04}.jpg" for n in (9, 10, 2)]
    return {name: picture(number) for number, name in enumerate(names)}


def unpacked(root: Path, files: dict[str, bytes], top: str = "food-11") -> Path:
    for name, content in files.items():
        (root / top / name).parent.mkdir(parents=True, exist_ok=True)
        (root / top / name).write_bytes(content)
    return root


def packed(root: Path, files: dict[str, bytes], top: str = "food-11/") -> Path:
    root.mkdir(exist_ok=True)
    with zipfile.ZipFile(root / "food-11.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
        archive.writestr("__MACOSX/food-11/testing/00/._0002.jpg", "shadow")
        archive.writestr(f"{top}testing/00/.DS_Store", "shadow")
    return root


def numbers(data: Food11, split: str) -> list[int]:
    """Which files a split's pictures came from, in order."""
    rows = data.splits[split]  # type: ignore[index]
    return [int(one) for one in rows.batch(torch.arange(len(rows)), 0).pictures[:, 0, 0, 0]]


def read(root: Path, **options: object) -> Food11:
    return Food11(4, root=str(root), **options)  # type: ignore[arg-type]


def test_folder_zip_and_either_as_root_are_the_same(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    folder, archive = unpacked(tmp_path / "a", files), packed(tmp_path / "b", files)
    bare, double = packed(tmp_path / "c", files, top=""), unpacked(tmp_path / "d/food-11", files)
    roots = [folder, folder / "food-11", archive, archive / "food-11.zip", bare, double.parent]
    for root in roots:
        data = read(root)
        assert data.sizes() == {"channels": 3, "size": 20, "classes": 3}
        assert data.class_names == CLASSES
        train = data.splits["train"]
        assert data.labelled == 12
        assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [UNKNOWN] * 5
        assert numbers(data, "train") == list(range(17))
        assert data.splits["valid"].labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert numbers(data, "valid") == list(range(17, 23))
        assert numbers(data, "test") == [25, 23, 24]  # 0002, 0009, 0010: by name
        assert data.splits["test"].labels.tolist() == [UNKNOWN] * 3
        assert [data.has_labels(split) for split in ("train", "valid", "test")] == [
            True,
            True,
            False,
        ]


def test_answers_go_by_the_order_of_the_files(tmp_path: Path, files: dict[str, bytes]) -> None:
    data = read(packed(tmp_path, files))
    data.write_answers([2, 0, 1], tmp_path / data.answers_name)
    assert (tmp_path / "predict.csv").read_text() == "Id,Category\n0,2\n1,0\n2,1\n"


def test_eleven_classes_have_the_courses_names_in_the_order_of_their_numbers(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    kept = {n: c for n, c in files.items() if n.startswith(("training/unlabeled", "testing"))}
    for number in range(11):  # without zeros in front: by name, 10 would come before 2
        kept[f"training/labeled/{number}/x.jpg"] = picture(100 + number)
        kept[f"validation/{number}/x.jpg"] = picture(50 + number)
    data = read(unpacked(tmp_path, kept))
    assert data.class_names == DISHES
    labels = [*data.splits["train"].labels[:11].tolist(), *data.splits["valid"].labels.tolist()]
    shown = [*numbers(data, "train")[:11], *numbers(data, "valid")]
    assert shown == [100 + label for label in labels[:11]] + [50 + label for label in labels[11:]]


def test_a_size_of_null_is_what_most_files_measure_up_to_128(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    few = dict.fromkeys(list(files)[:5], picture(1, size=50))
    assert read(packed(tmp_path / "a", files | few)).size == 20
    large = dict.fromkeys(files, picture(1, size=300))
    assert read(packed(tmp_path / "b", large)).size == 128
    assert read(packed(tmp_path / "c", files), size=9).size == 9


def test_bad_files_are_left_out_and_said_but_the_test_keeps_its_rows(
    tmp_path: Path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {
        "training/labeled/01/01_2.jpg": picture(6)[:60],
        "training/unlabeled/00/3.JPG": b"",
        "validation/02/02_0.jpg": b"<html>",
        "testing/00/0009.jpg": b"text",
    }
    root = packed(tmp_path, files | bad)
    for _ in range(2):  # decoded, and then from the cache
        data = read(root)
        lines = capsys.readouterr().err.splitlines()
        assert lines == [
            f"hlml: 1 of 26 pictures of {root}/food-11.zip cannot be read and stay as grey "
            "squares: food-11/testing/00/0009.jpg (not a picture)",
            f"hlml: 3 of 26 pictures of {root}/food-11.zip cannot be read and are left out: "
            "food-11/training/labeled/01/01_2.jpg (truncated), "
            "food-11/training/unlabeled/00/3.JPG (empty or unreadable), "
            "food-11/validation/02/02_0.jpg (not a picture)",
        ]
        assert numbers(data, "train") == [*range(6), *range(7, 15), 16]
        assert data.labelled == 11
        assert data.splits["train"].labels[:11].tolist() == [0] * 4 + [1] * 3 + [2] * 4
        assert numbers(data, "valid") == [17, 18, 19, 20, 22]
        assert numbers(data, "test") == [25, 128, 24]


def test_nothing_readable_is_an_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match=r"none of its 26 pictures can be read, such as .*testing"):
        read(packed(tmp_path / "a", dict.fromkeys(files, b"text")))
    bad = {name: b"text" for name in files if "validation" in name}
    with pytest.raises(UserError, match="no picture of validation can be read"):
        read(packed(tmp_path / "b", files | bad))


def test_what_is_missing_is_named_with_what_is_there(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(
        UserError, match=r"food-11/ or food-11\.zip not found in .*Kaggle.*data\.root="
    ):
        read(tmp_path)
    some = {name: content for name, content in files.items() if "validation" not in name}
    with pytest.raises(
        UserError,
        match=r"no pictures in validation/ \(found: .*testing/00/ with 3, .*labeled/00/ with 4",
    ):
        read(packed(tmp_path / "a", some))
    with pytest.raises(UserError, match="found no pictures at all"):
        read(packed(tmp_path / "b", {"notes.txt": b"notes"}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("validation/99/x.jpg", "validation/ has classes that training/labeled/ has no .*: 99"),
        ("training/labeled/x.jpg", "pictures of training/labeled/ lie in no class folder"),
    ],
)
def test_a_strange_layout_is_refused(
    tmp_path: Path, files: dict[str, bytes], name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(packed(tmp_path, files | {name: picture(99)}))


def test_a_picture_in_two_splits_is_said(
    tmp_path: Path, files: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    read(packed(tmp_path / "a", files))
    assert capsys.readouterr().err == ""
    names = [name for name in files if "validation" in name or "testing" in name]
    copies = {names[0]: picture(13), names[-1]: picture(2), names[1]: picture(18)}
    read(packed(tmp_path / "b", files | copies))  # 13 is unlabelled, 2 labelled, 18 itself
    assert re.fullmatch(
        r"hlml: 2 pictures to validate or test on are also among those to train on, such as "
        r"\S+, the same file as \S+: scores on them flatter\n",
        capsys.readouterr().err,
    )


def test_a_zip_that_was_cut_off_says_so(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = packed(tmp_path, files) / "food-11.zip"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"food-11\.zip is no folder, zip or tar, or its end is"):
        read(tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data set is not here")
def test_the_shared_set(tmp_path: Path) -> None:
    shutil.copy(SHARED, tmp_path)
    data = read(tmp_path, unlabelled_ratio=2)
    assert [len(data.splits[split]) for split in ("train", "valid", "test")] == [9586, 600, 1000]
    assert (data.labelled, data.size, len(data.class_names)) == (2800, 32, 10)
    batch = data.splits["train"].batch(data.plan(0)[0], 0)
    assert (batch.labels != UNKNOWN).tolist() == [True] * 4 + [False] * 8
    with zipfile.ZipFile(SHARED) as archive:
        names = sorted(name for name in archive.namelist() if "/testing/" in name)
        file = io.BytesIO(archive.read(names[700]))
    plain = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(data.splits["test"].read(torch.tensor([700]))[0], plain)
