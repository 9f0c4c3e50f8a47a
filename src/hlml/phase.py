"""One optimizer and everything that goes with it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.optim import Optimizer

from hlml.schedules import Constant, Schedule

OPTIMIZER_METHODS = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")


def undecorated(optimizer: type[Optimizer]) -> type[Optimizer]:
    """The same optimizer, minus the decorators of its methods; the arithmetic is untouched.

    They import torch._dynamo at the first call (as long as importing torch itself, and of use to
    torch.compile alone), and tell the profiler of each step (a tenth of a small model's step).
    The methods below them are what functools.wraps recorded.
    """
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in OPTIMIZER_METHODS}
    step = torch.no_grad()(methods["step"])  # what one of the decorators was for
    step.hooked = True  # else Optimizer.__init__ wraps it for the profiler again
    return type(optimizer.__name__, (optimizer,), {**methods, "step": step})


def total_norm(gradients: list[Tensor]) -> Tensor:
    """The norm of all gradients together.

    torch's own function sorts them by device and kind first, which pays on a GPU; on a CPU that
    takes longer than the norms of a small model.
    """
    if not gradients or gradients[0].device.type != "cpu":
        return torch.as_tensor(torch.nn.utils.get_total_norm(gradients))
    norm: Tensor = vector_norm(torch.stack([vector_norm(g) for g in gradients]))
    return norm


def weights_of_others(parts: dict[str, nn.Module], name: str) -> list[nn.Parameter]:
    """The weights that learn in other phases only."""
    own = {id(weight) for weight in parts[name].parameters()}
    others = [weight for part in parts.values() for weight in part.parameters()]
    return [weight for weight in others if weight.requires_grad and id(weight) not in own]


@contextmanager
def frozen(weights: list[nn.Parameter]) -> Iterator[None]:
    """Gradients pass through these weights and are not taken for them.

    A generator learns through its critic: half of that backward pass would be thrown away.
    """
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


class Phase:
    """Updates one part of a task: scales, clips, steps, schedules, and can be saved.

    Args: `optimizer` a partial of a torch.optim class; `schedule` the factor of its learning
    rate; `every` how many steps lie between two updates (n_critic); `clip_norm` the largest
    gradient norm; `lr` a learning rate of this phase's own.
    """

    def __init__(
        self,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule | None = None,
        every: int = 1,
        clip_norm: float | None = None,
        lr: float | None = None,
    ) -> None:
        self.optimizer_partial, self.schedule = optimizer, schedule or Constant()
        self.every, self.clip_norm, self.lr = every, clip_norm, lr
        self.updates = 0

    def bind(self, part: nn.Module, total_steps: int, scaler: torch.amp.GradScaler | None) -> None:
        """Take hold of the weights, once they are on their device."""
        self.params = [p for p in part.parameters() if p.requires_grad]
        self.optimizer = self._make_optimizer(self.params)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.total_updates = max(1, math.ceil(total_steps / self.every))
        self.scaler = scaler

    @property
    def needs_norm(self) -> bool:
        """Whether every update must know its gradients' norm: to clip, or to see an overflow."""
        return self.clip_norm is not None or self.scaler is not None

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those already there (fp16: multiplied by the loss scale)."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def unscale(self) -> Tensor:
        """Undo the loss scale; return the gradients' norm, before any clipping."""
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        return total_norm([p.grad for p in self.params if p.grad is not None])

    def update(self, norm: Tensor) -> bool:
        """Clip, then spend the gradients. False: fp16 overflowed, and the update was skipped."""
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.params, self.clip_norm, norm)
        factor = self.schedule(self.updates, self.total_updates)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        if self.scaler is None:
            self.optimizer.step()
        elif not self._scaled_update():
            return False
        self.updates += 1
        return True

    def _scaled_update(self) -> bool:
        assert self.scaler is not None
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # a skipped update must not move the schedule: the two would drift apart
        return 0 < scale <= self.scaler.get_scale()

    @property
    def current_lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _make_optimizer(self, params: Iterable[Tensor]) -> Optimizer:
        partial = self.optimizer_partial
        kind, options = getattr(partial, "func", partial), dict(getattr(partial, "keywords", {}))
        if self.lr is not None:
            options["lr"] = self.lr
        if isinstance(kind, type) and kind.__module__.startswith("torch.optim"):
            kind = undecorated(kind)
            other = options.get("foreach") or options.get("differentiable")
            if "fused" in inspect.signature(kind).parameters and not other:
                options.setdefault("fused", True)  # one kernel an update instead of a dozen
        optimizer: Optimizer = kind(params, **options)
        return optimizer

    def state_dict(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
