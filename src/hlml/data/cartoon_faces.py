"""Cartoon faces, drawn when they are first asked for: what a small GAN learns in minutes.

DiceBear puts a face together from an artist's parts (hair, eyes, mouth), resvg makes pixels of it.
Every face has a number and is a function of it, so nothing needs to be downloaded or kept: the
cache only saves the seconds that drawing takes. We leave out the parts that are a few pixels of
noise at this size (freckles, earrings) or that hide the eyes, and choose skin on which the lines
can be seen.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from hlml.data.images import Images, View
from hlml.errors import UserError

PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")
VERSION = 1  # of the choices below: other choices are other pictures, under another key
TEST, VALID = 1000, 500
COLOURS = {
    **{"black": "#1f1612", "brown": "#6a3d22", "copper": "#b5622b", "blond": "#e3b04f"},
    **{"straw": "#f5e3ae", "red": "#a82c1e", "grey": "#b9bcc2", "blue": "#3c6fb5"},
    **{"pink": "#d0639b", "green": "#4d9a63"},
}
SKIN = ["#fbe3cf", "#f3c9a3", "#dfa276", "#b97a50", "#96603c"]
BACKGROUND = ["#bfe3f2", "#f5d7a8", "#d8c7ee", "#c9e7c0", "#f6c6c9", "#e9e4da"]


@dataclass(frozen=True)
class Style:
    """Which of an artist's parts we draw with: ten kinds of hair by name, and what else varies."""

    hair: dict[str, str]
    options: dict[str, Any]


def _variants(prefix: str, numbers: list[int]) -> list[str]:
    return [f"{prefix}{number:02}" for number in numbers]


STYLES = {
    "adventurer": Style(
        hair={
            **{"straight": "long07", "wavy": "long24", "wild": "long22", "buns": "long23"},
            **{"pigtails": "long15", "ponytail": "long19", "bob": "long21", "short": "short01"},
            **{"curls": "short03", "spikes": "short16"},
        },
        options={
            "eyesVariant": _variants("variant", [1, 2, 3, 9, 10, 24, 25, 26]),
            "eyebrowsVariant": _variants("variant", [3, 4, 7, 8, 9, 10, 11, 13, 14, 15]),
            "mouthVariant": _variants("variant", [1, 5, 7, 14, 15, 23, 25, 26, 30]),
            "glassesProbability": 0,
            "detailsProbability": 0,
            "earringsProbability": 0,
            "scale": 1.15,
        },
    ),
    "lorelei": Style(
        hair={
            **{"cropped": "variant01", "tousled": "variant04", "curls": "variant05"},
            **{"bob": "variant13", "straight": "variant15", "bowl": "variant19"},
            **{"afro": "variant24", "mohawk": "variant27", "wavy": "variant33", "bun": "variant36"},
        },
        options={
            "eyesVariant": _variants("variant", [2, 4, 6, 9, 14, 16, 20, 21, 24]),
            "beardProbability": 0,
            "earringsProbability": 0,
            "frecklesProbability": 0,
            "hairAccessoriesProbability": 0,
            "scale": 1.25,
        },
    ),
}


class CartoonFaces(Images):
    """`number` faces of `size` x `size`; `style` names the artist's set of parts (adventurer: CC BY
    4.0, lorelei: CC0); `labels` say the kind of hair or its colour, ten of either, equally often.
    The first 1,000 are the test, the next 500 the validation split.
    """

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        augment: View | None = None,
        strong_view: View | None = None,
        unlabelled_ratio: int = 0,
        root: str = "data",
        size: Literal[32, 64] = 32,
        number: int = 5000,
        style: Literal["adventurer", "lorelei"] = "adventurer",
        labels: Literal["hair", "colour"] = "hair",
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        if number <= TEST + VALID:
            raise UserError(
                f"data.number: {number} faces leave none to train on; {TEST} are for the test and "
                f"{VALID} for validation, so ask for more than {TEST + VALID}"
            )
        kind = torch.arange(number)  # hair and colour in turn: every hundred faces has each pair
        kind = kind % 10 if labels == "hair" else kind // 10 % 10
        self.class_names = list(STYLES[style].hair if labels == "hair" else COLOURS)
        test, valid, train = torch.arange(number).split([TEST, VALID, number - TEST - VALID])
        source = faces(Path(root), style, size, number)
        parts = [(rows, kind[rows]) for rows in (train, valid, test)]
        self.fill(source, parts[0], None, parts[1], parts[2])


def faces(root: Path, style: str, size: int, number: int) -> Tensor:
    """The first `number` faces (number, 3, size, size) uint8: from the cache, or drawn into it."""
    folder = root.expanduser() / "cache"
    path = folder / f"cartoon_faces_{_key(style, size)}_{number}.npy"
    shape = (number, 3, size, size)
    found = _cached(path, shape)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # one process draws, others that start beside it wait and then read
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _cached(path, shape)
            if found is None:
                found = draw(style, size, range(number))
                _keep(path, found)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): the faces are kept there; choose "
            "another folder with data.root=FOLDER"
        ) from error
    return found


def draw(style: str, size: int, numbers: range) -> Tensor:
    """The faces of those numbers, (N, 3, size, size) uint8."""
    try:
        from dicebear import Avatar
        from dicebear import Style as Parts
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise _missing(error.name or "one of them") from error
    text = resources.files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8")
    definition = json.loads(text)
    print(f"drawing {len(numbers):,} faces, once. {definition['meta']['license']['text']}")
    parts = Parts(definition)
    pictures = torch.empty(len(numbers), 3, size, size, dtype=torch.uint8)
    for place, number in enumerate(tqdm(numbers, "faces", disable=None, leave=False)):
        svg = Avatar(parts, _options(style, size, number)).to_string()
        pictures[place] = _pixels(bytes(svg_to_bytes(svg_string=svg)))
    return pictures


def _options(style: str, size: int, number: int) -> dict[str, Any]:
    """A face's hair and its colour follow from the number, the rest DiceBear draws by its seed."""
    hair = list(STYLES[style].hair.values())[number % 10]
    colour = list(COLOURS.values())[number // 10 % 10]
    return {
        "seed": str(number),
        "size": size,
        "hairVariant": hair,
        "hairColor": colour,
        "skinColor": SKIN,
        "backgroundColor": BACKGROUND,
        **STYLES[style].options,
    }


def _pixels(png: bytes) -> Tensor:
    """(3, S, S) uint8; what the drawing leaves transparent is white."""
    with Image.open(io.BytesIO(png)) as picture:
        drawn = picture.convert("RGBA")
    page = Image.new("RGBA", drawn.size, "white")
    page.alpha_composite(drawn)
    return torch.from_numpy(np.array(page.convert("RGB"))).permute(2, 0, 1)


def _key(style: str, size: int) -> str:
    """Other choices or another version of what draws may be other pixels: another file."""
    try:
        versions = [metadata.version(package) for package in PACKAGES]
    except metadata.PackageNotFoundError as error:
        raise _missing(str(error.name)) from error
    choices = [VERSION, STYLES[style].hair, COLOURS, _options(style, size, 0), versions]
    digest = hashlib.sha256(json.dumps(choices).encode()).hexdigest()
    return f"{style}_{size}_{digest[:10]}"


def _missing(package: str) -> UserError:
    return UserError(
        f"data=cartoon_faces: draws with {', '.join(PACKAGES)}, and {package} is not installed: "
        "pip install 'hlml[pictures]'"
    )


def _cached(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The pictures of a cache file; None where there is none, or not what was asked for."""
    try:
        pictures = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = pictures.shape == shape and pictures.dtype == np.uint8
    return torch.from_numpy(pictures) if fits else None


def _keep(path: Path, pictures: Tensor) -> None:
    """Written beside and renamed: whoever finds the file finds all of it."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, pictures.numpy(), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
