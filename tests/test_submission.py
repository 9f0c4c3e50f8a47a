"""images.tgz: what is written can be handed in, and each thing that could be wrong is named."""

import gzip
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hlml import submission
from hlml.errors import UserError
from hlml.submission import COUNT, LIMIT, check_images, write_images

Files = dict[str, bytes]


def smooth(channels: int, size: int, noise: int = 0) -> Tensor:
    """(1000, C, S, S): each picture two shades that tell its number, and some noise."""
    number = torch.arange(COUNT)
    shades = torch.stack([number // 40 * 10, number % 40 * 6], 1)
    plain = shades.repeat_interleave(size // 2, 1)[:, None, None].expand(-1, channels, size, size)
    random = torch.randint(0, noise + 1, plain.shape, generator=torch.Generator().manual_seed(0))
    return (plain + random).clamp(max=255).byte()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "images.tgz"
    assert write_images(smooth(3, 16), path) == 95
    return path


def unpack(path: Path) -> Files:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def pack(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_a_thousand_flat_jpegs_in_order_that_show_the_pictures(written: Path) -> None:
    assert check_images(written) == []
    files = unpack(written)
    assert list(files) == [f"{number}.jpg" for number in range(1, 1001)]
    pictures = smooth(3, 16)
    for number in (1, 2, 777, 1000):
        shown = np.asarray(Image.open(io.BytesIO(files[f"{number}.jpg"])))
        wanted = pictures[number - 1].permute(1, 2, 0).numpy()
        assert np.abs(shown.astype(int) - wanted).max() < 12
    assert list(written.parent.iterdir()) == [written]


def test_the_same_pictures_are_the_same_bytes(written: Path, tmp_path: Path) -> None:
    other = tmp_path / "another name"
    write_images(smooth(3, 16), other)
    assert other.read_bytes() == written.read_bytes()


def test_grey_pictures_stay_grey(tmp_path: Path) -> None:
    write_images(smooth(1, 8), tmp_path / "images.tgz")
    assert check_images(tmp_path / "images.tgz") == []
    content = unpack(tmp_path / "images.tgz")["7.jpg"]
    assert Image.open(io.BytesIO(content)).mode == "L"


def test_quality_falls_until_it_fits_and_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = smooth(3, 16, noise=200)
    monkeypatch.setattr(submission, "QUALITIES", (95, 90, 85))
    sizes = {}
    for quality in (95, 90, 85):
        sizes[quality] = len(submission._packed([submission._image(p) for p in pictures], quality))
    assert sizes[95] > sizes[90] > sizes[85]
    path = tmp_path / "images.tgz"
    for limit, quality in ((sizes[95] + 1, 95), (sizes[95], 90), (sizes[85] + 1, 85)):
        monkeypatch.setattr(submission, "LIMIT", limit)
        assert write_images(pictures, path) == quality
        assert path.stat().st_size == sizes[quality] < limit
    monkeypatch.setattr(submission, "LIMIT", 1000)
    with pytest.raises(UserError, match=r"16 x 16 are .* generate smaller ones"):
        write_images(pictures, path)
    assert path.stat().st_size == sizes[85]  # what was there stays


def test_another_number_of_pictures_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes 1000 pictures, not 999"):
        write_images(smooth(1, 8)[:999], tmp_path / "images.tgz")
    assert not list(tmp_path.iterdir())


def renamed(files: Files, before: str, after: str) -> Files:
    return {after if name == before else name: content for name, content in files.items()}


def png(content: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        (lambda f: {n: c for n, c in f.items() if n != "5.jpg"}, [r"^5\.jpg are missing"]),
        (
            lambda f: dict(list(f.items())[:980]),
            [r"^981\.jpg, 982\.jpg.* and 10 more are missing$"],
        ),
        (
            lambda f: f | {"1001.jpg": f["1.jpg"]},
            [r"^1001\.jpg are not called 1\.jpg to 1000\.jpg"],
        ),
        (
            lambda f: renamed(f, "1.jpg", "0.jpg"),
            [r"^0\.jpg are not called", r"^1\.jpg are missing"],
        ),
        (lambda f: renamed(f, "3.jpg", "003.jpg"), [r"^003\.jpg are not", r"^3\.jpg are missing"]),
        (
            lambda f: {f"faces/{name}": content for name, content in f.items()},
            [r"^faces/1\.jpg, .* and 990 more lie in folders", r"^1\.jpg, .* are missing"],
        ),
        (lambda f: f | {"8.jpg": f["8.jpg"][:200]}, [r"^8\.jpg cannot be decoded as JPEG$"]),
        (lambda f: f | {"8.jpg": b""}, [r"^8\.jpg cannot be decoded"]),
        (lambda f: f | {"9.jpg": png(f["9.jpg"])}, [r"^9\.jpg cannot be decoded as JPEG$"]),
        (lambda f: f | {"9.jpg": os.urandom(LIMIT)}, [r"must be under", r"^9\.jpg cannot be"]),
    ],
)
def test_every_fault_is_a_line(
    written: Path, tmp_path: Path, fault: Callable[[Files], Files], lines: list[str]
) -> None:
    found = check_images(pack(tmp_path / "images.tgz", fault(unpack(written))))
    assert len(found) == len(lines), found
    for line, expected in zip(found, lines, strict=True):
        assert re.search(expected, line), (expected, line)


def test_names_with_a_dot_in_front_are_flat(written: Path, tmp_path: Path) -> None:
    files = {f"./{name}": content for name, content in unpack(written).items()}
    assert check_images(pack(tmp_path / "images.tgz", files)) == []  # tar -czf images.tgz ./*.jpg


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (tarfile.DIRTYPE, r"^faces are folders"),
        (tarfile.SYMTYPE, r"^faces are links or devices"),
        (tarfile.FIFOTYPE, r"^faces are links or devices"),
    ],
)
def test_what_is_no_file_is_named(written: Path, tmp_path: Path, kind: bytes, line: str) -> None:
    path = pack(tmp_path / "images.tgz", unpack(written))
    content = gzip.decompress(path.read_bytes())
    path.with_suffix(".tar").write_bytes(content)
    with tarfile.open(path.with_suffix(".tar"), "a") as archive:
        member = tarfile.TarInfo("faces")
        member.type, member.linkname = kind, "1.jpg"
        archive.addfile(member)
    path.write_bytes(gzip.compress(path.with_suffix(".tar").read_bytes(), 1))
    (found,) = check_images(path)
    assert re.search(line, found)


def test_a_name_twice_is_said(written: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for name, content in [*unpack(written).items(), ("2.jpg", b"")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path = tmp_path / "images.tgz"
    path.write_bytes(gzip.compress((tmp_path / "images.tar").read_bytes(), 1))
    assert check_images(path)[0] == "2.jpg are there more than once"


def test_another_kind_of_archive_is_named(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tgz"
    assert check_images(path) == [f"{path}: there is no such file"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.jpg", b"")
    assert check_images(path) == [
        "images.tgz is a zip under another name: it must be a gzipped tar"
    ]
    path.write_bytes(gzip.decompress(written.read_bytes()))
    assert re.match(r"images\.tgz is not gzipped", check_images(path)[0])
    path.write_bytes(b"")
    assert re.match(r"images\.tgz is not gzipped", check_images(path)[0])
    path.write_bytes(gzip.compress(b"no tar at all"))
    assert re.match(r"images\.tgz cannot be unpacked", check_images(path)[0])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_half_an_archive_is_a_line_and_not_a_crash(
    written: Path, tmp_path: Path, keep: float
) -> None:
    content = written.read_bytes()
    path = tmp_path / "images.tgz"
    path.write_bytes(content[: int(keep * len(content))])
    (found,) = check_images(path)
    assert re.match(r"images\.tgz cannot be unpacked \(.*\): write it again", found)


def test_two_megabytes_are_too_many(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "images.tgz"
    path.write_bytes(written.read_bytes() + bytes(LIMIT - written.stat().st_size))
    assert check_images(path)[0] == "images.tgz has 2,000,000 bytes, and must be under 2,000,000"
