"""`trainer.overfit=1`: can the model learn one batch by heart? If not, mend that first."""

from __future__ import annotations

import itertools
import math
from typing import Any

from hlml.data import DataModule
from hlml.task import Task
from hlml.trainer import Trainer

MOST_STEPS = 2000
NEAR_ZERO = 0.01  # of the first loss


def check(trainer: Trainer, task: Task, data: DataModule) -> dict[str, Any]:
    """Train on the first batches alone until the loss is near zero; print the verdict."""
    trainer.start(task, data)
    batches = list(itertools.islice(data.windows(0, 1), trainer.overfit))
    first = loss = math.inf
    for step in range(MOST_STEPS):
        trainer.train_step(batches[step % len(batches)])
        loss = next(iter(trainer.journal.take(step + 1).values()))
        first = loss if step == 0 else first
        if loss <= NEAR_ZERO * first:
            break
    passed = loss <= NEAR_ZERO * first
    print(f"overfit {len(batches)} batch(es): loss {first:.4g} -> {loss:.4g} in {step + 1} updates")
    if passed:
        print("pass: the model can learn this batch, so data, loss and gradients hang together")
    else:
        print(
            "fail: the loss did not come near zero; look at the model's size, the learning rate "
            "(optimizer.lr=...), dropout and penalties, and at the labels"
        )
    return {"overfit": "pass" if passed else "fail", "first_loss": first, "last_loss": loss}
