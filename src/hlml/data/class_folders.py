"""What folders of class folders have in common, whether they hold pictures or recordings."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from hlml.data.images import stratified
from hlml.errors import UserError


def find_folder(root: Path, folder: str, what: str) -> Path:
    """`folder`, as it is or in `root`. UserError: neither is there; `what` it should be."""
    places = list(dict.fromkeys([Path(folder).expanduser(), root / folder]))
    found = [place for place in places if place.exists()]
    if not found:
        raise UserError(
            f"data.folder={folder}: there is no {' and no '.join(map(str, places))}: name a "
            f"{what}, or a zip or tar of it"
        )
    return found[0]


def wrappers(paths: list[list[str]], below: int) -> int:
    """How many folders wrap everything, when each file must keep its last `below` names."""
    shared = 0
    while all(len(path) > shared + below and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    return shared


def split_by_class(
    labels: Tensor, valid: float, test: float, seed: int, things: str
) -> list[Tensor]:
    """Row numbers to train, validate and test on, each class in its share."""
    counts = [round(len(labels) * share) for share in (valid, test)]
    train = len(labels) - sum(counts)
    if min(valid, test) <= 0 or min(train, *counts) < 1:
        raise UserError(
            f"data.valid={valid:g} and data.test={test:g} of {len(labels):,} {things} leave "
            f"{max(0, train):,} to train on, {counts[0]:,} to validate on and {counts[1]:,} to "
            "test on: each must have some"
        )
    validated, tested, trained = stratified(labels, [*counts, train], seed)
    return [trained, validated, tested]
