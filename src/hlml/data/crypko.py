"""The course's anime faces: numbered jpg files without labels, for a GAN."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import torch

from hlml.data.archive import Member, open_files
from hlml.data.decode import SUFFIXES
from hlml.data.images import UNKNOWN, Images, View
from hlml.data.module import generator
from hlml.data.picture_source import cache_folder, read_pictures
from hlml.errors import UserError

NAMES = ("faces", "crypko_data.zip", "cripko_data.zip", "faces.zip", "crypko_data", "crypko")
MOST_HELD_OUT = 1000
SOURCE = (
    "it is the data of the course's hw6 (linked from HW06 of github.com/ga642381/ML2021-Spring)"
)


class Crypko(Images):
    """crypko_data.zip or its folder faces/ in `root`, or `root` itself; no labels, no classes.

    1,000 faces are held out to test and 1,000 to validate against, chosen by `split_seed`; of
    fewer than 10,000 a tenth to validate and a quarter (at most 1,000) to test. `has_labels` says
    that a split can be scored here, and a GAN is scored against pictures: true for every split.
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
        size: int = 64,
        fit: Literal["crop", "squash"] = "crop",
        split_seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, workers, augment, strong_view, unlabelled_ratio)
        self.class_names = []
        home = Path(root).expanduser()
        files = open_files(_find(home), SUFFIXES)
        self.file_names = [member.name for member in sorted(files.members, key=_by_number)]
        if len(self.file_names) < 10:
            raise UserError(f"{files.path}: it holds {len(self.file_names)} pictures: {SOURCE}")
        source, good = read_pictures(files, self.file_names, cache_folder(home), size, fit)
        rows = good.nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator(split_seed))]
        tested, validated = (min(MOST_HELD_OUT, len(rows) // part) for part in (4, 10))
        sizes = [len(rows) - tested - validated, validated, tested]
        train, valid, test = (part.sort().values for part in rows.split(sizes))
        pairs = [(part, torch.full_like(part, UNKNOWN)) for part in (train, valid, test)]
        self.fill(source, pairs[0], None, pairs[1], pairs[2])


def _find(root: Path) -> Path:
    """The folder or archive: one of the usual names in root, or root itself."""
    found = [root / name for name in NAMES if (root / name).exists()]
    if found:
        return found[0]
    if root.is_file() or any(root.glob("[0-9]*.jpg")):
        return root
    raise UserError(
        f"{NAMES[1]} or {NAMES[0]}/ not found in {root}/: {SOURCE}; put it there, or say where it "
        "is with data.root=FOLDER"
    )


def _by_number(member: Member) -> tuple[int, str]:
    """9.jpg comes before 10.jpg."""
    number = re.search(r"(\d{1,18})\.\w+$", member.name)
    return int(number[1]) if number else -1, member.name
