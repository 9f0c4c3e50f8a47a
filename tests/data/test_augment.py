"""Augmentation, against numpy, scipy and torchvision; and that neighbours do not matter."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from scipy import ndimage, stats
from torch import Tensor

from hlml import signature
from hlml.build import build
from hlml.config import RANGES
from hlml.data import randomness
from hlml.data.augment import (
    Augment,
    Border,
    Stream,
    TorchvisionTransforms,
    by_gather,
    by_slices,
)
from hlml.errors import UserError

CONFIGS = sorted((Path(__file__).parents[2] / "configs/augment").glob("*.yaml"))
BORDERS = get_args(Border)
COLOURS = {"brightness": 0.4, "contrast": 0.5, "saturation": 0.6}
EVERYTHING = Augment(3, "reflect", True, 20.0, 0.2, 0.3, **COLOURS, cutout=0.4)


def photos(count: int, size: int, channels: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(count * size)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=draw)


def keys(count: int, epoch: int = 0) -> Tensor:
    return randomness.keys(0, epoch, torch.arange(count))


# --- flips and shifts


def padded(picture: Tensor, x: int, y: int, flipped: bool, border: str) -> Tensor:
    """Flip, pad by as much as the shift, crop."""
    size, width = picture.shape[-1], max(abs(x), abs(y))
    seen = np.flip(picture.numpy(), 2) if flipped else picture.numpy()
    mode = {"reflect": "reflect", "zero": "constant"}[border]
    wide = np.pad(seen, [(0, 0), (width, width), (width, width)], mode=mode)
    return torch.tensor(wide[:, width + y : width + y + size, width + x : width + x + size])


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    ("size", "most", "ways"),
    [(6, 4, [by_slices, by_gather]), (3, 1, [by_slices, by_gather]), (4, 9, [by_gather])],
)
def test_every_flip_and_shift_is_pad_and_crop(
    size: int, most: int, ways: list[Callable[..., Tensor]], border: Border
) -> None:
    steps = range(-most, most + 1)
    cases = list(itertools.product(steps, steps, [False, True]))
    x, y, flipped = (torch.tensor(column) for column in zip(*cases, strict=True))
    pictures = photos(len(cases), size)
    expected = [padded(one, *case, border) for one, case in zip(pictures, cases, strict=True)]
    for way in ways:
        found = way(pictures, x, y, flipped, border)
        assert found.dtype == torch.uint8
        assert torch.equal(found, torch.stack(expected)), way.__name__


@pytest.mark.parametrize("border", BORDERS)
def test_a_shift_may_be_wider_than_the_picture(border: Border) -> None:
    assert Augment(shift=30, border=border)(photos(50, 4), keys(50)).shape == (50, 3, 4, 4)
    one_pixel = photos(50, 1)
    moved = Augment(shift=3, flip=True, border=border)(one_pixel, keys(50))
    assert bool(((moved == one_pixel) | (moved == 0)).all())
    if border == "reflect":
        assert torch.equal(moved, one_pixel)


def test_shifts_and_flips_are_all_alike() -> None:
    count, most = 9_000, 2
    ramp = torch.arange(9, dtype=torch.uint8)
    pictures = torch.stack([ramp.expand(9, 9), ramp[:, None].expand(9, 9)]).expand(count, 2, 9, 9)
    moved = Augment(shift=most, flip=True)(pictures, keys(count))
    flipped = moved[:, 0, 4, 5] < moved[:, 0, 4, 4]
    right = torch.where(flipped, 4 - moved[:, 0, 4, 4].long(), moved[:, 0, 4, 4].long() - 4)
    down = moved[:, 1, 4, 4].long() - 4
    cells = ((down + most) * 5 + right + most) * 2 + flipped
    counts = torch.bincount(cells, minlength=50)
    assert len(counts) == 50
    assert stats.chisquare(counts).pvalue > 0.001


# --- rotation, zoom, shear


def warped(picture: Tensor, drawn: list[float], options: Augment) -> Tensor:
    """The same with scipy, from matrices as a textbook writes them: (x, y) seen from the centre."""
    either = [2 * number - 1 for number in drawn]
    angle = np.radians(options.rotation) * either[Stream.ROTATION]
    zoom, shear = 1 + options.zoom * either[Stream.ZOOM], options.shear * either[Stream.SHEAR]
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotate @ np.array([[1, shear], [0, 1]]) * zoom
    ways = 2 * options.shift + 1
    offset = [int(drawn[one] * ways) - options.shift for one in (Stream.SHIFT_X, Stream.SHIFT_Y)]
    mirror = np.diag([-1 if drawn[Stream.FLIP] < 0.5 else 1, 1])
    # scipy counts (row, column) from the corner
    swap, centre = np.array([[0, 1], [1, 0]]), (picture.shape[-1] - 1) / 2
    matrix = swap @ mirror @ np.linalg.inv(forward) @ swap
    start = swap @ mirror @ np.array(offset) + centre - matrix @ np.full(2, centre)
    mode = {"reflect": "mirror", "zero": "grid-constant"}[options.border]
    planes = [
        ndimage.affine_transform(plane.double().numpy(), matrix, start, order=1, mode=mode)
        for plane in picture
    ]
    return torch.tensor(np.stack(planes))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(
    "amounts", [(30.0, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.4), (180.0, 0.3, 0.4)]
)
def test_warps_are_those_of_scipy(amounts: tuple[float, float, float], border: Border) -> None:
    augment = Augment(3, border, True, *amounts)
    pictures = photos(12, 11)
    found = augment(pictures, keys(12))
    assert found.dtype == torch.float32
    drawn = randomness.uniform(keys(12), len(Stream)).tolist()
    for picture, numbers, one in zip(pictures, drawn, found, strict=True):
        torch.testing.assert_close(
            one.double(), warped(picture, numbers, augment), atol=0.02, rtol=0
        )


@pytest.mark.parametrize("border", BORDERS)
def test_a_warp_by_nothing_is_flip_and_shift(border: Border) -> None:
    moved = Augment(4, border, True)(photos(40, 13), keys(40))
    warped = Augment(4, border, True, zoom=1e-9)(photos(40, 13), keys(40))
    torch.testing.assert_close(warped, moved.float(), atol=0.02, rtol=0)


# --- colours and holes


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_torchvision(channels: int) -> None:
    from torchvision.transforms.v2 import functional

    # near grey, so that torchvision, which clips after each, clips nothing
    pictures = 110 + photos(20, 6, channels) % 32
    found = Augment(**COLOURS)(pictures, keys(20))
    factors = 2 * randomness.uniform(keys(20), len(Stream)) - 1
    for picture, drawn, one in zip(pictures, factors.tolist(), found, strict=True):
        expected = picture / 255
        for name, width in COLOURS.items():
            if name != "saturation" or channels == 3:
                adjust = getattr(functional, f"adjust_{name}")
                expected = adjust(expected, 1 + width * drawn[Stream[name.upper()]])
        torch.testing.assert_close(one, expected * 255, atol=0.1, rtol=0)


def test_colours_stay_in_range() -> None:
    changed = Augment(brightness=3.0, contrast=3.0, saturation=3.0)(photos(50, 6), keys(50))
    assert changed.min() == 0
    assert changed.max() == 255


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_hole_is_a_square_of_the_mean_colour(share: float) -> None:
    pictures = photos(400, 12)
    changed = Augment(cutout=share)(pictures, keys(400))
    means = pictures.double().mean((2, 3), keepdim=True)
    holes = (changed - means).abs().amax(1) < 1e-3
    assert torch.equal(
        changed.where(~holes[:, None], 0), pictures.float().where(~holes[:, None], 0)
    )
    side = round(share * 12)
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :])  # rectangles
    for lines in (rows, columns):
        lengths = lines.sum(1)
        whole = lines.diff(dim=1).sum(1) <= 2  # in one piece
        assert bool(whole.all())
        assert lengths.max() == min(side, 12)
        assert lengths.min() == side - side // 2  # the centre is always in the picture


# --- one picture, one key


@pytest.mark.parametrize("border", BORDERS)
def test_moves_are_the_same_in_any_batch(border: Border) -> None:
    augment = Augment(3, border, True)
    pictures, names = photos(30, 8), keys(30)
    alone = [augment(pictures[n : n + 1], names[n : n + 1]) for n in range(30)]
    assert torch.equal(torch.cat(alone), augment(pictures, names))
    backwards = augment(pictures.flip(0), names.flip(0)).flip(0)
    assert torch.equal(torch.cat(alone), backwards)


def test_everything_is_the_same_in_any_batch_up_to_rounding() -> None:
    pictures, names = photos(50, 64), keys(50)  # 50: more than one chunk
    together = EVERYTHING(pictures, names)
    alone = [EVERYTHING(pictures[n : n + 1], names[n : n + 1]) for n in range(50)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=0)
    assert torch.equal(together, EVERYTHING(pictures, names))


def test_epochs_differ() -> None:
    pictures = photos(30, 8)
    first, second = (EVERYTHING(pictures, keys(30, epoch)) for epoch in (0, 1))
    assert (first - second).abs().mean((1, 2, 3)).min() > 1


def test_an_option_changes_no_number_of_another() -> None:
    pictures, names = photos(40, 16), keys(40)
    moved = Augment(3, flip=True)(pictures, names)
    light = Augment(brightness=0.3)(torch.full_like(pictures, 100), names) / 100
    both = Augment(3, flip=True, brightness=0.3, cutout=0.3)(pictures, names)
    expected = (moved * light).clamp(max=255)
    same = (both - expected).abs().amax(1) < 1e-3
    assert same.flatten(1).float().mean(1).min() >= 1 - (5 / 16) ** 2  # all but the hole


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(3, flip=True), Augment(**COLOURS)])
def test_the_pictures_given_stay_as_they_were(augment: Augment) -> None:
    for pictures in (photos(5, 8), photos(5, 8).float()):
        before = pictures.clone()
        augment(pictures, keys(5))
        assert torch.equal(pictures, before)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_are_what_their_names_say(path: Path) -> None:
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    augment = build(options)
    assert isinstance(augment, Augment)
    assert all(value in RANGES[name] for name, value in options.items() if name in RANGES)
    pictures, names = photos(9, 32), keys(9)
    changed = augment(pictures, names)
    assert (changed is pictures) == (path.stem == "none")
    assert changed.dtype == (torch.uint8 if path.stem in ("none", "light") else torch.float32)
    if path.stem.startswith("digits"):
        assert not augment.flip  # no digit reads the same in a mirror


# --- torchvision's transforms


def v2(name: str, **options: Any) -> Any:
    return build({"_target_": f"torchvision.transforms.v2.{name}", **options})


def test_torchvision_transforms_depend_on_the_key_alone() -> None:
    crop, flip = v2("RandomCrop", size=8, padding=3), v2("RandomHorizontalFlip")
    augment = TorchvisionTransforms([crop, flip])
    pictures, names = photos(20, 8), keys(20)
    state = torch.random.get_rng_state()
    changed = augment(pictures, names)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert changed.dtype == torch.uint8
    torch.rand(5)
    assert torch.equal(augment(pictures.flip(0), names.flip(0)).flip(0), changed)
    for picture, key, one in zip(pictures, names.tolist(), changed, strict=True):
        torch.manual_seed(key)
        assert torch.equal(flip(crop(picture)), one)


def test_torchvisions_floats_come_back_as_0_to_255() -> None:
    augment = TorchvisionTransforms([v2("ConvertImageDtype")])
    torch.testing.assert_close(augment(photos(3, 8), keys(3)), photos(3, 8).float())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("RandomCrop", {"size": 4}, r"makes? \[3, 4, 4\] of a picture \[3, 8, 8\]"),
        ("ToPILImage", {}, "make Image of a picture"),
        ("RandomErasing", {"value": [1, 2, 3, 4], "p": 1.0}, "RandomErasing: "),
        # a text is not run
        ("Lambda", {"lambd": "__import__('sys').exit(1)"}, "Lambda: 'str' object"),
    ],
)
def test_a_transform_that_does_not_fit_is_one_line(
    name: str, options: dict[str, Any], message: str
) -> None:
    augment = TorchvisionTransforms([v2(name, **options)])
    with pytest.raises(UserError, match=message) as caught:
        augment(photos(2, 8), keys(2))
    assert "\n" not in str(caught.value)


def test_of_torchvision_only_classes_of_transforms_can_be_reached() -> None:
    from torchvision.transforms import v2 as package

    reached = []
    for name in dir(package):
        try:
            signature.find(f"torchvision.transforms.v2.{name}")
        except UserError:
            continue
        reached.append(getattr(package, name))
    assert package.RandomAffine in reached
    assert all(isinstance(one, type) for one in reached)
    assert {one.__module__.partition(".v2")[0] for one in reached} <= {
        "torchvision.transforms",
        "torchvision.transforms.autoaugment",
        "torchvision.transforms.functional",
    }
