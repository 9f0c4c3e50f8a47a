"""Augmentation of photos, 3 x 128 x 128: hlml's, beside torchvision's v2 one picture at a time.

A contender returns the seconds a picture takes. Both sides of a pair do the same operations by
the same amounts on the same uint8 pictures, and end with one tensor for the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hlml.data.augment import Augment
from hlml.data.randomness import keys

BATCH, SIZE, SHIFT = 64, 128, 16
MEAN, STD = [0.5] * 3, [0.25] * 3  # of 0..1, as torchvision wants them
Contender = Callable[[], float]

draw = torch.Generator().manual_seed(0)
photos = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8, generator=draw)
rows = torch.arange(BATCH)


def hlml(augment: Augment, normalise: bool = False) -> Callable[[int], Tensor]:
    """Keys included; `normalise`: on the batch, in the one buffer that the product makes."""
    scale = torch.tensor([1 / (255 * std) for std in STD])[:, None, None]
    offset = torch.tensor([-mean / std for mean, std in zip(MEAN, STD, strict=True)])[:, None, None]

    def batch(epoch: int) -> Tensor:
        pictures = augment(photos, keys(0, epoch, rows))
        return (pictures * scale).add_(offset) if normalise else pictures

    return batch


def torchvision(*names_and_options: tuple[str, dict[str, object]]) -> Callable[[int], Tensor]:
    from torchvision.transforms import v2

    transforms = [getattr(v2, name)(**options) for name, options in names_and_options]
    change = v2.Compose(transforms)

    def batch(epoch: int) -> Tensor:
        return torch.stack([change(picture) for picture in photos])

    return batch


def timed(batch: Callable[[int], Tensor], count: int) -> Contender:
    """Seconds a picture, over `count` batches."""

    def seconds() -> float:
        start = time.perf_counter()
        for epoch in range(count):
            batch(epoch)
        return (time.perf_counter() - start) / (count * BATCH)

    return seconds


def pairs() -> Iterator[tuple[str, Contender, Contender]]:
    """What is done, by hlml and by torchvision; hlml takes more batches, to run for as long."""
    flip = ("RandomHorizontalFlip", {})
    floats = ("ToDtype", {"dtype": torch.float32, "scale": True})
    for border, padding in (("zero", "constant"), ("reflect", "reflect")):
        ours = Augment(SHIFT, border, flip=True)  # type: ignore[arg-type]
        crop = ("RandomCrop", {"size": SIZE, "padding": SHIFT, "padding_mode": padding})
        name = f"flip, crop ({border} border)"
        yield name, timed(hlml(ours), 20), timed(torchvision(crop, flip), 2)
        normalise = ("Normalize", {"mean": MEAN, "std": STD})
        theirs = torchvision(crop, flip, floats, normalise)
        yield f"{name}, normalise", timed(hlml(ours, normalise=True), 10), timed(theirs, 2)
    amounts = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
    strong = Augment(SHIFT, "zero", True, rotation=15.0, zoom=0.2, cutout=0.4, **amounts)  # type: ignore[arg-type]
    share = SHIFT / SIZE
    affine = {"degrees": 15.0, "translate": (share, share), "scale": (0.8, 1.2)}
    hole = {"p": 1.0, "scale": (0.16, 0.16), "ratio": (1.0, 1.0)}
    from torchvision.transforms.v2 import InterpolationMode

    theirs = torchvision(
        flip,
        floats,  # colours are rounded after each otherwise
        ("RandomAffine", {**affine, "interpolation": InterpolationMode.BILINEAR}),
        ("ColorJitter", amounts),
        ("RandomErasing", hole),
    )
    name = "flip, shift, rotate, zoom, colour, cut out"
    yield name, timed(hlml(strong), 4), timed(theirs, 1)


def contenders() -> dict[str, Contender]:
    """Names end in ": hlml" and ": torchvision, one by one"; what comes before is the same."""
    found = {}
    for name, ours, theirs in pairs():
        found |= {f"{name}: hlml": ours, f"{name}: torchvision, one by one": theirs}
    return found
