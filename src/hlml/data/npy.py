"""A .npy file read as a stream, from a folder or out of a zip: rows of floats, or one column.

NumPy can map a file but not a member of a zip, and of both it would run what a pickle says if it
were let. This reads a header and then numbers, and nothing else.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from hlml.data.archive import RATIO, SMALL, shown
from hlml.data.files import BROKEN
from hlml.errors import UserError

USE = "use the file as it was downloaded"
CHUNK = 2**24  # bytes read at once
LARGEST = np.finfo(np.float32).max  # in it the numbers are used
DAMAGED = (*BROKEN, ValueError, NotImplementedError)


class Npy(NamedTuple):
    """Where a file lies: `member` of the zip `path`, or `path` itself ("")."""

    path: Path
    member: str
    size: int
    stamp: int  # the time of its last change, or the CRC-32 of the member

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        return PurePosixPath(self.member or self.path.name).name

    def identity(self) -> list[Any]:
        """What a cache of its content is known by."""
        return [self.name, self.size, self.stamp]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The stream. UserError, from reading it too: what cannot be read."""
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                    yield stream
            else:
                with self.path.open("rb") as stream:
                    yield stream
        except DAMAGED as error:
            why = shown(str(error) or type(error).__name__)
            raise UserError(f"{self} cannot be read ({why}): fetch it again") from error


def find_npy(names: tuple[str, ...], folders: list[Path], instead: str) -> list[Npy]:
    """Each file, looked for in the folders and then in their zips (a folder may be a zip itself).

    UserError, which ends with `instead`: some are missing.
    """
    found = {name: _in_folder(name, folders) for name in names}
    if None in found.values():
        zips = [[folder] if folder.is_file() else folder.glob("*.zip") for folder in folders]
        for path in sorted({path for some in zips for path in some if zipfile.is_zipfile(path)}):
            found |= {name: npy for name, npy in _in_zip(path, names) if found[name] is None}
    missing = [name for name, npy in found.items() if npy is None]
    if missing:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(f"{' and '.join(missing)} not found in {places} or a zip there: {instead}")
    return [npy for npy in found.values() if npy is not None]


def _in_folder(name: str, folders: list[Path]) -> Npy | None:
    for path in (folder / name for folder in folders):
        if path.is_file():
            status = path.stat()
            return Npy(path, "", status.st_size, status.st_mtime_ns)
    return None


def _in_zip(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, Npy]]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except DAMAGED:  # another homework's half a download is no concern here
        return
    for info in infos:
        name = PurePosixPath(info.filename).name
        if name in names and "__MACOSX" not in info.filename:
            if info.file_size > max(SMALL, RATIO * info.compress_size):
                raise UserError(
                    f"{path} is refused: {name} unpacks to over {RATIO} times its size; if you "
                    "trust it, unpack it"
                )
            yield name, Npy(path, info.filename, info.file_size, info.CRC)


def read_rows(npy: Npy, columns: int) -> Iterator[np.ndarray]:
    """The rows of a table of floats, some (n, columns) at a time, in the file's own type.

    UserError: it is no such table, or not all of it is there, or a number is not finite.
    """
    with npy.open() as stream:
        shape, fortran, dtype = _header(npy, stream)
        kind = f"{'x'.join(map(str, shape))} of {dtype}"
        if dtype.kind != "f" or len(shape) != 2 or shape[1] != columns or not shape[0]:
            raise UserError(f"{npy} holds {kind}, and must hold rows of {columns} floats: {USE}")
        if fortran:
            raise UserError(f"{npy} is stored by columns, and must be by rows: {USE}")
        _check_size(npy, stream.tell() + math.prod(shape) * dtype.itemsize)
        each = max(1, CHUNK // (columns * dtype.itemsize))
        starts = range(0, shape[0], each)
        for first in tqdm(starts, npy.name, disable=None, leave=False, unit="chunk"):
            content = stream.read(min(each, shape[0] - first) * columns * dtype.itemsize)
            rows = np.frombuffer(content, dtype).reshape(-1, columns)
            good = (np.abs(rows) <= LARGEST).all(1)
            if not good.all():
                row = first + int((~good).argmax())
                raise UserError(
                    f"{npy}, row {row:,}: a number in it is none to compute with: {USE}"
                )
            yield rows


def read_column(npy: Npy) -> np.ndarray:
    """A list of numbers or texts (N,), as stored. UserError: it is not that."""
    with npy.open() as stream:
        shape, _, dtype = _header(npy, stream)
        if len(shape) != 1 or dtype.kind not in "iufSU":
            kind = f"{'x'.join(map(str, shape))} of {dtype}"
            raise UserError(f"{npy} holds {kind}, and must hold one column of labels: {USE}")
        _check_size(npy, stream.tell() + math.prod(shape) * dtype.itemsize)
        return np.frombuffer(stream.read(math.prod(shape) * dtype.itemsize), dtype)


def _header(npy: Npy, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether by columns, and type."""
    # a header is short; read before NumPy does, it tells empty from foreign
    start = stream.read(6)
    if start != b"\x93NUMPY":
        what = "empty" if not start else "a pickle" if start[:1] == b"\x80" else "no .npy file"
        raise UserError(f"{npy} is {what}: fetch it again")
    version = tuple(stream.read(2))
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    readers[2, 0] = np.lib.format.read_array_header_2_0
    if version not in readers:
        raise UserError(f"{npy} is of an unknown version of the .npy format: {USE}")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise UserError(f"{npy} holds Python objects, and to read those is to run them: {USE}")
    return shape, fortran, dtype


def _check_size(npy: Npy, wanted: int) -> None:
    if npy.size != wanted:
        raise UserError(
            f"{npy} has {npy.size:,} bytes, and its header promises {wanted:,}: fetch it again"
        )
