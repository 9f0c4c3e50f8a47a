"""images.tgz: generated pictures as the course wants them handed in, and what can be wrong there.

1,000 JPEG files 1.jpg ... 1000.jpg in a gzipped tar without folders, under 2 MB altogether.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from PIL import Image
from torch import Tensor

from hlml.errors import UserError

COUNT = 1000
LIMIT = 2_000_000  # bytes: under 2 MB, whichever MB is meant
QUALITIES = range(95, 0, -5)
LONGEST = 10  # what one line names at most
NAMES = [f"{number}.jpg" for number in range(1, COUNT + 1)]


def write_images(pictures: Tensor, path: Path) -> int:
    """Write (1000, C, S, S) uint8 in the best JPEG quality that fits; return it.

    The same pictures give the same bytes, and a reader finds the whole file or none.
    """
    if len(pictures) != COUNT:
        raise ValueError(f"{path.name} takes {COUNT} pictures, not {len(pictures)}")
    drawn = [_image(picture) for picture in pictures.cpu()]
    for quality in QUALITIES:
        packed = _packed(drawn, quality)
        if len(packed) < LIMIT:
            partial = path.with_name(f"{path.name}.partial")
            with partial.open("wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            return quality
    side = pictures.shape[-1]
    raise UserError(
        f"{path.name}: {COUNT} pictures of {side} x {side} are {len(packed):,} bytes even as the "
        f"worst of JPEGs, and must be under {LIMIT:,}: generate smaller ones"
    )


def check_images(path: Path) -> list[str]:
    """What is wrong with a submission, a line for each fault; nothing: it can be handed in."""
    if not path.is_file():
        return [f"{path}: there is no such file"]
    faults = []
    if path.stat().st_size >= LIMIT:
        faults.append(f"{path.name} has {path.stat().st_size:,} bytes, and must be under {LIMIT:,}")
    if wrong := _wrong_kind(path):
        return [*faults, wrong]
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = archive.getmembers()
            return faults + _wrong_names(members) + _wrong_pictures(archive, members)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        return [*faults, f"{path.name} cannot be unpacked ({error}): write it again"]


def _image(picture: Tensor) -> Image.Image:
    """(C, S, S) uint8, of one channel or three"""
    channels = picture.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(channels[..., 0] if channels.shape[-1] == 1 else channels)


def _packed(drawn: list[Image.Image], quality: int) -> bytes:
    """The archive's bytes; no time, owner or file name of this machine is in them."""
    whole = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", mtime=0, fileobj=whole) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, image in zip(NAMES, drawn, strict=True):
            file = io.BytesIO()
            image.save(file, "JPEG", quality=quality, optimize=True)
            member = tarfile.TarInfo(name)
            member.size = file.tell()
            file.seek(0)
            archive.addfile(member, file)
    return whole.getvalue()


def _wrong_kind(path: Path) -> str:
    if zipfile.is_zipfile(path):
        return f"{path.name} is a zip under another name: it must be a gzipped tar"
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            return ""
    return f"{path.name} is not gzipped: it must be a gzipped tar (tar -czf {path.name} *.jpg)"


def _wrong_names(members: list[tarfile.TarInfo]) -> list[str]:
    names = Counter(member.name.removeprefix("./") for member in members)
    folders = [member.name for member in members if member.isdir()]
    deep = [name for name in names if "/" in name and name not in folders]
    other = [m.name for m in members if not (m.isreg() or m.isdir())]
    unknown = names.keys() - set(NAMES) - {*folders, *deep, *other}
    missing = [name for name in NAMES if name not in names]
    lines = {
        "are folders, and the pictures must lie outside of any": folders,
        "lie in folders, and must not": deep,
        "are links or devices, not files": other,
        f"are not called 1.jpg to {COUNT}.jpg": sorted(unknown),
        "are missing": missing,
        "are there more than once": [name for name, times in names.items() if times > 1],
    }
    return [f"{_some(which)} {fault}" for fault, which in lines.items() if which]


def _wrong_pictures(archive: tarfile.TarFile, members: list[tarfile.TarInfo]) -> list[str]:
    """Which of the expected files are no JPEG, or not a whole one."""
    bad = []
    for member in members:
        if member.isreg() and member.name.removeprefix("./") in set(NAMES):
            file = archive.extractfile(member)
            assert file is not None
            if member.size > LIMIT or not _is_jpeg(file.read()):
                bad.append(member.name)
    return [f"{_some(bad)} cannot be decoded as JPEG"] if bad else []


def _is_jpeg(content: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning):
        return False
    return True


def _some(names: list[str]) -> str:
    """The first names of a list, and how many there are."""
    more = f" and {len(names) - LONGEST} more" if len(names) > LONGEST else ""
    return ", ".join(names[:LONGEST]) + more
