"""Pictures of a generator: what it draws, what lies between two draws, and what it copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlml.figures import style
from hlml.figures.mosaic import mosaic
from hlml.figures.style import GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 960  # pixels a grid is enlarged towards
COPY = 0.3  # of the usual distance: nearer than that, one looks for the difference in vain


def grid(pictures: Tensor, columns: int) -> NDArray[np.uint8]:
    """(N, C, S, S) uint8 -> (H, W, 3), enlarged by a whole factor: every pixel stays a square."""
    factor = max(1, WIDTH // (columns * pictures.shape[-1]))
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    return mosaic(large, columns, gap=2)


def walk(noise: Tensor, steps: int) -> Tensor:
    """(R + 1, L) -> (R * steps, L): from each noise to the next, both ends included.

    On the arc between them (White 2016, "Sampling Generative Networks"): the middle of a straight
    line would be nearer to 0 than any noise a generator has met.
    """
    start, end = noise[:-1, None], noise[1:, None]
    share = torch.linspace(0, 1, steps, device=noise.device)[:, None]
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-0.9999, 0.9999)
    angle = torch.arccos(cosine)[..., None]
    path = torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end
    return (path / torch.sin(angle)).flatten(0, 1)


def neighbours(fakes: Tensor, nearest: Tensor, distances: Tensor, usual: float) -> Figure:
    """Each fake (N, C, S, S) beside its nearest training pictures (N, K, C, S, S).

    `distances` (N, K) are told as multiples of `usual`, how far a training picture is from the
    nearest other one: a generator that has learnt to draw keeps about that distance.
    """
    number, count = distances.shape
    blocks = 2 if number > 4 else 1  # side by side: a page is wider than it is high
    rows = -(-number // blocks)
    figure = style.figure(1.15 * blocks * (count + 1.4), 1.25 * rows + 0.9)
    figure.suptitle(
        "Fakes, each beside its nearest training pictures\n",
        x=0.01,
        ha="left",
        color=INK,
        fontsize=12,
        fontweight="bold",
    )
    figure.text(
        0.012,
        1 - 0.42 / figure.get_figheight(),
        f"1.0 ×: as far as a training picture is from the nearest other; below {COPY} ×: a copy",
        color=INK,
        fontsize=9,
    )
    widths = ([1.0] * (count + 1) + [0.25]) * blocks
    space = figure.add_gridspec(rows, len(widths), width_ratios=widths)
    for place in range(number):
        row, first = place % rows, place // rows * (count + 2)
        _picture(figure.add_subplot(space[row, first]), fakes[place], "fake", ORANGE)
        for k in range(count):
            times = float(distances[place, k]) / usual
            axes = figure.add_subplot(space[row, first + 1 + k])
            _picture(axes, nearest[place, k], f"{times:.1f} ×{' a copy' * (times < COPY)}", GREY)
    return figure


def real_beside_fake(real: Tensor, fakes: Tensor, columns: int = 8) -> Figure:
    """As many of each, on two panels."""
    figure = style.figure(9.6, 5.3 * -(-len(real) // columns) / columns + 0.3)
    panels = [("Training pictures", real, GREY), ("Fakes", fakes, ORANGE)]
    for place, (title, pictures, colour) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 2, place)
        axes.imshow(grid(pictures, columns))
        axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold")
        _frame(axes, colour)
    return figure


def _picture(axes: Axes, picture: Tensor, label: str, colour: str) -> None:
    axes.imshow(mosaic(picture[None], 1), interpolation="nearest")
    axes.set_xlabel(label, color=INK, fontsize=8, labelpad=2)
    _frame(axes, colour)


def _frame(axes: Axes, colour: str) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=colour, linewidth=1.5)
