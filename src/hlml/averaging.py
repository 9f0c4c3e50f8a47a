"""Averages of weights: a moving one over updates, and the plain one over the last validations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


def weights_of(module: nn.Module) -> Weights:
    """The weights, which can be averaged. Buffers cannot: counters, statistics, masks."""
    return {name: weight.detach() for name, weight in module.named_parameters()}


class MovingAverage:
    """average <- decay average + (1 - decay) weights, after every step (Polyak & Juditsky 1992).

    The decay grows to its full value, min(decay, (1 + n) / (10 + n)), so that a short run's
    average is not dominated by the untrained weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.live = weights_of(module)  # views: they change as the weights do
        self.average = {name: tensor.clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), 1 - decay)

    def state_dict(self) -> dict[str, object]:
        return {"count": self.count, "average": self.average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.count = int(str(state["count"]))
        average = state["average"]
        assert isinstance(average, dict)
        for name, tensor in self.average.items():
            tensor.copy_(average[name])


@contextmanager
def using(module: nn.Module, weights: Weights | None) -> Iterator[None]:
    """Run the body with other weights in `module` (None: its own), and put its own back."""
    if weights is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in weights_of(module).items()}
    load(module, weights)
    try:
        yield
    finally:
        load(module, own)


@torch.no_grad()
def load(module: nn.Module, weights: Weights) -> None:
    for name, tensor in weights_of(module).items():
        tensor.copy_(weights[name])


def mean(snapshots: deque[Weights]) -> Weights:
    """The plain average of several sets of weights."""
    return {
        name: torch.stack([weights[name].double() for weights in snapshots]).mean(0).to(first.dtype)
        for name, first in snapshots[0].items()
    }
