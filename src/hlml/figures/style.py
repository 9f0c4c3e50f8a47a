"""The house style of every picture: sizes, axes, colours, legends.

matplotlib is imported on use: it takes half a second that a run without pictures need not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# blue for what the model says, orange for what it is held against: told apart by most eyes
BLUE, ORANGE, GREY, INK = "#2a6fbb", "#e07b26", "#8a8f98", "#30343b"


def figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def axes(axes: Axes, title: str, x_label: str, y_label: str) -> Axes:
    """Axes in the house style: two spines, a faint grid, dark grey ink."""
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GREY, alpha=0.18, lw=0.8)
    axes.set_axisbelow(True)
    return axes


def legend(axes: Axes, loc: Literal["best", "upper left"] = "best", ncols: int = 1) -> None:
    axes.legend(loc=loc, ncols=ncols, fontsize=9, labelcolor=INK, edgecolor="none", framealpha=0.85)
