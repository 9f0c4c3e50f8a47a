"""The course's own files: found in a folder or a zip, or a line that says how to get them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from hlml.errors import UserError

# what reading a damaged or encrypted archive raises
BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError)


def find_files(
    names: tuple[str, ...], root: Path, folder: str, source: str
) -> list[tuple[str, bytes]]:
    """Where each file is and what it holds; looked for in root, root/folder, then zips of both."""
    root = root.expanduser()
    found = {name: _find(name, [root, root / folder]) for name in names}
    missing = [name for name, place in found.items() if place is None]
    if missing:
        raise UserError(
            f"{' and '.join(missing)} not found in {root}/, {root / folder}/ or a zip there: "
            f"{source}; put them in {root / folder}/, or say where they are with data.root=FOLDER"
        )
    return [place for place in found.values() if place is not None]


def _find(name: str, folders: list[Path]) -> tuple[str, bytes] | None:
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name), _read(folder / name)
    for folder in folders:
        for archive in sorted(folder.glob("*.zip")):
            if (content := _unpack(archive, name)) is not None:
                return f"{archive}/{name}", content
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; check its rights") from error


def _unpack(archive: Path, name: str) -> bytes | None:
    """The file of that name, at any depth of the archive."""
    if not zipfile.is_zipfile(archive):  # another homework's half a download is no concern here
        return None
    try:
        with zipfile.ZipFile(archive) as packed:
            for member in packed.namelist():
                if PurePosixPath(member).name == name:
                    return packed.read(member)
    except BROKEN as error:
        raise UserError(
            f"{archive} cannot be unpacked ({error}): fetch it again, or unpack it by hand"
        ) from error
    return None
