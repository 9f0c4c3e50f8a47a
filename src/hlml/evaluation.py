"""A split's metrics and a split's answers, without a trace on the training that goes on around."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from hlml import distributed
from hlml.data import DataModule, Split
from hlml.errors import UserError
from hlml.task import Task

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """auto: the GPU where there is one, torchrun's share of them where there are several."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("trainer.device=cuda: torch finds no CUDA device; leave it at auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", distributed.local_rank())
    torch.cuda.set_device(device)
    return device


AS_IT_IS = nullcontext()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    if precision == "fp32":
        return AS_IT_IS
    return torch.autocast(device.type, dtype=DTYPES[precision])


@contextmanager
def quietly(task: Task, device: torch.device) -> Iterator[None]:
    """Eval mode, no gradients, and a generator of its own: looking changes nothing that follows."""
    training = task.training
    task.eval()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(0)  # torch.manual_seed asks every kind of device
            if devices:
                torch.cuda.manual_seed(0)
            yield
    finally:
        task.train(training)


def evaluate(
    task: Task,
    data: DataModule,
    split: Split,
    precision: str = "fp32",
    most_batches: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """A split's metrics, from statistics added up over batches and processes.

    None when `stopping` said so in between.
    """
    distributed.broadcast_buffers(task)
    totals: dict[str, Tensor] = {}
    with quietly(task, data.device):
        for number, batch in enumerate(data.evaluation(split, shared=True)):
            if distributed.world() == 1 and stopping():  # several: they may have unequal batches
                return None
            if number == most_batches:
                break
            with autocast(data.device, precision):
                statistics = task.validation_step(batch)
            for name, value in statistics.items():
                totals[name] = totals[name] + value if name in totals else value
    return task.metrics(distributed.total_of(totals))


def predict(task: Task, data: DataModule, split: Split, precision: str = "fp32") -> list[Any]:
    """The task's answers for every row of a split, in order (by this process alone)."""
    answers: list[Any] = []
    with quietly(task, data.device):
        for batch in data.evaluation(split):
            with autocast(data.device, precision):
                answers += task.predict_step(batch)
    rows = torch.cat(data.reading(split)).tolist()  # not in order where batches are of one length
    return [answer for _, answer in sorted(zip(rows, answers, strict=True), key=itemgetter(0))]
