"""Picture files decoded once: in memory, else mapped from a cache file, else on demand.

All three give the same pictures. The cache is keyed by the files' names and contents and by what
is made of them, so it is never out of date; it may be deleted at any time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from hlml.data.archive import Files, shown
from hlml.data.decode import GREY, BadPictureError, Fit, decode, quietly, shorter_side
from hlml.errors import UserError

VERSION = 1  # of what decode makes of a file, and of the cache's format
MAGIC = b"hlmlpics"
SHARE = 0.4  # of the free memory that decoded pictures may take
LARGEST_GUESS = 128  # the side when none is given: larger ones are a choice to make
CHUNK_FILES, CHUNK_BYTES = 256, 2**26
WORTH_THREADS = 8192  # bytes a file: below, opening it takes longer than decoding it
LONG = 50_000_000  # bytes to decode, from where it takes seconds

Bad = dict[int, str]  # rows that could not be decoded, and why


@dataclass(frozen=True)
class PictureFiles:
    """Which files are decoded, and to what: row i is the picture of names[i]."""

    files: Files
    names: list[str]
    channels: int
    size: int
    fit: Fit

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.names), self.channels, self.size, self.size])

    @cached_property
    def packed_bytes(self) -> int:
        sizes = {member.name: member.size for member in self.files.members}
        return sum(sizes[name] for name in self.names)

    def key(self) -> str:
        """A hash of all that the decoded pictures depend on."""
        members = {member.name: member for member in self.files.members}
        content = [list(members[name]) for name in self.names]
        text = json.dumps([VERSION, self.channels, self.size, self.fit, content])
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def decode_all(self, put: Callable[[int, Tensor], None]) -> Bad:
        """`put` every row's picture, in the order that reads fastest; grey where there is none.

        Pillow decodes outside Python's lock, so threads are as good as processes and start at once.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        threads = _cores() if self.packed_bytes > WORTH_THREADS * len(rows) else 1
        bad: Bad = {}
        with quietly(), ThreadPoolExecutor(threads) as pool:
            for chunk in _chunks(self.files.read(self.names)):
                contents = [content for _, content in chunk]
                decoded = (pool.map if threads > 1 else map)(self.decode, contents)
                for (name, _), picture in zip(chunk, decoded, strict=True):
                    if isinstance(picture, str):
                        bad[rows[name]] = picture
                    put(rows[name], self.grey() if isinstance(picture, str) else picture)
        return bad

    def decode(self, content: bytes) -> Tensor | str:
        """The picture, or why there is none."""
        try:
            return decode(content, self.channels, self.size, self.fit)
        except BadPictureError as error:
            return str(error)

    def grey(self) -> Tensor:
        return torch.full(self.shape[1:], GREY, dtype=torch.uint8)


class StreamedPictures:
    """Pictures decoded whenever they are asked for, by whoever asks: DataLoader workers, best."""

    def __init__(self, wanted: PictureFiles) -> None:
        if not wanted.files.any_order:
            raise UserError(
                f"{wanted.files.path}: its pictures fit neither in memory nor into the cache, and "
                "a compressed tar cannot be read in any order: unpack it, and name the folder"
            )
        self.wanted, self.shape = wanted, wanted.shape

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        with quietly():
            return torch.stack([self._picture(row) for row in index.tolist()])

    def _picture(self, row: int) -> Tensor:
        """All files were readable once; if one no longer is, a long training goes on."""
        name, why = self.wanted.names[row], "gone"
        with suppress(UserError):
            for _, content in self.wanted.files.read([name]):
                picture = self.wanted.decode(content)
                if not isinstance(picture, str):
                    return picture
                why = picture
        say(f"{shown(name)} can no longer be read ({why}): a grey square takes its place")
        return self.wanted.grey()


def load(wanted: PictureFiles, cache: Path) -> tuple[Tensor | StreamedPictures, Bad]:
    """(N, C, S, S) uint8, and the rows that are grey because their files are bad.

    In memory when it fits, and kept in the folder `cache` for the next time.
    """
    path = cache / f"pictures_{wanted.channels}x{wanted.size}x{wanted.size}_{wanted.key()}.bin"
    needed = wanted.shape.numel()
    fits = needed < SHARE * free_memory()
    found = _read_cache(path, wanted.shape)
    if found is None and wanted.packed_bytes > LONG:
        say(f"decoding {len(wanted.names):,} pictures of {wanted.files.path}, once")
    if found is None and fits:
        pictures = torch.empty(wanted.shape, dtype=torch.uint8)
        bad = wanted.decode_all(pictures.__setitem__)
        _try_to_keep(path, needed, lambda file: _write(file, pictures, bad))
        return pictures, bad
    if found is None:
        _try_to_keep(path, needed, lambda file: _decode_into(file, wanted))
        found = _read_cache(path, wanted.shape)
    if found is None:
        source = StreamedPictures(wanted)
        return source, wanted.decode_all(lambda row, picture: None)  # to know the bad ones now
    pictures, bad = found
    return (pictures.clone() if fits else pictures), bad


def read_pictures(
    files: Files,
    names: list[str],
    cache: Path,
    size: int | None,
    fit: Fit,
    kept: Iterable[int] = (),
    channels: int = 3,
) -> tuple[Tensor | StreamedPictures, Tensor]:
    """Row i is the picture of names[i] (N, C, S, S); and which rows are good (N,) bool.

    Says which files are bad. Those of `kept` count as good, as grey squares: the ids of a
    submission must not shift. `size` None: what most of them measure, at most 128.
    """
    wanted = PictureFiles(files, names, channels, size or common_size(files, names), fit)
    source, bad = load(wanted, cache)
    if len(bad) == len(names):
        row, why = next(iter(bad.items()))
        raise UserError(
            f"{files.path}: none of its {len(bad):,} pictures can be read, such as "
            f"{shown(names[row])} ({why}): fetch it again"
        )
    grey = bad.keys() & set(kept)
    _say_bad(wanted, {row: bad[row] for row in sorted(grey)}, "stay as grey squares")
    left_out = {row: why for row, why in sorted(bad.items()) if row not in grey}
    _say_bad(wanted, left_out, "are left out")
    good = torch.ones(len(names), dtype=torch.bool)
    good[list(left_out)] = False
    return source, good


def common_size(files: Files, names: list[str], most: int = 500) -> int:
    """The most common shorter side of the pictures, up to 128; a sample of them says it."""
    sides: Counter[int] = Counter()
    sample = names[:: max(1, len(names) // most)]
    with quietly():
        for _, content in files.read(sample):
            with suppress(BadPictureError):
                sides[shorter_side(content)] += 1
    return min(LARGEST_GUESS, sides.most_common(1)[0][0]) if sides else LARGEST_GUESS


def _say_bad(wanted: PictureFiles, bad: Bad, fate: str) -> None:
    if bad:
        first = [f"{shown(wanted.names[row])} ({bad[row]})" for row in list(bad)[:5]]
        more = ", ..." if len(bad) > len(first) else ""
        say(
            f"{len(bad):,} of {len(wanted.names):,} pictures of {wanted.files.path} cannot be "
            f"read and {fate}: {', '.join(first)}{more}"
        )


def warn_of_copies(files: Files, train: Iterable[str], held_out: Iterable[str]) -> None:
    """Say when files held out for a measurement are in the training too, byte for byte."""
    content = {member.name: (member.size, member.crc) for member in files.members}
    trained = {content[name]: name for name in train}
    copies = [(name, trained[content[name]]) for name in held_out if content[name] in trained]
    if copies:
        name, original = map(shown, copies[0])
        say(
            f"{len(copies):,} pictures to validate or test on are also among those to train on, "
            f"such as {name}, the same file as {original}: scores on them flatter"
        )


def cache_folder(root: Path) -> Path:
    """Where decoded pictures are kept: beside the data, also where the root is an archive."""
    return (root.parent if root.is_file() else root) / "cache"


def sorted_classes(folders: set[str]) -> list[str]:
    """Class folders in the order of their labels: as numbers where all are numbers."""
    numbers = all(folder.isdecimal() for folder in folders)
    return sorted(folders, key=lambda folder: (int(folder) if numbers else 0, folder))


def say(line: str) -> None:
    """A line that is no error, on stderr; of several processes the first says it."""
    if os.environ.get("RANK", "0") == "0":  # data is read before the processes join
        print(f"hlml: {line}", file=sys.stderr)


def free_memory() -> int:
    """Bytes of memory still to be had: the machine's, or what its container has left."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
        with suppress(OSError, ValueError):
            group = Path("/sys/fs/cgroup")
            most, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
            free = min(free, int(most) - int(used))
        return free
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _cores() -> int:
    """Of this process: torchrun's share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _chunks(files: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """So many files at once as memory allows."""
    chunk: list[tuple[str, bytes]] = []
    held = 0
    for name, content in files:
        chunk.append((name, content))
        held += len(content)
        if len(chunk) == CHUNK_FILES or held > CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


# The cache file: the pixels, so that they can be mapped; a line of JSON; then the CRC-32 of both
# and the JSON's length, 4 bytes each; and MAGIC, which a file that was not finished lacks.


def _try_to_keep(path: Path, needed: int, write: Callable[[BinaryIO], None]) -> None:
    """Write the cache file beside its place and rename it; say why when that cannot be."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        if shutil.disk_usage(path.parent).free < 1.1 * needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with temporary.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        say(
            f"decoded pictures ({needed / 2**20:,.0f} MiB) cannot be kept in {path.parent}: "
            f"{error.strerror}; the next run decodes them again"
        )
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left half written a day ago or longer."""
    for leftover in folder.glob("pictures_*.tmp"):
        with suppress(OSError):
            if leftover.stat().st_mtime < time.time() - 86_400:
                leftover.unlink()


def _write(file: BinaryIO, pictures: Tensor, bad: Bad) -> None:
    pixels = pictures.numpy().data.cast("B")
    file.write(pixels)
    _finish(file, zlib.crc32(pixels), bad)


def _decode_into(file: BinaryIO, wanted: PictureFiles) -> None:
    """Picture by picture: written, not mapped, for a mapped file on a full disk kills."""
    each = wanted.shape[1:].numel()

    def put(row: int, picture: Tensor) -> None:
        file.seek(row * each)
        file.write(picture.contiguous().numpy().data)

    bad = wanted.decode_all(put)
    file.seek(0)
    checksum = 0
    while chunk := file.read(2**24):
        checksum = zlib.crc32(chunk, checksum)
    _finish(file, checksum, bad)


def _finish(file: BinaryIO, checksum: int, bad: Bad) -> None:
    notes = json.dumps(bad).encode()
    checksum = zlib.crc32(notes, checksum)
    file.write(notes + checksum.to_bytes(4, "little") + len(notes).to_bytes(4, "little") + MAGIC)


def _read_cache(path: Path, shape: torch.Size) -> tuple[Tensor, Bad] | None:
    """The mapped pictures and the bad rows; None when there is no whole, undamaged cache."""
    try:
        with path.open("rb") as file:
            file.seek(shape.numel())
            tail = file.read()
        notes, end = tail[:-16], tail[-16:]
        length = int.from_bytes(end[4:8], "little")
        if end[8:] == MAGIC and length == len(notes):
            pixels = torch.from_file(str(path), False, shape.numel(), dtype=torch.uint8)
            checksum = zlib.crc32(notes, zlib.crc32(pixels.numpy().data))
            if checksum == int.from_bytes(end[:4], "little"):
                return pixels.view(shape), {int(row): why for row, why in json.loads(notes).items()}
        say(f"{path} is damaged and made anew")
    except FileNotFoundError:
        pass
    except OSError as error:
        say(f"{path} cannot be read ({error.strerror}) and is made anew")
    return None
