"""What a model returned, checked: a student's first mistake is named with its file and line."""

from __future__ import annotations

import inspect
import os

from torch import Tensor, nn

from hlml.errors import UserError


def checked(model: nn.Module, scores: object, shape: tuple[int, ...], hint: str = "") -> Tensor:
    """`scores`, if they are a tensor of this shape (rows first); `hint` ends the error's line.

    Left alone, another shape would often broadcast, and the model learn little but the mean.
    """
    if isinstance(scores, Tensor) and scores.shape == shape:
        return scores
    forward = type(model).forward
    found = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
    raise UserError(
        f"{os.path.relpath(inspect.getfile(forward))}, line {inspect.getsourcelines(forward)[1]}: "
        f"{type(model).__name__}.forward returned {found} for {shape[0]} rows, "
        f"and should return a tensor of shape {shape}{hint}"
    )
