"""Archives from strangers: what they may hold, and what is refused by name before it is used."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hlml.data import archive
from hlml.data.archive import Files, open_files
from hlml.errors import UserError

CONTENT = {"a/1.jpg": b"one", "a/2.JPG": b"two" * 1000, "b/10.png": bytes(range(256))}
SHADOWS = ["a/.DS_Store", "__MACOSX/a/._1.jpg", ".git/x.jpg", "a/._2.JPG"]
PICTURES = frozenset((".jpg", ".png"))


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def as_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:
        for name, content in files.items():
            add(packed, name, content)
    return path


def add(packed: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    packed.addfile(info, io.BytesIO(content))


PACKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": as_folder,
    "x.zip": as_zip,
    "x.tar": as_tar,
    "x.tgz": lambda path, files: as_tar(path, files, "w:gz"),
    "x.tar.bz2": lambda path, files: as_tar(path, files, "w:bz2"),
    "x.tar.xz": lambda path, files: as_tar(path, files, "w:xz"),
}


def content_of(files: Files) -> dict[str, bytes]:
    return dict(files.read([member.name for member in files.members]))


@pytest.mark.parametrize("name", PACKERS)
def test_every_kind_shows_the_same_files(tmp_path: Path, name: str) -> None:
    unseen = dict.fromkeys(SHADOWS, b"shadow") | {"notes.txt": b"notes"}
    there = dict(reversed(CONTENT.items())) | unseen  # not in the order of names
    files = open_files(PACKERS[name](tmp_path / name, there), PICTURES)
    by_hand = open_files(as_folder(tmp_path / "reference", CONTENT))
    assert files.members == by_hand.members  # names in order, sizes and checksums
    assert content_of(files) == CONTENT
    assert dict(files.read(["a/1.jpg"])) == {"a/1.jpg": b"one"}
    assert content_of(pickle.loads(pickle.dumps(files))) == CONTENT  # as DataLoader workers get it


def test_a_tar_of_the_current_folder_has_plain_names(tmp_path: Path) -> None:
    files = open_files(as_tar(tmp_path / "x.tar", {f"./{n}": c for n, c in CONTENT.items()}))
    assert content_of(files) == CONTENT


def test_a_fork_reads_at_its_own_place(tmp_path: Path) -> None:
    """Two processes that read one zip at a time would move each other's place in the file."""
    noise = {f"{n}.jpg": os.urandom(30_000) for n in range(40)}
    files = open_files(as_zip(tmp_path / "x.zip", noise))
    child = os.fork()
    if child == 0:
        os._exit(0 if all(content_of(files) == noise for _ in range(5)) else 1)
    mine = all(content_of(files) == noise for _ in range(5))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine


NAMES = {
    "../evil.jpg": "leads out",
    "a/../../evil.jpg": "leads out",
    "/etc/evil.jpg": "leads out",
    "C:/evil.jpg": "leads out",
    "a\\..\\evil.jpg": "leads out",
    "\\\\server\\share.jpg": "leads out",
    "a/\x1b[2Jevil.jpg": r"a/\\x1b\[2Jevil.jpg has control characters",
    "a/evil\nhlml: all is well.jpg": r"evil\\x0ahlml.* has control characters",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_names_that_lead_elsewhere_are_refused(
    tmp_path: Path, name: str, pack: Callable[..., Path]
) -> None:
    path = pack(tmp_path / "x.archive", {"a/1.jpg": b"one", name: b"evil"})
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(UserError, match=NAMES[name]) as caught:
        open_files(path, PICTURES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.parent.rglob("*")) == before  # nothing was written anywhere


KINDS = {
    "symlink": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hardlink": {"type": tarfile.LNKTYPE, "linkname": "a/1.jpg"},
    "character device": {"type": tarfile.CHRTYPE},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
}


@pytest.mark.parametrize("kind", KINDS)
def test_links_and_devices_are_refused(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        add(packed, "evil.jpg", **KINDS[kind])
    with pytest.raises(UserError, match=r"x\.tar is refused: evil\.jpg is a link, a device"):
        open_files(tmp_path / "x.tar", PICTURES)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        info = zipfile.ZipInfo("evil.jpg")
        info.external_attr = (kind | 0o777) << 16
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(UserError, match=r"x\.zip is refused: evil\.jpg is a link or a device"):
        open_files(tmp_path / "x.zip", PICTURES)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", ["x.zip", "x.tar"])
def test_a_name_twice_is_refused(tmp_path: Path, pack: str) -> None:
    if pack == "x.zip":
        with zipfile.ZipFile(tmp_path / pack, "w") as zipped:
            for content in ("one", "other"):
                zipped.writestr("a.jpg", content)
    else:
        with tarfile.open(tmp_path / pack, "w") as tarred:
            for content in (b"one", b"other"):
                add(tarred, "a.jpg", content)
    with pytest.raises(UserError, match=r"refused: a\.jpg is in it twice"):
        open_files(tmp_path / pack)


@pytest.fixture
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs of kilobytes instead of gigabytes, so that a test can make them."""
    monkeypatch.setattr(archive, "MEMBER_BYTES", 2**20)
    monkeypatch.setattr(archive, "SMALL", 2**16)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 50)


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_a_file_that_swells_is_refused_unread(tmp_path: Path, name: str) -> None:
    path = PACKERS[name](tmp_path / name, {"bomb.jpg": bytes(2**20 + 1)})
    with pytest.raises(UserError, match=r"refused: bomb\.jpg unpacks to 1 MiB"):
        open_files(path, PICTURES)


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("name", ["x.zip", "x.tgz"])
def test_what_is_packed_too_well_is_refused(tmp_path: Path, name: str) -> None:
    path = PACKERS[name](tmp_path / name, {f"{n}.jpg": bytes(2**19) for n in range(2)})
    with pytest.raises(UserError, match=r"(0\.jpg unpacks to over 200 times|all of it unpacks)"):
        open_files(path, PICTURES)


@pytest.mark.usefixtures("low_limits")
@pytest.mark.parametrize("name", ["folder", "x.zip", "x.tar", "x.tgz"])
def test_too_many_files_are_refused(tmp_path: Path, name: str) -> None:
    path = PACKERS[name](tmp_path / name, {f"{n}.jpg": b"." for n in range(60)})
    with pytest.raises(UserError, match=r"more than 50 (members|files)"):
        open_files(path, PICTURES)


def test_a_million_members_are_refused_by_what_the_end_of_the_zip_says(tmp_path: Path) -> None:
    end = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12)
    end += (10**6).to_bytes(8, "little") * 2 + bytes(16)
    locator = b"PK\x06\x07" + bytes(12) + b"\1\0\0\0"
    tail = b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    (tmp_path / "x.zip").write_bytes(end + locator + tail)
    with pytest.raises(UserError, match="more than 500,000 members"):
        open_files(tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_record_of_two_gigabytes_in_a_tar_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    """tarfile reads a member's attributes whole before anybody may look at their size."""
    info = tarfile.TarInfo("attributes")
    info.type, info.size = kind, 2**31
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as packed:
        packed.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(2**20))
    tracemalloc.start()
    with pytest.raises(UserError, match="a record of it unpacks to 2,048 MiB"):
        open_files(tmp_path / "x.tgz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_ten_gigabytes_of_zeros_in_ten_megabytes_are_refused_unread(tmp_path: Path) -> None:
    info = tarfile.TarInfo("zeros.jpg")
    info.size = 10 * 2**30
    with gzip.open(tmp_path / "x.tgz", "wb", 1) as packed:
        packed.write(info.tobuf() + bytes(2**24))  # so far it is as whole as a bomb needs to be
    with pytest.raises(UserError, match=r"zeros\.jpg unpacks to 10,240 MiB"):
        open_files(tmp_path / "x.tgz")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(as_zip(tmp_path / "x.zip", {"a.jpg": b"secret"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jpg is encrypted; unpack it by hand"):
        open_files(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tar.bz2", "x.tar.xz"])
def test_a_torn_archive_is_named_wherever_it_is_torn(tmp_path: Path, name: str) -> None:
    there = {f"{n}.jpg": os.urandom(2000) for n in range(5)}
    whole = PACKERS[name](tmp_path / name, there).read_bytes()
    # a tar may end in up to 10,240 zeros; without the last of them nothing is lost
    end = 5 * 2560 if name == "x.tar" else len(whole) - 30
    for size in (0, 1, 100, 512, 1024, 2560, 2 * 2560 + 512, end // 2, end - 1):
        (tmp_path / name).write_bytes(whole[:size])
        with pytest.raises(UserError, match=rf"{name} (cannot be unpacked|is no folder)"):
            open_files(tmp_path / name)


@pytest.mark.parametrize("name", ["x.zip", "x.tgz"])
def test_a_flipped_byte_never_yields_other_content(tmp_path: Path, name: str) -> None:
    whole = PACKERS[name](tmp_path / name, {"a.jpg": bytes(range(256)) * 4}).read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        content = bytearray(whole)
        content[place] ^= 0x10
        (tmp_path / name).write_bytes(content)
        try:
            found = content_of(open_files(tmp_path / name))
        except UserError:
            refused += 1
        else:  # a date or a comment: nothing that counts
            assert set(found.values()) <= {bytes(range(256)) * 4}
    assert refused > 5


def test_a_web_page_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("\n<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(UserError, match=r"x\.zip is a web page, not an archive"):
        open_files(tmp_path / "x.zip")


def test_a_folder_follows_the_users_links_and_neither_loops_nor_waits(tmp_path: Path) -> None:
    as_folder(tmp_path / "elsewhere", {"1.jpg": b"one"})
    as_folder(tmp_path / "set", {"a/2.jpg": b"two", "a/.hidden.jpg": b"", ".trash/3.jpg": b""})
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dead.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "set" / "pipe.jpg")  # to open it would wait for ever
    files = open_files(tmp_path / "set", PICTURES)
    assert content_of(files) == {"a/2.jpg": b"two", "b/1.jpg": b"one"}


def test_a_tar_with_a_zip_in_it_is_a_tar(tmp_path: Path) -> None:
    """The course's .pt files are zips, and is_zipfile looks for one near the end."""
    inner = as_zip(tmp_path / "inner.zip", {"x": b"y"}).read_bytes()
    files = open_files(as_tar(tmp_path / "outer.tar", {"a/uttr.pt": inner}))
    assert content_of(files) == {"a/uttr.pt": inner}
