"""Pictures for the log book. Each function returns a matplotlib Figure and touches no global state.

matplotlib is imported on use: it takes half a second that a run without pictures need not wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from hlml.data.table import Table
    from hlml.models.kinks import Curve

# blue for what the model says, orange for what it is held against: told apart by most eyes
BLUE, ORANGE, GREY, INK = "#2a6fbb", "#e07b26", "#8a8f98", "#30343b"
LABELS = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "loss": "loss"}


def predicted_and_true(predicted: list[float], true: list[float], name: str) -> Figure:
    """Each row a point: on the diagonal where the prediction is right."""
    figure = _figure(5.6, 5.4)
    axes = _axes(
        figure.add_subplot(), "Predicted against true", f"true {name}", f"predicted {name}"
    )
    low, high = min(*predicted, *true), max(*predicted, *true)
    margin = 0.03 * (high - low or 1)
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color=ORANGE, lw=1.5, label="predicted = true")
    axes.scatter(true, predicted, s=14, color=BLUE, alpha=0.45, lw=0, label="validation rows")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    _legend(axes, loc="upper left")
    return figure


def residuals(times: Sequence[date] | Sequence[int], errors: list[float], name: str) -> Figure:
    """Predicted less true over time: a pattern here is something the model has not learnt."""
    figure = _figure(8.4, 4.2)
    unit = "date" if isinstance(times[0], date) else "day within the state"
    axes = _axes(figure.add_subplot(), "Residuals over time", unit, f"predicted − true {name}")
    rmse = math.sqrt(sum(error**2 for error in errors) / len(errors))
    axes.axhspan(-rmse, rmse, color=BLUE, alpha=0.1, lw=0, label=f"± RMSE ({rmse:.4g})")
    axes.axhline(0, color=ORANGE, lw=1.5)
    axes.scatter(times, errors, s=14, color=BLUE, alpha=0.55, lw=0, label="validation rows")  # type: ignore[arg-type]
    for row in sorted(range(len(errors)), key=lambda row: -abs(errors[row]))[:4]:
        if isinstance(when := times[row], date):  # the worst days have a story: name them
            axes.annotate(
                f"{when:%a} {when.day} {when:%b}",
                (when, errors[row]),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
    _legend(axes, loc="upper left", ncols=2)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
    return figure


def function(curve: Curve, x: Tensor, true: list[float], data: Table) -> Figure:
    """The curve of `hlml.models.kinks` in the data's units, over the validation rows x."""
    import numpy as np

    scale, origin = float(data.input_std[curve.input]), float(data.input_mean[curve.input])
    name = data.input_names[curve.input]
    figure = _figure(7.6, 4.8)
    axes = _axes(
        figure.add_subplot(),
        f"The learnt function along “{name}”",
        f"{data.target_name}, {name}" if "before" in name else name,
        data.target_name,
    )
    rows = (x[:, curve.input].double() * scale + origin).tolist()
    axes.scatter(rows, true, s=10, color=GREY, alpha=0.3, lw=0, label="validation rows")
    line_x = (curve.x.double() * scale + origin).cpu().numpy()
    line_y = (curve.y.double() * data.target_std + data.target_mean).cpu().numpy()
    axes.plot(line_x, line_y, color=BLUE, lw=2.2, label="the model, other inputs at their means")
    kinks = (curve.kinks.double() * scale + origin).cpu().numpy()
    if len(kinks):
        _mark_kinks(axes, kinks, np.interp(kinks, line_x, line_y))
    _legend(axes)
    return figure


def _mark_kinks(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    label = f"{len(x)} kink{'s' * (len(x) > 1)}: a ReLU turns on or off"
    if len(x) > 25:  # as circles, they would hide the curve
        axes.scatter(x, y, s=60, color=ORANGE, marker="|", lw=1.2, zorder=3, label=label)
    else:
        axes.scatter(x, y, s=30, color="white", ec=ORANGE, lw=1.5, zorder=3, label=label)


def learning_curves(rows: list[dict[str, float]], metric: str, best: str = "min") -> Figure:
    """Losses, and below them the watched metric, over the steps of metrics.csv's `rows`."""
    figure = _figure(8.4, 6.2)
    name = LABELS.get(metric, metric)
    losses = _axes(figure.add_subplot(2, 1, 1), "Learning curves", "", "loss")
    scores = _axes(figure.add_subplot(2, 1, 2, sharex=losses), "", "step", f"validation {name}")
    training, validation = _series(rows, "train/loss"), _series(rows, "valid/loss")
    losses.plot(*training, color=BLUE, lw=0.8, alpha=0.35)
    losses.plot(training[0], _smooth(training[1]), color=BLUE, lw=1.8, label="training")
    losses.plot(*validation, color=ORANGE, lw=1.8, label="validation")
    steps, values = _series(rows, f"valid/{metric}")
    scores.plot(steps, values, color=ORANGE, lw=1.8)
    if values:
        at = values.index(min(values) if best == "min" else max(values))
        label = f"best: {values[at]:.4g} at step {steps[at]:.0f}"
        scores.scatter(steps[at], values[at], s=44, color="white", ec=INK, zorder=3, label=label)
        _legend(scores)
    _zoom(losses, training[1] + validation[1])
    _zoom(scores, values)
    _legend(losses)
    losses.tick_params(labelbottom=False)
    return figure


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


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def _axes(axes: Axes, title: str, x_label: str, y_label: str) -> Axes:
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


def _legend(axes: Axes, loc: Literal["best", "upper left"] = "best", ncols: int = 1) -> None:
    axes.legend(loc=loc, ncols=ncols, fontsize=9, labelcolor=INK, edgecolor="none", framealpha=0.85)
