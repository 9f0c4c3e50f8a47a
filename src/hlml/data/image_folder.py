"""Pictures of one's own: a folder of class folders, or of pictures without classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import torch

from hlml.data.archive import Files, open_files, shown
from hlml.data.class_folders import find_folder, split_by_class, wrappers
from hlml.data.decode import SUFFIXES
from hlml.data.images import UNKNOWN, Images, View
from hlml.data.picture_source import cache_folder, read_pictures, sorted_classes, warn_of_copies
from hlml.errors import UserError

# folders of these names are somebody's splits; taken for classes they would score near 1
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


class ImageFolder(Images):
    """`folder` (or an archive), as it is or in `root`: its class folders, each with its pictures.

    `valid` and `test` are the shares of each class that are held out, chosen by `split_seed`.
    A folder without class folders has no labels: all of its pictures are for a GAN, and the held
    out ones to compare with. `size` null: what most pictures measure, at most 128. `fit`: the
    middle square of each, or all of it squashed into one. `channels` 1 makes them grey.
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
        folder: str = "pictures",
        size: int | None = None,
        fit: Literal["crop", "squash"] = "crop",
        channels: Literal[1, 3] = 3,
        valid: float = 0.1,
        test: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        home = Path(root).expanduser()
        files = open_files(
            find_folder(home, folder, "folder of class folders with pictures"), SUFFIXES
        )
        self.file_names, folders = _sorted_out(files)
        self.class_names = sorted_classes(set(folders) - {""})
        source, good = read_pictures(
            files, self.file_names, cache_folder(home), size, fit, channels=channels
        )
        numbers = {name: number for number, name in enumerate(self.class_names)} | {"": UNKNOWN}
        labels = torch.tensor([numbers[folder] for folder in folders])
        rows = good.nonzero().flatten()
        parts = split_by_class(labels[rows], valid, test, split_seed, "pictures")
        trained, validated, tested = (rows[part] for part in parts)
        pairs = [(part, labels[part]) for part in (trained, validated, tested)]
        self.fill(source, pairs[0], None, pairs[1], pairs[2])
        warn_of_copies(
            files,
            [self.file_names[row] for row in trained],
            [self.file_names[row] for row in torch.cat([validated, tested])],
        )


def _sorted_out(files: Files) -> tuple[list[str], list[str]]:
    """The names of the pictures, and the class folder of each ("": they lie in none)."""
    paths = [member.name.split("/") for member in files.members]
    if not paths:
        raise UserError(
            f"{files.path}: there are no pictures in it (files that end in "
            f"{', '.join(sorted(SUFFIXES))}): name another folder with data.folder=PATH"
        )
    shared = wrappers(paths, below=1)
    folders = [path[shared] if len(path) > shared + 1 else "" for path in paths]
    counts = Counter(folders)
    if len(counts) > 1 and "" in counts:
        raise UserError(
            f"{files.path}: {counts['']:,} pictures lie beside the class folders "
            f"{', '.join(shown(name) for name in sorted(counts) if name)[:80]}: move them into "
            "one, or away"
        )
    if {name.lower() for name in counts} <= SPLITS:
        raise UserError(
            f"{files.path}: {', '.join(sorted(counts))} are splits, not classes: name one of them "
            "(hlml splits it itself), or make it a food-11 folder for data=food11"
        )
    return ["/".join(path) for path in paths], folders
