"""What a homework says about itself. The trainer knows nothing else about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

    from hlml.data import DataModule
    from hlml.logbook import Logbook

Batch = Any  # what Rows.batch returns: a tuple of tensors, for most homeworks


class Progress(NamedTuple):
    """Where the run stands: enough for any schedule a task keeps for itself."""

    step: int
    total_steps: int

    @property
    def fraction(self) -> float:
        return self.step / self.total_steps


class Task(nn.Module, ABC):
    """A model, its losses and its metrics."""

    @property
    @abstractmethod
    def directions(self) -> dict[str, str]:
        """Every metric and which way is better ("min", "max"); the first is watched by default.

        A class attribute does, unless the data set decides what is measured.
        """

    logged: ClassVar[tuple[str, ...]] = ()
    """What `report` adds to the log book's scalars: columns of metrics.csv, like the metrics."""

    def parts(self) -> dict[str, nn.Module]:
        """What is optimised, by phase. Two entries make it a game (WGAN: critic and generator)."""
        return {"main": self}

    def averaged(self) -> nn.Module:
        """Whose weights `trainer.ema` averages; a GAN's samples come from an averaged generator."""
        return self

    def items(self, batch: Batch) -> int:
        """How many things (rows, real frames, target tokens) this batch's losses are means over."""
        return len(batch[0])

    @abstractmethod
    def training_step(self, batch: Batch, phase: str, progress: Progress) -> Tensor:
        """The phase's loss: a mean over `items(batch)`."""

    @abstractmethod
    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        """Statistics that add up over batches and processes."""

    @abstractmethod
    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """The added-up statistics as the numbers we report: every name of `directions`."""

    @abstractmethod
    def predict_step(self, batch: Batch) -> list[Any]:
        """One answer per row, in the submission's terms."""

    def after_update(self, phase: str) -> None:
        """Called when `phase`'s weights have changed (WGAN clips here)."""

    def answers_name(self, data: DataModule) -> str:
        """The file that is handed in: the data set's, unless the answers are of another kind."""
        return data.answers_name

    def write_answers(self, answers: list[Any], data: DataModule, path: Path) -> None:
        """Write the answers for the test split as that file."""
        data.write_answers(answers, path)

    def about(self) -> dict[str, Any]:
        """What else belongs in summary.json, beside the metrics: how they were measured."""
        return {}

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """Pictures and sentences for the log book: after each validation, and once at the end."""
