"""Pictures of a regression: what was predicted, where it errs, and the function that was learnt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from hlml.figures import style
from hlml.figures.style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from torch import Tensor

    from hlml.data.table import Table
    from hlml.models.kinks import Curve


def predicted_and_true(predicted: list[float], true: list[float], name: str) -> Figure:
    """Each row a point: on the diagonal where the prediction is right."""
    figure = style.figure(5.6, 5.4)
    axes = style.axes(
        figure.add_subplot(), "Predicted against true", f"true {name}", f"predicted {name}"
    )
    low, high = min(*predicted, *true), max(*predicted, *true)
    margin = 0.03 * (high - low or 1)
    ends = [low - margin, high + margin]
    axes.plot(ends, ends, color=ORANGE, lw=1.5, label="predicted = true")
    axes.scatter(true, predicted, s=14, color=BLUE, alpha=0.45, lw=0, label="validation rows")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    style.legend(axes, loc="upper left")
    return figure


def residuals(times: Sequence[date] | Sequence[int], errors: list[float], name: str) -> Figure:
    """Predicted less true over time: a pattern here is something the model has not learnt."""
    figure = style.figure(8.4, 4.2)
    unit = "date" if isinstance(times[0], date) else "day within the state"
    axes = style.axes(figure.add_subplot(), "Residuals over time", unit, f"predicted − true {name}")
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
    style.legend(axes, loc="upper left", ncols=2)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.12 * (high - low))  # room for the legend
    return figure


def function(curve: Curve, x: Tensor, true: list[float], data: Table) -> Figure:
    """The curve of `hlml.models.kinks` in the data's units, over the validation rows x."""
    import numpy as np

    scale, origin = float(data.input_std[curve.input]), float(data.input_mean[curve.input])
    name = data.input_names[curve.input]
    figure = style.figure(7.6, 4.8)
    axes = style.axes(
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
    style.legend(axes)
    return figure


def _mark_kinks(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    label = f"{len(x)} kink{'s' * (len(x) > 1)}: a ReLU turns on or off"
    if len(x) > 25:  # as circles, they would hide the curve
        axes.scatter(x, y, s=60, color=ORANGE, marker="|", lw=1.2, zorder=3, label=label)
    else:
        axes.scatter(x, y, s=30, color="white", ec=ORANGE, lw=1.5, zorder=3, label=label)
