"""The course's faces: numbered, without labels, and the same held out at every run."""

from __future__ import annotations

import io
import itertools
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from hlml.data.crypko import Crypko
from hlml.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data/crypko_data.zip"
SPLITS = ("train", "valid", "test")


def faces(count: int) -> dict[str, bytes]:
    found = {}
    for number in range(count):
        file = io.BytesIO()
        Image.new("L", (8, 8), number).save(file, "PNG")
        found[f"faces/{number}.jpg"] = file.getvalue()
    return found


def packed(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "crypko_data.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root


def pixels(data: Crypko, split: str) -> list[int]:
    rows = data.splits[split]  # type: ignore[index]
    return [int(one) for one in rows.read(torch.arange(len(rows)))[:, 0, 0, 0]]


def test_zip_folder_and_root_itself_are_the_same_and_go_by_number(tmp_path: Path) -> None:
    packed(tmp_path, faces(40))
    with zipfile.ZipFile(tmp_path / "crypko_data.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    found = []
    for root in (tmp_path, tmp_path / "unpacked", tmp_path / "unpacked/faces"):
        data = Crypko(4, root=str(root), size=4)
        assert [Path(name).stem for name in data.file_names] == [str(n) for n in range(40)]
        found.append({split: pixels(data, split) for split in SPLITS})
        assert all(found[-1][s] == data.splits[s].index.tolist() for s in SPLITS)  # type: ignore[index]
    assert found[0] == found[1] == found[2]
    assert {split: len(rows) for split, rows in found[0].items()} == {
        "train": 26,
        "valid": 4,
        "test": 10,
    }
    assert sorted(itertools.chain(*found[0].values())) == list(range(40))


def test_there_are_no_classes_and_every_split_can_be_scored(tmp_path: Path) -> None:
    data = Crypko(4, root=str(packed(tmp_path, faces(20))), size=4)
    assert data.sizes() == {"channels": 3, "size": 4, "classes": 0}
    assert all(data.has_labels(split) for split in SPLITS)  # type: ignore[arg-type]
    assert set(data.splits["train"].labels.tolist()) == {-1}
    assert sorted(torch.cat(data.plan(3)).tolist()) == list(range(len(data.splits["train"])))


def test_a_bad_face_is_in_no_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = Crypko(4, root=str(packed(tmp_path, faces(20) | {"faces/7.jpg": b""})), size=4)
    assert sorted(itertools.chain(*(pixels(data, split) for split in SPLITS))) == [
        number for number in range(20) if number != 7
    ]
    assert "1 of 20 pictures" in capsys.readouterr().err


def test_nothing_there_and_too_little_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"crypko_data\.zip or faces/ not found in .*data\.root="):
        Crypko(4, root=str(tmp_path))
    with pytest.raises(UserError, match=r"crypko_data\.zip: it holds 3 pictures"):
        Crypko(4, root=str(packed(tmp_path, faces(3))))


@pytest.mark.skipif(not SHARED.exists(), reason="the shared faces are not here")
def test_the_shared_faces(tmp_path: Path) -> None:
    (tmp_path / "crypko_data.zip").symlink_to(SHARED)
    data = Crypko(64, root=str(tmp_path), size=16)
    assert [len(data.splits[split]) for split in SPLITS] == [1950, 300, 750]  # type: ignore[index]
    assert len({*data.splits["train"].index.tolist()} & {*data.splits["test"].index.tolist()}) == 0
