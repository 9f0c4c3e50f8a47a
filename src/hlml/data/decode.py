"""From the bytes of a picture file to uint8 (C, S, S), or to the reason why not.

Files come from strangers: whatever a decoder makes of them, the answer is a picture or a reason.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

Fit = Literal["crop", "squash"]
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
)
# not what a name says but what may be inside; EPS, for one, would start another program
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 64_000_000  # a camera's; decoded, about 200 MB
GREY = 128  # what stands where a picture cannot be read
ORIENTATION = 0x0112  # EXIF: how the camera was held, and what turns the picture upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPictureError(Exception):
    """Says in a few words why a file is no picture."""


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings: what they are about is refused, or does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shorter_side(content: bytes) -> int:
    """In pixels, from the file's head alone. Raises BadPictureError."""
    try:
        return min(_open(content).size)
    except Exception as error:
        raise BadPictureError(_reason(content, error)) from error


def decode(content: bytes, channels: int, size: int, fit: Fit = "crop") -> Tensor:
    """A file's bytes -> uint8 (C, size, size), C 1 or 3. Raises BadPictureError.

    `fit`: the middle square of the picture, or all of it squashed into a square.
    """
    try:
        image = _open(content)
        # a JPEG is decoded at 1/2, 1/4 or 1/8 for nothing; twice the size leaves enough to average
        image.draft(image.mode, (2 * size, 2 * size))
        image.load()  # first: asked for its EXIF, a PNG loads, and says only once that it is broken
        turn = _orientation(image)
        image = _plain(image, "RGB" if channels == 3 else "L")
        square = image.resize((size, size), Image.Resampling.BILINEAR, _box(image.size, fit))
        if turn is not None:
            square = square.transpose(turn)
        pixels = torch.from_numpy(np.array(square))
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise BadPictureError(_reason(content, error)) from error
    return pixels.view(size, size, channels).permute(2, 0, 1)


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError
    return image


def _orientation(image: Image.Image) -> Image.Transpose | None:
    with suppress(Exception):  # damaged EXIF: the picture itself may be whole
        return UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    return None


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """8 bits in each of the mode's channels; what is transparent lies on white."""
    if image.mode == "F":
        raise BadPictureError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):  # 16 bits, which Pillow may hold in 32
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise BadPictureError("32-bit pixels have no agreed range")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _box(size: tuple[int, int], fit: Fit) -> tuple[int, int, int, int]:
    """The part of the picture to show: left, top, right, bottom."""
    width, height = size
    if fit == "squash":
        return 0, 0, width, height
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2  # half a pixel off would blur
    return left, top, left + side, top + side


def _reason(content: bytes, error: Exception) -> str:
    if isinstance(error, BadPictureError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MOST_PIXELS // 1_000_000} million pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture" if content else "empty or unreadable"
    if "truncated" in str(error).lower():
        return "truncated"
    return f"damaged: {str(error)[:60] or type(error).__name__}"
