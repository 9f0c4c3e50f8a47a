"""Where a network of ReLUs bends: along a line it is piecewise linear (lectures 1 and 2).

Between two kinks the same ReLUs are on, so a kink is where the pattern of those that are on
changes. The patterns are read while the model runs, whatever its depth and whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

RELUS = {"relu", "relu_", "leaky_relu", "leaky_relu_"}  # as F.relu, torch.relu or Tensor.relu


@dataclass(frozen=True)
class Curve:
    """A model's output as one input moves and the others stay at their means."""

    input: int
    x: Tensor  # (P,) the input's values
    y: Tensor  # (P,) the model's outputs
    kinks: Tensor  # (K,) the input's values where the curve bends


class _Patterns(TorchFunctionMode):
    """Remembers which units of each ReLU that runs are on."""

    def __init__(self) -> None:
        super().__init__()
        self.on: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") in RELUS:
            self.on.append(args[0] > 0)
        return func(*args, **(kwargs or {}))


def curve(model: nn.Module, x: Tensor, points: int = 4001) -> Curve | None:
    """Along the input that moves the output most, over its range in x (N, inputs).

    None where no ReLU ran. Call it in eval mode and without gradients.
    """
    column = _most_important(model, x)
    line = _line(x, column, points)
    with _Patterns() as patterns:
        y = model(line)
    if not patterns.on:
        return None
    on = torch.cat([pattern.reshape(points, -1) for pattern in patterns.on], 1)
    changed = (on[1:] != on[:-1]).any(1)
    moving = line[:, column]
    return Curve(column, moving, y, ((moving[1:] + moving[:-1]) / 2)[changed])


def _most_important(model: nn.Module, x: Tensor) -> int:
    reach = []
    for column in range(x.shape[1]):
        low, high = model(_line(x, column, 65)).aminmax()
        reach.append(float(high - low))
    return reach.index(max(reach))


def _line(x: Tensor, column: int, points: int) -> Tensor:
    """(points, inputs): every input at its mean over x, one going from its least to its largest."""
    line = x.mean(0).repeat(points, 1)
    low, high = x[:, column].aminmax()
    line[:, column] = torch.linspace(
        float(low), float(high), points, dtype=x.dtype, device=x.device
    )
    return line
