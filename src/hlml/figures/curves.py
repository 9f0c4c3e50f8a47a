"""Learning curves, of any task."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hlml.figures import style
from hlml.figures.style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "frechet": "Fréchet distance"}


def learning_curves(rows: list[dict[str, float]], metric: str, best: str = "min") -> Figure:
    """Losses, and below them the watched metric, over the steps of metrics.csv's `rows`."""
    figure = style.figure(8.4, 6.2)
    name = LABELS.get(metric, metric)
    losses = style.axes(figure.add_subplot(2, 1, 1), "Learning curves", "", "loss")
    scores = style.axes(
        figure.add_subplot(2, 1, 2, sharex=losses), "", "step", f"validation {name}"
    )
    shown: list[float] = []
    for (key, label), colour in zip(_loss_keys(rows), (BLUE, GREY), strict=False):
        steps, values = _series(rows, key)
        losses.plot(steps, values, color=colour, lw=0.8, alpha=0.35)
        losses.plot(steps, _smooth(values), color=colour, lw=1.8, label=label)
        shown += values
    steps, values = _series(rows, "valid/loss")
    if values:
        losses.plot(steps, values, color=ORANGE, lw=1.8, label="validation")
    _zoom(losses, shown + values)
    steps, values = _series(rows, f"valid/{metric}")
    scores.plot(steps, values, color=ORANGE, lw=1.8)
    if values:
        at = values.index(min(values) if best == "min" else max(values))
        label = f"best: {values[at]:.4g} at step {steps[at]:.0f}"
        scores.scatter(steps[at], values[at], s=44, color="white", ec=INK, zorder=3, label=label)
        style.legend(scores)
    _zoom(scores, values)
    if shown:
        style.legend(losses)
    losses.tick_params(labelbottom=False)
    return figure


def _loss_keys(rows: list[dict[str, float]]) -> list[tuple[str, str]]:
    """The training losses among the columns, and what each is called: a game has two."""
    keys = dict.fromkeys(key for row in rows for key in row if key.endswith("/loss"))
    names = {key: key.split("/")[1:-1] for key in keys if key.startswith("train/")}
    return [(key, name[0] if name else "training") for key, name in names.items()]


def _series(rows: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have a finite value of `key`."""
    have = [(row["step"], row[key]) for row in rows if math.isfinite(row.get(key, math.nan))]
    return [step for step, _ in have], [value for _, value in have]


def _smooth(values: list[float]) -> list[float]:
    """Each value averaged with its neighbours, a fiftieth of the curve to either side."""
    reach = len(values) // 50
    near = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(some) / len(some) for some in near]


def _zoom(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis where the curves fall far: the start would flatten all the rest."""
    if values and min(values) > 0 and max(values) > 8 * min(values):
        axes.set_yscale("log")
