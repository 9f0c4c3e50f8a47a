"""From files of every kind, good and bad, to pixels; kept in memory, in a cache, or on demand."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader

from hlml.data import picture_source
from hlml.data.archive import open_files
from hlml.data.decode import BadPictureError, decode, quietly, shorter_side
from hlml.data.images import ImageRows
from hlml.data.picture_source import PictureFiles, StreamedPictures, load
from hlml.errors import UserError

# a picture whose four quarters differ, so that no turn or flip of it looks the same
QUARTERS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (220, 220, 40)]


def quarters(width: int = 40, height: int = 40) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for number, colour in enumerate(QUARTERS):
        place = (number % 2 * width // 2, number // 2 * height // 2)
        image.paste(Image.new("RGB", (width // 2, height // 2), colour), place)
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners(picture: Tensor) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters: (3, S, S) -> 4 of (r, g, b)."""
    size = picture.shape[-1]
    near, far = size // 4, size - size // 4 - 1
    places = [(near, near), (near, far), (far, near), (far, far)]
    return [tuple(picture[:, row, column].tolist()) for row, column in places]


def close(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], within: int) -> bool:
    return bool(np.abs(np.array(found) - np.array(wanted)).max() <= within)


def grey_of(colour: tuple[int, int, int]) -> int:
    """ITU-R 601, which is what grey means to Pillow."""
    return round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])


def sixteen_bits(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint16))


def transparent_palette() -> Image.Image:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 40, 20))
    return image


# name -> the file, the colours that must be seen (or one colour for all), and how nearly
GOOD: dict[str, tuple[Callable[[], bytes], list[tuple[int, ...]], int]] = {
    "PNG": (lambda: saved(quarters()), QUARTERS, 0),
    "JPEG": (lambda: saved(quarters(), "JPEG", quality=95), QUARTERS, 4),
    "progressive JPEG": (
        lambda: saved(quarters(), "JPEG", quality=95, progressive=True),
        QUARTERS,
        4,
    ),
    "large JPEG": (lambda: saved(quarters(3200, 3200), "JPEG", quality=95), QUARTERS, 4),
    "CMYK JPEG": (lambda: saved(quarters().convert("CMYK"), "JPEG", quality=95), QUARTERS, 6),
    "WebP": (lambda: saved(quarters(), "WEBP", lossless=True), QUARTERS, 0),
    "BMP": (lambda: saved(quarters(), "BMP"), QUARTERS, 0),
    "TIFF": (lambda: saved(quarters(), "TIFF"), QUARTERS, 0),
    "palette": (lambda: saved(quarters().quantize(8)), QUARTERS, 0),
    "GIF": (lambda: saved(quarters().quantize(8), "GIF"), QUARTERS, 0),
    "moving GIF": (
        lambda: saved(
            quarters().quantize(8),
            "GIF",
            save_all=True,
            append_images=[Image.new("RGB", (40, 40)).quantize(8)],
        ),
        QUARTERS,
        0,
    ),
    "grey": (lambda: saved(Image.new("L", (40, 40), 77)), [(77, 77, 77)] * 4, 0),
    "grey JPEG": (lambda: saved(Image.new("L", (40, 40), 77), "JPEG"), [(77, 77, 77)] * 4, 1),
    "1 bit": (lambda: saved(Image.new("1", (40, 40), 1)), [(255, 255, 255)] * 4, 0),
    "16 bits": (
        lambda: saved(sixteen_bits(np.full((40, 40), 51 * 257))),
        [(51, 51, 51)] * 4,
        0,
    ),
    "16 bits TIFF": (
        lambda: saved(sixteen_bits(np.full((40, 40), 51 * 257)), "TIFF"),
        [(51, 51, 51)] * 4,
        0,
    ),
    "RGBA, half": (
        lambda: saved(Image.new("RGBA", (40, 40), (0, 100, 200, 128))),
        [(127, 177, 227)] * 4,  # half of it and half of the white below
        1,
    ),
    "RGBA, clear": (
        lambda: saved(Image.new("RGBA", (40, 40), (9, 9, 9, 0))),
        [(255, 255, 255)] * 4,
        0,
    ),
    "grey and clear": (
        lambda: saved(Image.new("LA", (40, 40), (0, 128))),
        [(127, 127, 127)] * 4,
        1,
    ),
    "palette, one colour clear": (
        lambda: saved(transparent_palette(), transparency=0),
        [(255, 255, 255)] * 2 + [(0, 0, 255)] * 2,
        0,
    ),
    "palette, clear by bytes": (
        lambda: saved(transparent_palette(), transparency=b"\x00\xff"),
        [(255, 255, 255)] * 2 + [(0, 0, 255)] * 2,
        0,
    ),
    "RGB, one colour clear": (
        lambda: saved(quarters(), transparency=QUARTERS[0]),
        [(255, 255, 255), *QUARTERS[1:]],
        0,
    ),
    "1 pixel": (lambda: saved(Image.new("RGB", (1, 1), (1, 2, 3))), [(1, 2, 3)] * 4, 0),
    "1 pixel wide": (lambda: saved(Image.new("RGB", (1, 999), (1, 2, 3))), [(1, 2, 3)] * 4, 0),
    "1 pixel JPEG": (lambda: saved(Image.new("L", (1, 1), 9), "JPEG"), [(9, 9, 9)] * 4, 1),
    "damaged EXIF": (
        lambda: saved(quarters(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff\1\2"),
        QUARTERS,
        4,
    ),
}


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_file_becomes_the_same_colours(kind: str) -> None:
    make, wanted, within = GOOD[kind]
    with quietly():
        colour, grey = decode(make(), 3, 16), decode(make(), 1, 16)
    assert (colour.shape, colour.dtype) == ((3, 16, 16), torch.uint8)
    assert close(corners(colour), wanted, within)
    assert grey.shape == (1, 16, 16)
    assert close(corners(grey), [(grey_of(one),) for one in wanted], within + 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_is_turned_back_as_pillow_does_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(quarters(60, 40), "JPEG", quality=95, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    for fit in ("crop", "squash"):
        wanted = decode(saved(upright), 3, 20, fit)
        assert close(corners(decode(content, 3, 20, fit)), corners(wanted), 4)
    assert close(corners(decode(content, 3, 20)), corners(wanted), 4)


def test_crop_keeps_shapes_and_squash_keeps_everything() -> None:
    """A white bar beside a black square: cropping loses it, squashing makes it narrower."""
    wide = Image.new("L", (60, 20))
    wide.paste(255, (0, 0, 15, 20))  # the first quarter of the width
    assert decode(saved(wide), 1, 20, "crop").max() == 0
    squashed = decode(saved(wide), 1, 20, "squash")
    assert (squashed > 127).float().mean().item() == pytest.approx(0.25, abs=0.01)
    same = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8)
    for width in (32, 33):  # pictures of the right height already are cut, never resampled
        image = Image.new("RGB", (width, 32))
        image.paste(Image.fromarray(same.numpy()))
        assert torch.equal(decode(saved(image), 3, 32), same.permute(2, 0, 1))


def bomb(width: int, height: int) -> bytes:
    """A PNG of zeros: 1 bit a pixel, and about a thousandth of that on disk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4)
        return len(content).to_bytes(4) + kind + content + checksum

    head = width.to_bytes(4) + height.to_bytes(4) + bytes([1, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def floating_point() -> bytes:
    return saved(Image.fromarray(np.zeros((8, 8), np.float32)), "TIFF")


def flipped_where_it_counts() -> bytes:
    content = bytearray(saved(quarters(200, 200)))
    content[content.index(b"IDAT") + 4] ^= 0xFF  # the head of the compressed data
    return bytes(content)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty or unreadable"),
    "text": (lambda: b"I am no picture" * 99, "not a picture"),
    "web page": (lambda: b"<!DOCTYPE html><title>404</title>", "not a picture"),
    "a zip": (lambda: b"PK\x03\x04" + bytes(99), "not a picture"),
    "a script for Ghostscript": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "not a picture",
    ),
    "only the first bytes": (lambda: saved(quarters(), "JPEG")[:20], "not a picture"),
    "truncated JPEG": (lambda: saved(quarters(200, 200), "JPEG")[:-400], "truncated"),
    "truncated PNG": (lambda: saved(quarters(200, 200))[:200], "truncated"),
    "truncated GIF": (lambda: saved(quarters(200, 200).quantize(8), "GIF")[:900], "truncated"),
    "a flipped byte": (flipped_where_it_counts, "damaged"),
    "100 million pixels": (lambda: bomb(10_000, 10_000), "more than 64 million pixels"),
    "225 million pixels": (lambda: bomb(15_000, 15_000), "more than 64 million pixels"),
    "400 million pixels": (lambda: bomb(20_000, 20_000), "more than 64 million pixels"),
    "floating point": (floating_point, "floating-point pixels have no agreed range"),
    "32 bits": (
        lambda: saved(Image.fromarray(np.full((8, 8), 2**20, np.int32)), "TIFF"),
        "32-bit pixels have no agreed range",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_by_what_is_wrong_with_it(kind: str) -> None:
    make, why = BAD[kind]
    with quietly(), pytest.raises(BadPictureError, match=f"^{why}"):
        decode(make(), 3, 16)


def test_a_bomb_is_seen_before_it_goes_off() -> None:
    """Under Pillow's own limit, above ours: nothing of it may be decoded."""
    content = bomb(8200, 8200)
    assert len(content) < 20_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is not Pillow that stops it
        with pytest.raises(BadPictureError, match="more than 64 million pixels"):
            shorter_side(content)


def test_no_bytes_make_the_decoder_raise_anything_else() -> None:
    """Every file torn or with a flipped byte is a picture or has a reason."""
    reasons = 0
    with quietly():
        for make, _, _ in GOOD.values():
            content = make()
            if len(content) > 20_000:
                continue
            for place in range(1, len(content), max(1, len(content) // 12)):
                flipped = bytearray(content)
                flipped[place] ^= 0x55
                for broken in (content[:place], bytes(flipped)):
                    try:
                        assert decode(broken, 3, 8).shape == (3, 8, 8)
                    except BadPictureError:
                        reasons += 1
    assert reasons > 100


@pytest.fixture
def wanted(tmp_path: Path) -> PictureFiles:
    """Twelve pictures, of which number 3 is torn and number 7 is text."""
    (tmp_path / "set").mkdir()
    for number in range(12):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 24, 3), "u1"))
        (tmp_path / f"set/{number:02}.png").write_bytes(saved(image))
    torn = (tmp_path / "set/03.png").read_bytes()[:-300]
    (tmp_path / "set/03.png").write_bytes(torn)
    (tmp_path / "set/07.png").write_text("text")
    return reopened(tmp_path)


def reopened(tmp_path: Path, size: int = 8) -> PictureFiles:
    files = open_files(tmp_path / "set")
    return PictureFiles(files, [member.name for member in files.members], 3, size, "crop")


BAD_ROWS = {3: "truncated", 7: "not a picture"}


def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_source, "free_memory", lambda: 0)


def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 0})
    monkeypatch.setattr(picture_source.shutil, "disk_usage", lambda path: usage)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a file is decoded from here on."""
    calls: list[int] = []

    def decode_and_count(*arguments: object) -> Tensor:
        calls.append(1)
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(picture_source, "decode", decode_and_count)
    return calls


def test_memory_cache_map_and_stream_give_identical_batches(
    wanted: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = torch.stack(
        [
            torch.full((3, 8, 8), 128, dtype=torch.uint8)
            if row in BAD_ROWS
            else decode((tmp_path / "set" / name).read_bytes(), 3, 8)
            for row, name in enumerate(wanted.names)
        ]
    )
    calls = counting(monkeypatch)
    sources = {"memory": load(wanted, tmp_path / "cache")}
    assert len(calls) == 12
    sources["cache"] = load(wanted, tmp_path / "cache")
    no_memory(monkeypatch)
    sources["mapped"] = load(wanted, tmp_path / "cache")
    assert len(calls) == 12  # decoded once
    sources["decoded into the file"] = load(wanted, tmp_path / "other")
    no_disk(monkeypatch)
    sources["streamed"] = load(wanted, tmp_path / "third")
    kinds = {name: type(source) for name, (source, _) in sources.items()}
    assert kinds.pop("streamed") is StreamedPictures
    assert set(kinds.values()) == {Tensor}
    index = torch.tensor([11, 3, 0, 7, 5, 5])
    for name, (source, bad) in sources.items():
        assert source.shape == reference.shape, name
        assert torch.equal(source.index_select(0, index), reference[index]), name
        assert bad == BAD_ROWS, name
    (tmp_path / "cache").rename(tmp_path / "moved")  # what is in memory needs the file no more
    assert torch.equal(sources["cache"][0].index_select(0, index), reference[index])


def test_a_streamed_source_serves_loader_workers(
    wanted: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_memory(monkeypatch)
    no_disk(monkeypatch)
    source, _ = load(wanted, tmp_path / "cache")
    assert isinstance(source, StreamedPictures)
    pictures = torch.stack([source.index_select(0, torch.tensor([n]))[0] for n in range(12)])
    rows = ImageRows(pickle.loads(pickle.dumps(source)), torch.arange(12), torch.zeros(12).long())
    keys = [torch.tensor([9, 0]), torch.tensor([4, 7]), torch.tensor([2, 2])]

    class Batches(torch.utils.data.Dataset[Tensor]):
        def __getitem__(self, key: Tensor) -> Tensor:
            return rows.batch(key, 0).pictures

    loader = DataLoader(Batches(), sampler=keys, batch_size=None, num_workers=2)
    for key, batch in zip(keys, loader, strict=True):
        assert torch.equal(batch, pictures[key])


def test_a_file_that_goes_bad_later_is_grey_and_said(
    wanted: PictureFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = StreamedPictures(wanted)
    (tmp_path / "set/00.png").write_text("overwritten")
    (tmp_path / "set/01.png").unlink()
    batch = source.index_select(0, torch.tensor([0, 1, 2]))
    assert (batch[:2] == 128).all()
    assert not (batch[2] == 128).all()
    assert capsys.readouterr().err.splitlines() == [
        "hlml: 00.png can no longer be read (not a picture): a grey square takes its place",
        "hlml: 01.png can no longer be read (empty or unreadable): a grey square takes its place",
    ]


def test_the_cache_is_keyed_by_names_contents_and_size(
    wanted: PictureFiles, tmp_path: Path
) -> None:
    keys = {wanted.key(), reopened(tmp_path, size=9).key()}
    assert reopened(tmp_path).key() in keys  # the same again
    (tmp_path / "set/00.png").rename(tmp_path / "set/000.png")
    keys.add(reopened(tmp_path).key())
    content = bytearray((tmp_path / "set/05.png").read_bytes())
    before = (tmp_path / "set/05.png").stat()
    content[-20] ^= 1
    (tmp_path / "set/05.png").write_bytes(content)
    os.utime(tmp_path / "set/05.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    keys.add(reopened(tmp_path).key())  # the same name, size and date
    assert len(keys) == 4


@pytest.mark.parametrize("roomy", [True, False])
def test_a_damaged_cache_is_made_anew(
    wanted: PictureFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    roomy: bool,
) -> None:
    if not roomy:
        no_memory(monkeypatch)
    pictures = load(wanted, tmp_path / "cache")[0].index_select(0, torch.arange(12))
    [path] = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    torn = [whole[:size] for size in (0, 1, 100, len(whole) - 17, len(whole) - 1)]
    flipped = [bytearray(whole) for _ in range(0, len(whole), 61)]
    for number, content in enumerate(flipped):
        content[number * 61] ^= 4
    calls = counting(monkeypatch)
    broken = [*torn, *flipped, whole + b"more", bytes(len(whole))]
    for number, content in enumerate(broken, 1):
        path.write_bytes(content)
        source, bad = load(wanted, tmp_path / "cache")
        assert torch.equal(source.index_select(0, torch.arange(12)), pictures)
        assert bad == BAD_ROWS
        assert len(calls) == 12 * number
        assert path.read_bytes() == whole
        assert "is damaged and made anew" in capsys.readouterr().err
    assert [path] == list((tmp_path / "cache").iterdir())  # nothing half written is left


def test_without_a_place_to_keep_it_the_run_goes_on(
    wanted: PictureFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures = load(wanted, tmp_path / "cache")[0]
    (tmp_path / "file").write_text("in the way")
    assert torch.equal(load(wanted, tmp_path / "file")[0], pictures)
    assert "cannot be kept in" in capsys.readouterr().err
    no_disk(monkeypatch)
    assert torch.equal(load(wanted, tmp_path / "other")[0], pictures)
    assert "No space left on device; the next run decodes them again" in capsys.readouterr().err
    assert list((tmp_path / "other").iterdir()) == []


def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    wanted: PictureFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(picture_source.os, "fsync", full)
    assert isinstance(load(wanted, tmp_path / "cache")[0], Tensor)
    no_memory(monkeypatch)
    assert isinstance(load(wanted, tmp_path / "cache")[0], StreamedPictures)
    assert capsys.readouterr().err.count("No space left on device") == 2
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_killed_runs_left_is_swept_up_after_a_day(
    wanted: PictureFiles, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    old, new = (tmp_path / f"cache/pictures_{age}.bin.99.tmp" for age in ("old", "new"))
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (0, 0))
    load(wanted, tmp_path / "cache")
    assert (old.exists(), new.exists()) == (False, True)


def test_threads_decode_what_one_would(
    wanted: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = load(wanted, tmp_path / "cache")[0]
    monkeypatch.setattr(picture_source, "WORTH_THREADS", 0)
    monkeypatch.setattr(picture_source, "CHUNK_FILES", 5)
    monkeypatch.setattr(picture_source, "_cores", lambda: 3)
    threaded, bad = load(wanted, tmp_path / "other")
    assert torch.equal(threaded, alone)
    assert bad == BAD_ROWS


def test_a_compressed_tar_can_be_held_but_not_streamed(
    wanted: PictureFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tarfile

    with tarfile.open(tmp_path / "x.tgz", "w:gz") as packed:
        for name in reversed(wanted.names):
            packed.add(tmp_path / "set" / name, name)
    packed_files = PictureFiles(open_files(tmp_path / "x.tgz"), wanted.names, 3, 8, "crop")
    held, bad = load(packed_files, tmp_path / "cache")
    no_memory(monkeypatch)
    no_disk(monkeypatch)
    assert torch.equal(held, load(wanted, tmp_path / "other")[0].index_select(0, torch.arange(12)))
    assert bad == BAD_ROWS
    with pytest.raises(UserError, match=r"x\.tgz: .* a compressed tar cannot be read in any order"):
        load(packed_files, tmp_path / "other")
