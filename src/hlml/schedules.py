"""Learning-rate schedules: pure functions of (update, total updates) that return a factor of lr.

The factor is computed anew at every update, so a schedule has no position of its own to save.
`Plateau` alone has a state: it listens to the validations.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any


class Schedule(ABC):
    """What multiplies the learning rate at an update (counted from 0) of `total` updates."""

    @abstractmethod
    def __call__(self, update: int, total: int) -> float: ...

    def observe(self, metric: float) -> None:  # noqa: B027 (a hook: only Plateau listens)
        """Hear a validation's watched metric, signed so that lower is better."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take up the state a checkpoint kept."""


class Constant(Schedule):
    def __call__(self, update: int, total: int) -> float:
        return 1.0


class Step(Schedule):
    """Multiplied by `factor` after every `every` updates."""

    def __init__(self, every: int, factor: float = 0.1) -> None:
        self.every, self.factor = every, factor

    def __call__(self, update: int, total: int) -> float:
        return self.factor ** (update // self.every)


class Exponential(Schedule):
    """Multiplied by `factor` after each update."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, update: int, total: int) -> float:
        return self.factor**update


class Linear(Schedule):
    """A straight line from 1 to `end` at the last update."""

    def __init__(self, end: float = 0.0) -> None:
        self.end = end

    def __call__(self, update: int, total: int) -> float:
        return 1 + (self.end - 1) * min(1.0, update / total)


class Cosine(Schedule):
    """Half a cosine from 1 to `end` (Loshchilov & Hutter 2017, without restarts)."""

    def __init__(self, end: float = 0.0) -> None:
        self.end = end

    def __call__(self, update: int, total: int) -> float:
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * min(1.0, update / total)))


class WarmupCosine(Schedule):
    """A straight line up over `warmup` updates, then half a cosine down to `end` (HW4)."""

    def __init__(self, warmup: int, end: float = 0.0) -> None:
        self.warmup, self.cosine = warmup, Cosine(end)

    def __call__(self, update: int, total: int) -> float:
        if update < self.warmup:
            return (update + 1) / self.warmup
        return self.cosine(update - self.warmup, max(1, total - self.warmup))


class Noam(Schedule):
    """width^-0.5 min(n^-0.5, n warmup^-1.5) at the n-th update (Vaswani et al. 2017, 5.3)."""

    def __init__(self, width: int, warmup: int = 4000) -> None:
        self.width, self.warmup = width, warmup

    def __call__(self, update: int, total: int) -> float:
        count = update + 1
        return float(self.width**-0.5 * min(count**-0.5, count * self.warmup**-1.5))


class Plateau(Schedule):
    """Multiplied by `factor` when `patience` validations in a row brought nothing better.

    Better is lower by more than the share `threshold` of the best value's size.
    """

    def __init__(self, factor: float = 0.1, patience: int = 10, threshold: float = 1e-4) -> None:
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.current, self.best, self.stale = 1.0, math.inf, 0

    def __call__(self, update: int, total: int) -> float:
        return self.current

    def observe(self, metric: float) -> None:
        if math.isinf(self.best) or metric < self.best - self.threshold * abs(self.best):
            self.best, self.stale = metric, 0
            return
        self.stale += 1
        if self.stale > self.patience:
            self.current, self.stale = self.current * self.factor, 0

    def state_dict(self) -> dict[str, Any]:
        return {"current": self.current, "best": self.best, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.current, self.best, self.stale = state["current"], state["best"], state["stale"]
