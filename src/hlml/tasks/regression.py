"""Regression: one number for each row, scored in the target's own units.

The loss is taken on standardised targets, so that learning rates and penalties mean the same for
births and for percentages. A penalty guides training only: validation reports what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.module import DataModule
from hlml.data.table import Table
from hlml.figures import regression as figures
from hlml.models import kinks
from hlml.task import Batch, Progress, Task
from hlml.tasks.outputs import checked

if TYPE_CHECKING:
    from hlml.logbook import Logbook

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}


class Regression(Task):
    """`delta`: errors beyond it (in standard deviations of the target) count by size, not by
    square. `l1` and `l2` weigh the sums of absolute and of squared weights (biases go free: they
    move a curve and do not make it steeper)."""

    directions: ClassVar[dict[str, str]] = {"rmse": "min", "mae": "min", "r2": "max", "loss": "min"}
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: Table,
        loss: Literal["mse", "mae", "huber"] = "mse",
        delta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss, self.l1, self.l2 = LOSSES[loss], l1, l2
        if loss == "huber":
            self.loss = partial(F.huber_loss, delta=delta)
        # buffers: a checkpoint answers in the units it was trained in
        self.register_buffer("mean", torch.tensor(data.target_mean, dtype=torch.float64))
        self.register_buffer("std", torch.tensor(data.target_std, dtype=torch.float64))

    def training_step(self, batch: Batch, phase: str, progress: Progress) -> Tensor:
        x, y = batch
        loss = self.loss(self._scores(x), y)
        if self.l1 or self.l2:
            loss = loss + self._penalty()
        return loss

    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        """Sums over the rows, in float64: exact for batches of any size."""
        x, y = batch
        scores, y = self._scores(x).double(), y.double()
        error = scores - y
        return {
            "rows": torch.tensor(len(y), dtype=torch.float64, device=y.device),
            "loss": self.loss(scores, y, reduction="sum"),
            "squared": error.square().sum(),
            "absolute": error.abs().sum(),
            "target": y.sum(),
            "target_squared": y.square().sum(),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """rmse and mae in the target's units; r2; loss as in training, without its penalty."""
        sums = {name: float(total) for name, total in totals.items()}
        rows, std = sums["rows"], float(self.std)
        spread = sums["target_squared"] - sums["target"] ** 2 / rows
        return {
            "rmse": math.sqrt(sums["squared"] / rows) * std,
            "mae": sums["absolute"] / rows * std,
            "r2": 1 - sums["squared"] / spread if spread > 0 else math.nan,
            "loss": sums["loss"] / rows,
        }

    def predict_step(self, batch: Batch) -> list[float]:
        answers: list[float] = (self._scores(batch[0]).double() * self.std + self.mean).tolist()
        return answers

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """Three figures of the validation split, once training is over."""
        if not final or not isinstance(data, Table):
            return
        predicted, true, inputs = [], [], []
        for x, y in data.evaluation("valid"):
            inputs.append(x)
            predicted += self.predict_step((x,))
            true += (y.double() * self.std + self.mean).tolist()
        x = torch.cat(inputs)
        name = data.target_name
        book.figure("predicted_and_true", figures.predicted_and_true(predicted, true, name))
        residuals = [answer - truth for answer, truth in zip(predicted, true, strict=True)]
        book.figure("residuals", figures.residuals(data.times("valid"), residuals, name))
        curve = kinks.curve(self.model, x)
        if curve is not None:
            book.figure("function", figures.function(curve, x, true, data))

    def _scores(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B,) standardised; a model of another shape is told where it went wrong"""
        scores = self.model(x)
        column = isinstance(scores, Tensor) and scores.shape == (len(x), 1)
        return checked(self.model, scores, (len(x),), ": end it with .squeeze(1)" if column else "")

    def _penalty(self) -> Tensor:
        weights = [weight for weight in self.model.parameters() if weight.ndim > 1]
        penalty = torch.zeros((), device=self.mean.device)
        if self.l1:
            penalty = penalty + self.l1 * torch.stack([w.abs().sum() for w in weights]).sum()
        if self.l2:
            penalty = penalty + self.l2 * torch.stack([w.square().sum() for w in weights]).sum()
        return penalty
