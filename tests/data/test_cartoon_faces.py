"""Cartoon faces: the same for everybody, drawn once, and as balanced as they say."""

import hashlib
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hlml.data import cartoon_faces
from hlml.data.cartoon_faces import COLOURS, STYLES, CartoonFaces, draw, faces
from hlml.errors import UserError

pytest.importorskip("dicebear", reason="the extra `pictures` is not installed")
pytest.importorskip("resvg_py", reason="the extra `pictures` is not installed")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Blank pictures with their number in the first pixel instead of faces; lists what is drawn."""
    drawn: list[int] = []

    def blank(style: str, size: int, numbers: range) -> Tensor:
        drawn.append(len(numbers))
        pictures = torch.zeros(len(numbers), 3, size, size, dtype=torch.uint8)
        pictures[:, 0, 0, 0], pictures[:, 1, 0, 0] = torch.tensor(
            [[n // 256, n % 256] for n in numbers], dtype=torch.uint8
        ).T
        return pictures

    monkeypatch.setattr(cartoon_faces, "draw", blank)
    return drawn


@pytest.mark.parametrize(("style", "size"), [("adventurer", 32), ("lorelei", 64)])
def test_a_face_is_a_function_of_its_number(style: str, size: int) -> None:
    some = draw(style, size, range(10, 14))
    assert some.shape == (4, 3, size, size)
    assert some.dtype == torch.uint8
    assert torch.equal(some[2:3], draw(style, size, range(12, 13)))
    assert len({picture.numpy().tobytes() for picture in some}) == 4


@pytest.mark.parametrize("style", STYLES)
def test_hair_has_the_colour_of_its_label(style: str) -> None:
    """The share of pixels near a colour is largest in the faces that are labelled with it."""
    pictures = draw(style, 32, range(0, 100, 10)).int()  # one kind of hair in ten colours
    for place, code in enumerate(COLOURS.values()):
        rgb = torch.tensor([int(code[i : i + 2], 16) for i in (1, 3, 5)])[:, None, None]
        near = ((pictures - rgb).abs().amax(1) < 8).float().mean((1, 2))
        assert int(near.argmax()) == place, code
        assert near[place] > 0.05


def test_splits_are_disjoint_and_every_class_is_as_frequent(
    quick: list[int], tmp_path: Path
) -> None:
    data = CartoonFaces(64, root=str(tmp_path), number=2000)
    assert data.sizes() == {"channels": 3, "size": 32, "classes": 10}
    seen = []
    for split, count in (("train", 500), ("valid", 500), ("test", 1000)):
        rows = data.splits[split]  # type: ignore[index]
        corner = rows.read(torch.arange(len(rows)))[:, :2, 0, 0].long()
        numbers = (corner[:, 0] * 256 + corner[:, 1]).tolist()
        assert Counter(rows.labels.tolist()) == dict.fromkeys(range(10), count // 10)
        assert [n % 10 for n in numbers] == rows.labels.tolist()
        seen += numbers
    assert sorted(seen) == list(range(2000))
    colours = CartoonFaces(64, root=str(tmp_path), number=2000, labels="colour")
    assert colours.class_names == list(COLOURS)
    test = colours.splits["test"].labels
    assert test.tolist() == [n // 10 % 10 for n in range(1000)]
    assert quick == [2000]  # both sets of labels are of the same pictures


def test_the_cache_is_read_and_a_spoilt_one_drawn_again(quick: list[int], tmp_path: Path) -> None:
    first = faces(tmp_path, "lorelei", 32, 9)
    (path,) = (tmp_path / "cache").glob("*.npy")
    content = path.read_bytes()
    assert torch.equal(faces(tmp_path, "lorelei", 32, 9), first)
    assert quick == [9]
    for spoilt in (content[:-5], b"", np.zeros(3).tobytes()):
        path.write_bytes(spoilt)
        assert torch.equal(faces(tmp_path, "lorelei", 32, 9), first)
        assert path.read_bytes() == content
    assert quick == [9] * 4
    faces(tmp_path, "lorelei", 64, 9)
    faces(tmp_path, "adventurer", 32, 9)
    faces(tmp_path, "lorelei", 32, 8)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_other_versions_of_what_draws_are_another_file(
    quick: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces(tmp_path, "lorelei", 32, 3)
    monkeypatch.setattr(cartoon_faces.metadata, "version", lambda package: "99")
    faces(tmp_path, "lorelei", 32, 3)
    assert quick == [3, 3]


def _draw_in_a_process(root: Path) -> str:
    return hashlib.sha256(faces(root, "lorelei", 32, 30).numpy().tobytes()).hexdigest()


def test_processes_that_start_at_once_all_get_the_faces(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        hashes = pool.map(_draw_in_a_process, [tmp_path] * 3)
    assert set(hashes) == {_draw_in_a_process(tmp_path)}
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(package: str) -> str:
        raise cartoon_faces.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(cartoon_faces.metadata, "version", absent)
    message = r"dicebear-core is not installed: pip install 'hlml\[pictures\]'"
    with pytest.raises(UserError, match=message):
        faces(tmp_path, "lorelei", 32, 3)


def test_a_folder_that_cannot_be_written_is_one_line(quick: list[int], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cache cannot be written .*data\.root=FOLDER"):
        faces(tmp_path, "lorelei", 32, 3)


@pytest.mark.parametrize("number", [1, 1500])
def test_too_few_faces_are_refused(number: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"data\.number: {number} faces leave none to train on"):
        CartoonFaces(64, root=str(tmp_path), number=number)
