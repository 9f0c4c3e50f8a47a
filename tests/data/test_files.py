"""Finding the course's files: where they are looked for, and what is said when they are not."""

import zipfile
from pathlib import Path

import pytest

from hlml.data.files import find_files
from hlml.errors import UserError


def find(root: Path) -> list[tuple[str, bytes]]:
    return find_files(("a.csv", "b.csv"), root, "sub", "they grow on trees")


def test_the_folder_comes_before_its_subfolder_and_both_before_zips(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with zipfile.ZipFile(tmp_path / "sub" / "all.zip", "w") as archive:
        archive.writestr("deep/down/a.csv", "zipped a")
        archive.writestr("__MACOSX/deep/._b.csv", "not this")
        archive.writestr("b.csv", "zipped b")
    assert [content for _, content in find(tmp_path)] == [b"zipped a", b"zipped b"]
    (tmp_path / "sub" / "a.csv").write_text("sub a")
    assert [content for _, content in find(tmp_path)] == [b"sub a", b"zipped b"]
    (tmp_path / "a.csv").write_text("a")
    (where, content), (zipped, _) = find(tmp_path)
    assert (where, content) == (str(tmp_path / "a.csv"), b"a")
    assert zipped == f"{tmp_path / 'sub' / 'all.zip'}/b.csv"


def test_what_is_missing_is_named_with_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(UserError, match=r"^b\.csv not found .*they grow on trees.*data\.root="):
        find(tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_broken_archive_says_so_only_when_it_is_needed(tmp_path: Path, method: int) -> None:
    noise = bytes(i * i % 251 for i in range(3000))
    with zipfile.ZipFile(tmp_path / "all.zip", "w", method) as archive:
        archive.writestr("a.csv", noise)
        archive.writestr("b.csv", noise)
    content = bytearray((tmp_path / "all.zip").read_bytes())
    content[40:60] = bytes(20)  # inside a.csv
    (tmp_path / "all.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"all\.zip cannot be unpacked .*a\.csv"):
        find(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
    assert [content for _, content in find(tmp_path)] == [b"a.csv", b"b.csv"]


def test_a_folder_that_may_not_be_read_is_a_plain_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.csv").write_text("a")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"a\.csv cannot be read: Permission denied"):
        find(tmp_path)
