"""Where a loss or a gradient stopped being a number: found once, after the fact, and named."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hlml.data import DataModule
from hlml.errors import UserError
from hlml.task import Batch, Progress, Task


class NonFiniteError(UserError):
    """A loss or gradient is nan or infinite; the weights are still those before this step."""


def explain(
    what: str,
    task: Task,
    phase: str,
    window: list[Batch],
    plans: list[list[Tensor]],
    position: Progress,
) -> str:
    """Name the step, the phase, the rows, and where `what` (loss or gradient) went wrong first.

    `plans` are the row numbers of the step before and of this one.
    """
    before, rows = plans
    if weight := first_bad_weight(task):
        if position.step == 0:
            return f"{weight} is not finite before the first step: look at how it is initialised"
        return explain_weight(weight, position.step - 1, before)
    where = f"step {position.step}, phase {phase}"
    numbers = [n for batch, part in zip(window, rows, strict=False) for n in bad_rows(batch, part)]
    if numbers:
        return (
            f"{where}: the data is not finite in row(s) {_some(numbers)} of the training split; "
            "mend or drop them"
        )
    read = f"rows {_some(torch.cat(rows).tolist())}"
    for batch in window if what == "loss" else []:
        forward = functools.partial(task.training_step, batch, phase, position)
        module = first_bad_module(task, forward)
        if module:
            return (
                f"{where}: the loss is not finite; the first output that is not: {module}; "
                f"{read}; try a smaller optimizer.lr or phases.{phase}.clip_norm=1"
            )
    place = "the loss itself" if what == "loss" else f"the gradient of {first_bad_gradient(task)}"
    return (
        f"{where}: {place} is not finite; {read}; "
        f"try a smaller optimizer.lr or phases.{phase}.clip_norm=1"
    )


def look_back(
    losses: dict[str, list[Tensor | float]], step: int, data: DataModule, accumulate: int
) -> None:
    """On a GPU losses are read at logs only: find the first that was not a number, and stop."""
    for phase, values in losses.items():
        if not values or math.isfinite(float(values[-1])):
            continue  # weights that are not finite stay so, and so do their losses
        bad = [n for n, loss in enumerate(values) if not math.isfinite(float(loss))]
        at = max(0, step - len(values) + bad[0])
        rows = _some(torch.cat(data.rows_of(at, accumulate)).tolist())
        raise NonFiniteError(
            f"step {at}, phase {phase}: the loss is not finite; rows {rows}; try a smaller "
            f"optimizer.lr or phases.{phase}.clip_norm=1; trainer.device=cpu names the module"
        )


def explain_weight(weight: str, step: int, rows: list[Tensor]) -> str:
    """For a gradient that went wrong in an update whose loss was still a number."""
    return (
        f"step {step}: the gradient of {weight} was not finite, though the loss was, and the "
        f"weight is not any more; rows {_some(torch.cat(rows).tolist())}; "
        "try a smaller optimizer.lr or clip_norm=1 in the phase"
    )


def _some(numbers: list[int], most: int = 8) -> str:
    shown = ", ".join(str(n) for n in numbers[:most])
    return shown if len(numbers) <= most else f"{shown}, ... ({len(numbers)} in all)"


def tensors(thing: Any) -> list[Tensor]:
    """Every tensor of a nested batch or output."""
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, dict):
        thing = list(thing.values())
    if isinstance(thing, list | tuple):
        return [tensor for part in thing for tensor in tensors(part)]
    return []


def bad(thing: Any) -> bool:
    return any(t.is_floating_point() and not bool(t.isfinite().all()) for t in tensors(thing))


def bad_rows(batch: Any, rows: Tensor) -> list[int]:
    """The row numbers of a batch that hold a nan or an infinity themselves."""
    found = torch.zeros(len(rows), dtype=torch.bool)
    for tensor in tensors(batch):
        if tensor.is_floating_point() and tensor.dim() and len(tensor) == len(rows):
            found |= ~tensor.isfinite().reshape(len(rows), -1).all(1).cpu()
    numbers: list[int] = rows[found].tolist()
    return numbers


def first_bad_module(module: nn.Module, forward: Callable[[], Any]) -> str:
    """The first module, in order of execution, whose output is not finite."""
    names: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not names and bad(output):
                names.append(f"{name} ({type(layer).__name__})")

        return hook

    hooks = [m.register_forward_hook(look(name)) for name, m in module.named_modules() if name]
    try:
        with torch.no_grad():
            forward()
    finally:
        for hook in hooks:
            hook.remove()
    return names[0] if names else ""


def first_bad_weight(module: nn.Module) -> str:
    """The weight nearest the loss that is not finite."""
    for name, weight in reversed(list(module.named_parameters())):
        if bad(weight.detach()):
            return name
    return ""


def first_bad_gradient(module: nn.Module) -> str:
    """The weight nearest the loss whose gradient is not finite: backward runs from the end."""
    for name, weight in reversed(list(module.named_parameters())):
        if weight.grad is not None and bad(weight.grad):
            return name
    return ""
