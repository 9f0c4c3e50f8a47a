"""A folder, a zip or a tar of many files, read in place: nothing of an archive reaches the disk.

An archive is somebody else's: what could write, link or swell beyond what it shows is refused
by name when it is opened, before any of its members is used.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from hlml.data.files import BROKEN
from hlml.errors import UserError

MOST_MEMBERS = 500_000
MEMBER_BYTES = 2**28  # 256 MiB: no picture, recording or table of a course is larger
TOTAL_BYTES = 2**36  # 64 GiB
RATIO = 200  # unpacked to packed, of what is not small: deflate reaches 1,032 on zeros
SMALL = 2**24
DAMAGED = (*BROKEN, tarfile.TarError, lzma.LZMAError, ValueError)
FETCH_AGAIN = "fetch it again from where it is published"


class Member(NamedTuple):
    """A file: its path with forward slashes, its size, and the CRC-32 of what it holds."""

    name: str
    size: int
    crc: int


class Files(ABC):
    """The regular, visible files of a folder or an archive, by name.

    `any_order`: reading a few of them does not mean unpacking all that come before.
    """

    path: Path
    members: list[Member]
    any_order: bool

    @abstractmethod
    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Each file's name and content, in the order in which they are read fastest."""


def open_files(path: Path, suffixes: frozenset[str] = frozenset()) -> Files:
    """What lies at `path`; only files with one of the `suffixes` (in lower case), where given."""
    if path.is_dir():
        return Folder(path, suffixes)
    try:
        with path.open("rb") as file:
            start = file.read(512)
        # first: is_zipfile takes a tar for a zip that has one (or a .pt file) near its end;
        # and not tarfile.is_tarfile, which reads the first record whole, however large it may be
        if start[257:262] == b"ustar":
            return Tar(path, suffixes)
        if zipfile.is_zipfile(path):
            return Zip(path, suffixes)
        if _compression(path) or path.suffix == ".tar":
            return Tar(path, suffixes)
    except DAMAGED as error:
        raise _broken(path, error) from error
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"{path} is a web page, not an archive (a quota page?): {FETCH_AGAIN}")
    raise UserError(
        f"{path} is no folder, zip or tar, or its end is missing: {FETCH_AGAIN}, or unpack it "
        "by hand and name the folder"
    )


class Folder(Files):
    """A folder on the disk; links in it are the user's own, and followed."""

    any_order = True

    def __init__(self, path: Path, suffixes: frozenset[str] = frozenset()) -> None:
        self.path = path
        names = sorted(name for name in self._walk() if _wanted(name, suffixes))
        if len(names) > MOST_MEMBERS:
            raise UserError(f"{path} holds more than {MOST_MEMBERS:,} files: name a smaller folder")
        self.members = [self._member(name) for name in names]

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            yield name, self._content(name)

    def _walk(self) -> Iterator[str]:
        seen = set()
        for folder, below, files in os.walk(self.path, followlinks=True):
            real = os.path.realpath(folder)
            below[:] = [] if real in seen else [name for name in below if name[0] != "."]
            for name in files if real not in seen else []:
                if os.path.isfile(os.path.join(folder, name)):  # noqa: PTH113, PTH118 (speed)
                    yield (Path(folder) / name).relative_to(self.path).as_posix()
            seen.add(real)

    def _content(self, name: str) -> bytes:
        """b"" where it cannot be read, which no decoder takes for a picture."""
        try:
            with (self.path / name).open("rb") as file:
                return file.read(MEMBER_BYTES)
        except OSError:
            return b""

    def _member(self, name: str) -> Member:
        content = self._content(name)
        return Member(name, len(content), zlib.crc32(content))


class Zip(Files):
    """A zip file. Its directory says each member's size and checksum, and reading checks both."""

    any_order = True

    def __init__(self, path: Path, suffixes: frozenset[str] = frozenset()) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        _check_number(path, _declared_members(path))
        check = _Check(path)
        infos = self._zip().infolist()
        for info in infos:
            check.zip_member(info)
        check.total(sum(info.file_size for info in infos))
        kept = [info for info in infos if not info.is_dir() and _wanted(info.filename, suffixes)]
        self.members = sorted(Member(info.filename, info.file_size, info.CRC) for info in kept)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        archive = self._zip()
        for name in names:
            try:
                yield name, archive.read(name)
            except DAMAGED as error:
                raise _broken(self.path, error, name) from error

    def _zip(self) -> zipfile.ZipFile:
        """Opened once in each process: a forked reader must not share the place in the file."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), zipfile.ZipFile(self.path)
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


class Tar(Files):
    """A tar file, compressed or not: read once to the end, so that every size is known."""

    def __init__(self, path: Path, suffixes: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.any_order = _compression(path) is None
        self._places: dict[str, tuple[int, int]] = {}  # name -> where its content starts, its size
        check, self.members = _Check(path), []
        with self._stream() as stream:
            bounded = _Bounded(stream, check)
            archive: Any
            with tarfile.open(fileobj=cast(Any, bounded), mode="r:") as archive:
                for info in archive:
                    check.tar_member(info)
                    name = info.name.removeprefix("./")
                    if info.isreg() and _wanted(name, suffixes):
                        self._places[name] = info.offset_data, info.size
                        content = bounded.content(info)
                        self.members.append(Member(name, info.size, zlib.crc32(content)))
                    archive.members = []  # else it would keep a record of each
                end = archive.offset
            stream.seek(end)
            if stream.read(512) != bytes(512):  # tarfile takes a torn header for the end
                raise _broken(path, EOFError("it ends in the middle"))
            while stream.read(2**20):  # only at its very end gzip compares its checksum
                check.total(stream.tell())
        self.members.sort()

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with self._stream() as stream:
            for name in sorted(names, key=self._places.__getitem__):
                start, size = self._places[name]
                try:
                    stream.seek(start)
                    yield name, stream.read(size)
                except DAMAGED as error:
                    raise _broken(self.path, error, name) from error

    def _stream(self) -> IO[bytes]:
        opener: Any = _compression(self.path) or open
        stream: IO[bytes] = opener(self.path, "rb")
        return stream


class _Bounded:
    """A stream that gives no more at once than a member may hold, and ends where a bomb would.

    A tar's own records (long names, attributes) are read whole before anybody sees their size.
    """

    def __init__(self, stream: IO[bytes], check: _Check) -> None:
        self.stream, self.check = stream, check
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        self.check.size("a record of it", size)
        return self.stream.read(size)

    def seek(self, place: int) -> int:
        self.check.total(place)
        return self.stream.seek(place)

    def content(self, info: tarfile.TarInfo) -> bytes:
        self.seek(info.offset_data)
        content = self.read(info.size)
        if len(content) < info.size:
            raise EOFError(f"{info.name} is cut off")
        return content


class _Check:
    """What each member of one archive must be, and all of them together."""

    def __init__(self, path: Path) -> None:
        self.path, self.names = path, set[str]()
        self.packed = path.stat().st_size

    def zip_member(self, info: zipfile.ZipInfo) -> None:
        self.name(info.orig_filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self.refused(info.filename, "is a link or a device")
        if info.flag_bits & 1:
            raise self.refused(info.filename, "is encrypted", "unpack it by hand, and name")
        self.size(info.filename, info.file_size)
        if info.file_size > max(SMALL, RATIO * info.compress_size):
            raise self.refused(info.filename, f"unpacks to over {RATIO} times its size")

    def tar_member(self, info: tarfile.TarInfo) -> None:
        self.name(info.name)
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise self.refused(info.name, "is a link, a device or a file with holes")
        self.size(info.name, info.size)
        _check_number(self.path, len(self.names))

    def name(self, name: str) -> None:
        if name.startswith("/") or ".." in name.split("/") or re.match(r".*\\|[A-Za-z]:", name):
            raise self.refused(name, "leads out of it")
        if re.search(r"[\0-\x1f\x7f]", name):
            raise self.refused(name, "has control characters in its name")
        if name in self.names:
            raise self.refused(name, "is in it twice")
        self.names.add(name)

    def size(self, name: str, size: int) -> None:
        if size > MEMBER_BYTES:
            raise self.refused(name, f"unpacks to {size / 2**20:,.0f} MiB")

    def total(self, size: int) -> None:
        if size > min(TOTAL_BYTES, max(4 * SMALL, RATIO * self.packed)):
            raise self.refused("all of it", f"unpacks to {size / 2**20:,.0f} MiB or more")

    def refused(
        self, name: str, why: str, instead: str = "if you trust it, unpack it and name"
    ) -> UserError:
        return UserError(f"{self.path} is refused: {shown(name)} {why}; {instead} the folder")


def shown(name: str) -> str:
    """A name for a line of a message: no line breaks, no terminal codes, not endless."""
    plain = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in name)
    return plain if len(plain) <= 100 else f"{plain[:60]}...{plain[-30:]}"


def _wanted(name: str, suffixes: frozenset[str]) -> bool:
    """Visible, and not one of the shadows that macOS packs along."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and (not suffixes or os.path.splitext(name)[1].lower() in suffixes)  # noqa: PTH122


def _declared_members(path: Path) -> int:
    """What the end of a zip says of its number of members, before a million of them are read."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 66_000))
        tail = file.read()
    wide, end = tail.rfind(b"PK\x06\x06"), tail.rfind(b"PK\x05\x06")
    if wide >= 0:
        return int.from_bytes(tail[wide + 32 : wide + 40], "little")
    return int.from_bytes(tail[end + 10 : end + 12], "little")


def _check_number(path: Path, number: int) -> None:
    if number > MOST_MEMBERS:
        raise UserError(
            f"{path} is refused: it has more than {MOST_MEMBERS:,} members; if you trust it, "
            "unpack what you need of it and name the folder"
        )


def _compression(path: Path) -> Any:
    """The opener of a compressed tar, by its first bytes; None: it is not compressed."""
    with path.open("rb") as file:
        start = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    return next((opener for sign, opener in openers.items() if start.startswith(sign)), None)


def _broken(path: Path, error: BaseException, name: str = "") -> UserError:
    place = f"{path}, {shown(name)}," if name else f"{path}"
    why = shown(str(error) or type(error).__name__)
    return UserError(f"{place} cannot be unpacked ({why}): {FETCH_AGAIN}")
