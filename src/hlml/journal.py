"""What the loop has to tell between two logs: losses, gradient norms, speed; and the best."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hlml import distributed
from hlml.errors import UserError, did_you_mean
from hlml.logbook import Scalars
from hlml.phase import Phase
from hlml.task import Task


def watch(metric: str | None, task: Task) -> Best:
    """What tells better from worse; an unknown name is refused now, not after the first epoch."""
    metric = metric or next(iter(task.directions))
    if metric not in task.directions:
        known = did_you_mean(metric, task.directions)
        raise UserError(f"trainer.monitor: no metric {metric!r}; {known}")
    return Best(metric, task.directions[metric])


@dataclass
class Best:
    """The best value of the watched metric, and how many validations ago it was seen."""

    metric: str
    direction: str
    value: float | None = None
    step: int = 0
    stale: int = 0

    def __str__(self) -> str:
        return (
            f"{self.metric} was best ({self.value:.5g}) at step {self.step}, "
            f"and {self.stale} validations brought nothing better"
        )

    def signed(self, value: float) -> float:
        """The value, turned so that lower is better."""
        return value if self.direction == "min" else -value

    def update(self, value: float, step: int) -> bool:
        """Take a validation's value; what is not a number is never the best."""
        better = math.isfinite(value) and (
            self.value is None or self.signed(value) < self.signed(self.value)
        )
        if better:
            self.value, self.step = value, step
        self.stale = 0 if better else self.stale + 1
        return better


class Journal:
    """Keeps what updates report, as tensors (reading makes a GPU wait), until a log is due."""

    def __init__(self, phases: dict[str, Phase], device: torch.device) -> None:
        self.phases, self.device = phases, device
        self.losses: dict[str, list[Tensor | float]] = {name: [] for name in phases}
        self.norms: dict[str, Tensor] = {}
        self.train_loss, self._since = math.nan, (0, 0.0)

    def start(self, step: int) -> None:
        self._since = (step, time.perf_counter())

    def wants_norm(self, phase: str) -> bool:
        """Whether the gradients' norm is still to be taken for the next log: once is enough."""
        return phase not in self.norms or not self.losses[phase]

    def note(self, phase: str, loss: Tensor | float) -> None:
        self.losses[phase].append(loss)

    def take(self, step: int) -> Scalars:
        """The mean losses since the last call; the norm is that of the first update since."""
        values: Scalars = {}
        for name, phase in self.phases.items():
            if self.losses[name]:
                loss = torch.stack([torch.as_tensor(loss) for loss in self.losses[name]]).mean()
                values[train_name(name, "loss")] = distributed.total(loss).item()
                values[train_name(name, "lr")] = phase.current_lr
                values[train_name(name, "grad_norm")] = self.norms[name].item()
                self.losses[name] = []
        self.train_loss = values.get(train_name(next(iter(self.phases)), "loss"), self.train_loss)
        before, self._since = self._since, (step, time.perf_counter())
        seconds = self._since[1] - before[1]
        return {**values, "train/steps_per_second": (step - before[0]) / seconds}

    def shown_loss(self) -> str:
        """The latest mean loss, for a line on the terminal; nothing before the first log."""
        return "" if math.isnan(self.train_loss) else f"  train loss {self.train_loss:.4g}"

    def state_dict(self) -> dict[str, Any]:
        return {
            "losses": {n: [float(loss) for loss in losses] for n, losses in self.losses.items()},
            "norms": {name: norm.item() for name, norm in self.norms.items()},
            "train_loss": self.train_loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = self.device
        self.losses = {
            n: list(torch.tensor(losses, device=device)) for n, losses in state["losses"].items()
        }
        self.norms = {n: torch.tensor(norm, device=device) for n, norm in state["norms"].items()}
        self.train_loss = state["train_loss"]


def columns(phases: dict[str, Phase], task: Task) -> list[str]:
    """The names of all scalars a run logs."""
    train = [train_name(n, q) for n in phases for q in ("loss", "lr", "grad_norm")]
    valid = [f"valid/{name}" for name in task.directions]
    return [*train, "train/steps_per_second", *valid, *task.logged]


def train_name(phase: str, quantity: str) -> str:
    """train/loss for the one phase of a supervised task, train/critic/loss in a game."""
    return f"train/{quantity}" if phase == "main" else f"train/{phase}/{quantity}"


class ProgressBar:
    """A bar on a terminal; in a pipe or a log file, one line a validation."""

    def __init__(self, total: int, start: int, quiet: bool = False) -> None:
        self.quiet, self.metric = quiet, ""
        self.bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
            self.bar = tqdm(total=total, initial=start, bar_format=form, leave=False)

    def say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line)  # above the bar
        elif not self.quiet:
            try:
                print(line, flush=True)
            except BrokenPipeError:  # `make hw1 | head -1`: nobody reads on, but training goes on
                self.quiet = True

    def step(self, step: int, loss: float) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {loss:.4g}{self.metric}", refresh=False)
            self.bar.update(step - self.bar.n)

    def validation(self, line: str, metric: str) -> None:
        self.metric = f", {metric}"
        if self.bar is None:
            self.say(line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
