"""Texts: what a model sees of them, where it looks while it writes, and how well by length.

S and T pieces of source and target.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hlml.figures import style
from hlml.figures.style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

USUAL = "DejaVu Sans"  # matplotlib's own: no Chinese in it
PALE = "#e9ebee"


class Pieces(NamedTuple):
    """What a sequence is made of, and each one's number in the vocabulary."""

    names: Sequence[str]
    numbers: Sequence[int]


def alignment(looks: Tensor, source: Pieces, target: Pieces, title: str) -> Figure:
    """looks (T, S): how much of each source piece, from left to right, went into each piece that
    was written, from top to bottom."""
    family = font_for("".join([*source.names, *target.names]))
    read, written = labels(source, family), labels(target, family)
    if [*read, *written] != [*source.names, *target.names]:
        title += "\n(#: numbers, for want of a font)"
    height, width = looks.shape
    canvas = style.figure(min(14, 3.4 + 0.34 * width), min(14, 2.6 + 0.3 * height))
    place = style.axes(canvas.add_subplot(), title, "read", "written")
    image = place.imshow(looks.float().cpu().numpy(), vmin=0, vmax=1, cmap="Blues", aspect="auto")
    options: Any = {"fontfamily": [family or USUAL]}
    tilted = 90 if max(map(len, read)) > 3 else 0
    place.set_xticks(range(width), read, rotation=tilted, **options)
    place.set_yticks(range(height), written, **options)
    place.grid(visible=False)
    bar = canvas.colorbar(image, ax=place, shrink=0.8, pad=0.02)
    bar.set_label("share of the look", color=INK)
    bar.outline.set_visible(False)
    return canvas


def by_length(lengths: Sequence[str], values: Sequence[float], counts: Sequence[int], name: str,
              overall: float) -> Figure:  # fmt: skip
    """A bar for each group of sources about as long as each other: what it scored, and its size."""
    canvas = style.figure(8, 4.2)
    title = f"{name} by length of the source; the line is all together, {overall:.2f}"
    place = style.axes(canvas.add_subplot(), title, "tokens of the source", name)
    ticks = range(len(values))
    bars = place.bar(ticks, values, color=BLUE, width=0.75)
    place.bar_label(bars, [f"{count:,}" for count in counts], color=GREY, fontsize=8, padding=2)
    place.axhline(overall, color=ORANGE, lw=1.5)
    place.set_xticks(ticks, lengths)
    place.grid(visible=False, axis="x")
    place.set_ylim(0, max(1e-9, overall, *values) * 1.12)
    place.text(1, 1.01, "above each bar: pairs", transform=place.transAxes, ha="right", color=GREY)
    return canvas


def padding(source: Tensor, target: Tensor) -> Figure:
    """A batch as the model is given it, a pair a row: source (B, S) and target (B, T) bool, where
    there is a token and no padding."""
    both = {"source": source, "target": target}
    tokens = sum(int(real.sum()) for real in both.values())
    share = 1 - tokens / sum(real.numel() for real in both.values())
    canvas = style.figure(9, 4.4)
    ratios = [real.shape[1] for real in both.values()]
    grid = canvas.subplots(1, 2, sharey=True, width_ratios=ratios)
    for place, (name, real) in zip(grid, both.items(), strict=True):
        blue = torch.tensor([int(BLUE[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        pale = torch.tensor([int(PALE[n : n + 2], 16) for n in (1, 3, 5)]) / 255
        pixels = torch.where(real.cpu()[:, :, None], blue, pale)
        place.imshow(pixels.numpy(), aspect="auto", interpolation="nearest")
        style.axes(place, "", f"{name}: {int(real.sum()):,} tokens", "").grid(visible=False)
    grid[0].set_ylabel("pair", color=INK)
    title = f"What the model really sees: the {len(source):,} pairs of the first batch"
    title = f"{title}, {share:.1%} of it padding (grey)"
    canvas.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    return canvas


def labels(pieces: Pieces, family: str | None) -> list[str]:
    """Their names, as far as the font has them; else their numbers."""
    known = _characters(family or USUAL)
    return [
        name if known.issuperset(map(ord, name)) else f"#{number}"
        for name, number in zip(pieces.names, pieces.numbers, strict=True)
    ]


def font_for(text: str) -> str | None:
    """The name of an installed font that has every character of `text`, the usual one first."""
    wanted = set(map(ord, text))
    for family in (USUAL, *sorted(_installed())):
        if wanted <= _characters(family):
            return family
    return None


def _installed() -> dict[str, str]:
    """Each font's file; but not matplotlib's last resort, which has a box for every character."""
    from matplotlib.font_manager import fontManager

    entries = sorted(fontManager.ttflist, key=lambda entry: entry.fname, reverse=True)
    upright = [entry for entry in entries if entry.style == "normal"]
    return {entry.name: entry.fname for entry in upright if "Last Resort" not in entry.name}


@functools.cache
def _characters(family: str) -> frozenset[int]:
    """The characters of an installed font, or none if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(_installed()[family]).get_charmap())
    except (KeyError, OSError, RuntimeError):
        return frozenset()
