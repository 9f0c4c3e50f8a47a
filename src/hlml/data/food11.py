"""food-11, the course's photos of dishes: few with labels, many without.

In the folder or archive: training/labeled/CC, training/unlabeled/00, validation/CC and testing/00,
where CC is a class (00 to 10 in the course's own) and 00 stands for nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Literal

import torch

from hlml.data.archive import Files, open_files, shown
from hlml.data.decode import SUFFIXES
from hlml.data.images import UNKNOWN, Images, View
from hlml.data.module import Split
from hlml.data.picture_source import cache_folder, read_pictures, sorted_classes, warn_of_copies
from hlml.errors import UserError

LABELED, UNLABELED = "training/labeled", "training/unlabeled"
VALID, TEST = "validation", "testing"
PARTS = (TEST, LABELED, UNLABELED, VALID)
LABELS = (LABELED, VALID)
NAMES = ("food-11", "food-11.zip", "food-11.tar", "food-11.tar.gz", "food-11.tgz")
DISHES = [
    *("bread", "dairy product", "dessert", "egg", "fried food", "meat", "noodles/pasta"),
    *("rice", "seafood", "soup", "vegetable/fruit"),
]
SOURCE = (
    "it is the data of the course's Kaggle contest ml2021spring-hw3 "
    "(also linked from HW03 of github.com/ga642381/ML2021-Spring)"
)


class Food11(Images):
    """The course's pictures in `root`: a folder food-11 or food-11.zip there, or `root` itself.

    Any number of classes. `size` null: what most pictures measure, at most 128. `fit`: the middle
    square of each, or all of it squashed into one. Answers are in the order of testing's names.
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
        size: int | None = None,
        fit: Literal["crop", "squash"] = "crop",
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        home = Path(root).expanduser()
        files = open_files(_find(home), SUFFIXES)
        parts = _parts(files)
        folders = _classes(files, parts)
        self.class_names = DISHES if len(folders) == len(DISHES) else folders
        self.file_names = [name for part in PARTS for name, _ in parts[part]]
        source, good = read_pictures(
            files, self.file_names, cache_folder(home), size, fit, kept=range(len(parts[TEST]))
        )
        pairs, first = {}, 0
        for part in PARTS:
            rows = torch.arange(first, first + len(parts[part]))
            known = {folder: label for label, folder in enumerate(folders)}
            labels = [known[folder] if part in LABELS else UNKNOWN for _, folder in parts[part]]
            kept = good[rows]
            pairs[part] = rows[kept], torch.tensor(labels)[kept]
            first += len(rows)
            if not kept.any():
                raise UserError(f"{files.path}: no picture of {part} can be read: fetch it again")
        self.fill(source, pairs[LABELED], pairs[UNLABELED], pairs[VALID], pairs[TEST])
        trained, held_out = (LABELED, UNLABELED), (VALID, TEST)
        warn_of_copies(
            files,
            [name for part in trained for name, _ in parts[part]],
            [name for part in held_out for name, _ in parts[part]],
        )

    def has_labels(self, split: Split) -> bool:
        return split != "test"


def _find(root: Path) -> Path:
    """The folder or archive: root itself, or one of the usual names in it."""
    if root.is_file() or (root / "training").is_dir():
        return root
    found = [root / name for name in NAMES if (root / name).exists()]
    if not found:
        raise UserError(
            f"{NAMES[0]}/ or {NAMES[1]} not found in {root}/: {SOURCE}; put it there, or say where "
            "it is with data.root=FOLDER"
        )
    return found[0]


def _parts(files: Files) -> dict[str, list[tuple[str, str]]]:
    """The files of each part, by name, each with the folder it lies in below that part."""
    # an archive may wrap everything in a folder, and unpacking it in another
    labelled = [member.name for member in files.members if f"{LABELED}/" in member.name]
    prefix = min((name.partition(f"{LABELED}/")[0] for name in labelled), key=len, default="")
    parts: dict[str, list[tuple[str, str]]] = {part: [] for part in PARTS}
    for member in files.members:
        path = member.name.removeprefix(prefix)
        part = next((part for part in PARTS if path.startswith(f"{part}/")), None)
        if part is not None:
            folder, slash, _ = path.removeprefix(f"{part}/").partition("/")
            parts[part].append((member.name, folder if slash else ""))
    missing = [f"{part}/" for part in PARTS if not parts[part]]
    if missing:
        raise UserError(
            f"{files.path}: there are no pictures in {' or '.join(missing)} ({_found(files)}): "
            f"{SOURCE}; fetch it again, or unpack all of it"
        )
    return parts


def _found(files: Files) -> str:
    """What is there instead, by folder."""
    folders = Counter(str(PurePosixPath(member.name).parent) for member in files.members)
    listed = [f"{shown(folder)}/ with {count:,}" for folder, count in sorted(folders.items())]
    more = ", ..." if len(listed) > 4 else ""
    return f"found: {', '.join(listed[:4])}{more}" if listed else "found no pictures at all"


def _classes(files: Files, parts: dict[str, list[tuple[str, str]]]) -> list[str]:
    """The class folders in the order of their labels: by number where all are numbers."""
    folders = {part: {folder for _, folder in parts[part]} for part in LABELS}
    for part, names in folders.items():
        if "" in names:
            raise UserError(f"{files.path}: pictures of {part}/ lie in no class folder: sort them")
    strange = sorted(folders[VALID] - folders[LABELED])
    if strange:
        raise UserError(
            f"{files.path}: {VALID}/ has classes that {LABELED}/ has no pictures of: "
            f"{', '.join(map(shown, strange[:5]))}: fetch it again, or unpack all of it"
        )
    return sorted_classes(folders[LABELED])
