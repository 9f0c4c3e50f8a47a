"""Several processes (torchrun) that compute what one would; with one, all of it does nothing.

PyTorch's DistributedDataParallel does the gradient sums; each phase gets a wrapper of its own.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hlml.task import Batch, Progress, Task

_rank, _world = 0, 1  # asked for at every step, and torch.distributed takes a microsecond to say


def start(device: torch.device) -> None:
    """Join the process group if torchrun launched us."""
    global _rank, _world
    if "RANK" in os.environ and _world == 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        _rank, _world = torch.distributed.get_rank(), torch.distributed.get_world_size()


def leave() -> None:
    """The training is over: the first process goes on alone, the others end here."""
    global _rank, _world
    if _world > 1:
        torch.distributed.barrier()
        if _rank:
            # not sys.exit: gloo's threads now and then abort a process that takes itself apart
            sys.stdout.flush()
            os._exit(0)
        torch.distributed.destroy_process_group()
    _rank, _world = 0, 1


def rank() -> int:
    return _rank


def world() -> int:
    return _world


def local_rank() -> int:
    """Which of this machine's devices is ours."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def total(value: Tensor) -> Tensor:
    """The sum of `value` over all processes."""
    if world() > 1:
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


def total_number(value: float, device: torch.device) -> float:
    """The sum of a number over all processes."""
    if world() == 1:
        return value
    return float(total(torch.tensor(value, dtype=torch.float64, device=device)))


def total_of(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sum over all processes of tensors by name; a process without a batch has none."""
    totals: dict[str, Tensor] = {}
    for part in gather(statistics):
        for name, value in part.items():
            totals[name] = totals[name] + value.to(totals[name].device) if name in totals else value
    return totals


def gather(thing: Any) -> list[Any]:
    """`thing` of every process, on every process."""
    if world() == 1:
        return [thing]
    things: list[Any] = [None] * world()
    torch.distributed.all_gather_object(things, thing)
    return things


def from_first(thing: Any) -> Any:
    """Process 0's `thing`, on every process."""
    return gather(thing)[0]


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the buffers of process 0: batch-norm statistics are each process's own."""
    if world() > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, src=0)


class _PhaseStep(nn.Module):
    """A module whose forward is one phase's training step and whose weights are that phase's."""

    def __init__(self, task: Task, name: str, part: nn.Module) -> None:
        super().__init__()
        self.part, self.name = part, name
        # in a tuple nn.Module does not look: DDP must not see the weights of the other phases
        self._hidden = (task,)

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        return self._hidden[0].training_step(batch, self.name, progress)


Step = Callable[[Batch, Progress], Tensor]


ALONE = nullcontext()


def training_step(task: Task, name: str, part: nn.Module) -> Step:
    """The phase's training step; with several processes, its backward sums the gradients."""
    if world() == 1:
        return lambda batch, progress: task.training_step(batch, name, progress)
    from torch.nn.parallel import DistributedDataParallel

    # not at every forward: two forwards before one backward would see their buffers change
    options = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in options else "broadcast_buffers"
    make: Callable[..., Step] = DistributedDataParallel
    return make(_PhaseStep(task, name, part), **{sync: False})


def no_sync(step: Step, last: bool) -> AbstractContextManager[Any]:
    """Forward and backward inside it leave the gradients local, but for a window's last batch."""
    if last or world() == 1:
        return ALONE
    context: AbstractContextManager[Any] = step.no_sync()  # type: ignore[attr-defined]
    return context
