"""How many CPU threads a model's step is worth.

Two threads on a small tensor wait for each other longer than they compute: a tiny MLP's step
takes several times as long with two threads as with one, while a large CNN gains a third.
"""

from __future__ import annotations

import os

import torch

from hlml.arithmetic import MultiplyAdds
from hlml.data import DataModule
from hlml.data.module import to_device
from hlml.evaluation import quietly
from hlml.task import Progress, Task

WORTH_IT = 20_000_000  # multiply-adds a forward pass, from where a second thread pays


def available() -> int:
    """The cores this process may use: a container's, shared by the processes of torchrun."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def choose_threads(
    told: int | str, before: int | None, task: Task, data: DataModule, phase: str
) -> str:
    """Set the number of threads, and say what it is and why: `told`, or "auto".

    auto: what a resumed run had `before` (sums in another order differ in their last bits), else
    by the work of one batch.
    """
    count, reason = (told, "as told") if isinstance(told, int) else (before, "as before")
    if count is not None:
        torch.set_num_threads(count)
        return f"{count} ({reason})"
    if data.device.type != "cpu":
        return f"{torch.get_num_threads()} (the GPU computes)"
    rows = data.rows("train").batch(data.rows_of(0, 1)[0], 0)
    batch, start = to_device(rows, data.device), Progress(0, 1)
    # quietly: a forward pass in training would move batch-norm statistics
    with quietly(task, data.device), MultiplyAdds() as work:
        task.training_step(batch, phase, start)
    count = available() if work.total >= WORTH_IT else 1
    torch.set_num_threads(count)
    return f"{count} of {available()} ({work.total / 1e6:.1f} M multiply-adds a batch)"
