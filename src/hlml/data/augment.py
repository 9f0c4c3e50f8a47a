"""Augmentation: pictures changed in ways that leave their class alone, each in its own way.

A whole batch at once, on the device where it lies. What happens to a picture depends on its key
alone (see randomness.py), not on its neighbours: equal to the last bit where pixels only move,
equal up to rounding where float32 kernels split a batch differently.
B batch, C channels, S side. Pictures are in 0..255.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hlml.data.randomness import uniform
from hlml.errors import UserError

Border = Literal["reflect", "zero"]
CHUNK = 2**18  # numbers: several passes over so many stay in a core's cache
GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue look: ITU-R BT.601


class Stream(IntEnum):
    """Which of a key's random numbers is for what: switching one option on moves no other."""

    FLIP = 0
    SHIFT_X = 1
    SHIFT_Y = 2
    ROTATION = 3
    ZOOM = 4
    SHEAR = 5
    BRIGHTNESS = 6
    CONTRAST = 7
    SATURATION = 8
    CUTOUT_X = 9
    CUTOUT_Y = 10


class Augmentation(ABC):
    """What a data set's `augment` and `strong_view` may be."""

    mixup: float  # alpha; applied by the data set, because it changes labels too

    @abstractmethod
    def __call__(self, pictures: Tensor, keys: Tensor) -> Tensor:
        """pictures (B, C, S, S) uint8, keys (B,) int64 -> pictures of the same shape"""


class Augment(Augmentation):
    """In this order: flip, shift, zoom, shear, rotate, colour, cut out. Mixup comes after.

    Args:
        shift: pixels, up to so many in each direction.
        border: what comes in from outside: the picture mirrored, or black.
        flip: left and right change places in half of the pictures.
        rotation: degrees, up to so many either way, about the centre.
        zoom: 0.2 is 0.8 to 1.2 times the size.
        shear: 0.2 moves the bottom row left or right by up to 0.1 of the side, the top row against
            it, and those between in proportion.
        brightness, contrast, saturation: 0.4 is 0.6 to 1.4 times as much.
        cutout: side of a square, in sides of the picture, that gets the picture's mean colour;
            its centre is anywhere, so a part may lie outside (DeVries and Taylor 2017).
        mixup: alpha of Beta(alpha, alpha), see mixup.py.

    Flips and shifts alone give back uint8; anything else float32.
    """

    def __init__(
        self,
        shift: int = 0,
        border: Border = "reflect",
        flip: bool = False,
        rotation: float = 0.0,
        zoom: float = 0.0,
        shear: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        cutout: float = 0.0,
        mixup: float = 0.0,
    ) -> None:
        self.shift, self.border, self.flip = shift, border, flip
        self.rotation, self.zoom, self.shear = rotation, zoom, shear
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.cutout, self.mixup = cutout, mixup
        self.moves, self.warps = bool(shift or flip), bool(rotation or zoom or shear)
        self.paints = bool(brightness or contrast or saturation or cutout)

    def __call__(self, pictures: Tensor, keys: Tensor) -> Tensor:
        if not (self.moves or self.warps or self.paints):
            return pictures
        numbers = uniform(keys, len(Stream))
        if self.moves and not self.warps:
            pictures = self._move(pictures, numbers)
        if not (self.warps or self.paints):
            return pictures
        changed = torch.empty(pictures.shape, device=pictures.device)
        one = pictures[:1].numel()
        size = max(1, CHUNK // one) if pictures.device.type == "cpu" else len(pictures)
        parts = (tensor.split(size) for tensor in (pictures, numbers, changed))
        for before, drawn, after in zip(*parts, strict=True):
            after.copy_(self._paint(self._warp(before, drawn), drawn))
        return changed

    def _offsets(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels to the right and down that each picture is read at, and which are flipped."""
        steps = (numbers * (2 * self.shift + 1)).long() - self.shift
        flipped = (numbers[:, Stream.FLIP] < 0.5) & self.flip
        return steps[:, Stream.SHIFT_X], steps[:, Stream.SHIFT_Y], flipped

    def _move(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        """Flips and shifts, which only index."""
        x, y, flipped = self._offsets(numbers)
        slices = pictures.device.type == "cpu" and self.shift < pictures.shape[-1] - 1
        return (by_slices if slices else by_gather)(pictures, x, y, flipped, self.border)

    def _warp(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        """All that moves pixels at once, so that they are interpolated once. -> float32"""
        if not self.warps:
            return pictures.float()
        x, y, flipped = self._offsets(numbers)
        to_source = self._inverse(numbers)
        sign = 1 - 2 * flipped.float()
        last = max(pictures.shape[-1] - 1, 1)
        place = torch.linspace(-1, 1, pictures.shape[-1], device=pictures.device)
        grid = torch.empty(*pictures[:, 0].shape, 2, device=pictures.device)
        for axis, offset in enumerate((x, y)):
            across, down = to_source[:, axis].unbind(1)
            column = down[:, None] * place + (offset * 2 / last)[:, None]
            row = across[:, None] * place
            if axis == 0:  # a flip mirrors where the shifted, turned picture looks
                row, column = row * sign[:, None], column * sign[:, None]
            torch.add(row[:, None, :], column[:, :, None], out=grid[..., axis])
        mode = {"reflect": "reflection", "zero": "zeros"}[self.border]
        return F.grid_sample(pictures.float(), grid, padding_mode=mode, align_corners=True)

    def _inverse(self, numbers: Tensor) -> Tensor:
        """(B, 2, 2): where a pixel comes from, seen from the centre: undoes rotation shear zoom."""
        angle = _spread(numbers[:, Stream.ROTATION], math.radians(self.rotation))
        factor = 1 + _spread(numbers[:, Stream.ZOOM], self.zoom)
        shear = _spread(numbers[:, Stream.SHEAR], self.shear)
        sine, cosine = angle.sin(), angle.cos()
        rows = (cosine + shear * sine, sine - shear * cosine, -sine, cosine)
        matrix: Tensor = (torch.stack(rows, 1) / factor[:, None]).unflatten(1, (2, 2))
        return matrix

    def _paint(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        """Colours, then the cut-out. float32 -> float32"""
        if self.brightness or self.contrast or self.saturation:
            pictures = self._recolour(pictures, numbers)
        return self._cut(pictures, numbers) if self.cutout else pictures

    def _recolour(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        """The three are linear, so one sum does them all, in any order, and clips once.

        Saturation keeps a pixel's grey and scales what differs from it; contrast keeps the mean
        grey and scales what differs from that; brightness scales everything.
        """
        drawn = numbers[:, Stream.BRIGHTNESS : Stream.SATURATION + 1]
        widths = torch.tensor([self.brightness, self.contrast, self.saturation])
        factors = (1 + _spread(drawn, widths.to(drawn.device))).clamp_(min=0)
        light, contrast, colour = factors[:, :, None, None, None].unbind(1)
        changed = pictures * (light * contrast * colour)
        if self.contrast or self.saturation:
            grey = _grey(pictures)
            changed += light * contrast * (1 - colour) * grey
            changed += light * (1 - contrast) * grey.mean((2, 3), keepdim=True)
        return changed.clamp_(0, 255)

    def _cut(self, pictures: Tensor, numbers: Tensor) -> Tensor:
        size = pictures.shape[-1]
        side = round(self.cutout * size)
        centres = (numbers[:, Stream.CUTOUT_X : Stream.CUTOUT_Y + 1] * size).long()
        distance = torch.arange(size, device=pictures.device) - centres[:, :, None] + side // 2
        columns, rows = ((distance >= 0) & (distance < side)).unbind(1)
        hole = rows[:, None, :, None] & columns[:, None, None, :]
        # exact at 0 and 1, and several times faster than where() on a mask that is broadcast
        return torch.lerp(pictures, pictures.mean((2, 3), keepdim=True), hole.float())


def _spread(numbers: Tensor, width: float | Tensor) -> Tensor:
    """[0, 1) -> [-width, width)"""
    return (2 * numbers - 1) * width


def _grey(pictures: Tensor) -> Tensor:
    """(B, C, S, S) -> (B, 1, S, S): how bright a pixel looks; without three colours, their mean."""
    if pictures.shape[1] != 3:
        return pictures.mean(1, keepdim=True)
    red, green, blue = pictures.split(1, 1)
    grey: Tensor = (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return grey


def by_gather(pictures: Tensor, x: Tensor, y: Tensor, flipped: Tensor, border: Border) -> Tensor:
    """Flip, then shift: pixel (i, j) is what stood at (i + y, j + x). One kernel for a batch.

    x, y (B,) int64 pixels; flipped (B,) bool.
    """
    size = pictures.shape[-1]
    place = torch.arange(size, device=pictures.device)
    rows, columns = (_mirror(place + offset[:, None], size) for offset in (y, x))
    columns = torch.where(flipped[:, None], size - 1 - columns, columns)
    source = (rows[:, :, None] * size + columns[:, None, :]).flatten(1)[:, None]
    moved = pictures.flatten(2).gather(2, source.expand(-1, pictures.shape[1], -1))
    moved = moved.view_as(pictures)
    if border == "reflect":
        return moved
    inside = [(place + n[:, None] >= 0) & (place + n[:, None] < size) for n in (y, x)]
    return moved * (inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _mirror(places: Tensor, size: int) -> Tensor:
    """Any whole number to 0 .. size - 1, as between two mirrors; an edge is not seen twice."""
    period = max(2 * size - 2, 1)
    places = places.abs() % period
    return torch.minimum(places, period - places)


def by_slices(pictures: Tensor, x: Tensor, y: Tensor, flipped: Tensor, border: Border) -> Tensor:
    """The same as by_gather, on a CPU, where copying rows of memory is faster than finding pixels.

    Offsets are below S - 1. NumPy, because a view of it costs a fraction of a tensor's.
    """
    moved = torch.empty_like(pictures) if border == "reflect" else torch.zeros_like(pictures)
    reflect, size = border == "reflect", pictures.shape[-1]
    xs, ys = x.tolist(), y.tolist()
    spans = {offset: _spans(offset, size, reflect) for offset in {*xs, *ys}}
    everything = (pictures.numpy(), moved.numpy(), ys, xs, flipped.tolist())
    for before, after, down, right, mirrored in zip(*everything, strict=True):
        seen = before[:, :, ::-1] if mirrored else before
        for to_rows, rows in spans[down]:
            for to_columns, columns in spans[right]:
                after[:, to_rows, to_columns] = seen[:, rows, columns]
    return moved


def _spans(offset: int, size: int, reflect: bool) -> list[tuple[slice, slice]]:
    """Along one axis: what goes where. The part that stays in view, and its mirrored border."""
    if offset >= 0:
        spans = [(slice(0, size - offset), slice(offset, size))]
        border = (slice(size - offset, size), slice(size - 2, size - 2 - offset, -1))
    else:
        spans = [(slice(-offset, size), slice(0, size + offset))]
        border = (slice(0, -offset), slice(-offset, 0, -1))
    return [*spans, border] if reflect and offset else spans


class TorchvisionTransforms(Augmentation):
    """Classes of torchvision.transforms.v2, one after another, on one picture at a time.

    They draw from torch's generator: each picture's draws start from its key, and afterwards the
    generator is as it was. They run on the CPU, so that every device sees the same pictures. Slow
    beside Augment: for what it has not.
    """

    def __init__(self, transforms: list[Any], mixup: float = 0.0) -> None:
        self.transforms: list[Callable[[Tensor], Tensor]] = transforms
        self.mixup = mixup

    def __call__(self, pictures: Tensor, keys: Tensor) -> Tensor:
        changed = []
        with torch.random.fork_rng(devices=[]):
            for picture, key in zip(pictures.cpu(), keys.tolist(), strict=True):
                # not torch.manual_seed, which would seed every GPU's generator too
                torch.default_generator.manual_seed(key)
                changed.append(self._change(picture))
        return torch.stack(changed).to(pictures.device)

    def _change(self, picture: Tensor) -> Tensor:
        """picture (C, S, S)"""
        changed = picture
        for transform in self.transforms:
            try:
                changed = transform(changed)
            except (AttributeError, RuntimeError, TypeError, ValueError) as error:
                why = str(error).partition("\n")[0]
                raise UserError(f"augment.transforms: {type(transform).__name__}: {why}") from error
        if not isinstance(changed, Tensor) or changed.shape != picture.shape:
            found = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise UserError(
                f"augment.transforms: they make {found} of a picture {list(picture.shape)}; "
                "the shape must stay"
            )
        # torchvision's pictures of floats are in 0..1
        return changed * 255 if changed.is_floating_point() else changed
