"""`trainer.overfit=1`: can the model learn one batch by heart? If not, mend that first."""

from __future__ import annotations

import itertools
from typing import Any

from hlml.data import DataModule
from hlml.errors import UserError
from hlml.schedules import Constant
from hlml.task import Task
from hlml.trainer import Trainer

MOST_STEPS = 2000
NEAR_ZERO = 0.01  # of the first loss


def check(trainer: Trainer, task: Task, data: DataModule) -> dict[str, Any]:
    """Train on the first batches alone until the loss is near zero; print the verdict."""
    if len(trainer.phases) > 1:
        raise UserError("trainer.overfit: in a game neither loss falls to zero; leave it at 0")
    trainer.start(task, data)
    for phase in trainer.phases.values():
        phase.schedule, phase.every = Constant(), 1  # the run's own is made for the run's length
    batches = list(itertools.islice(data.windows(0, trainer.accumulate), trainer.overfit))
    losses = trainer.journal.losses[next(iter(trainer.phases))]
    for step in range(MOST_STEPS):
        trainer.train_step(batches[step % len(batches)])
        if losses[-1] <= NEAR_ZERO * losses[0]:
            break
    first, loss = float(losses[0]), float(losses[-1])
    passed = loss <= NEAR_ZERO * first
    rows = sum(task.items(b) for window in batches for b in window)
    weights = sum(weight.numel() for weight in trainer.weights)
    print(
        f"overfit {len(batches)} batch(es), {rows} items, with {weights:,} weights: "
        f"loss {first:.4g} -> {loss:.4g} in {step + 1} updates"
    )
    if passed:
        print("pass: the model can learn this batch, so data, loss and gradients hang together")
    else:
        print(
            "fail: the loss did not come near zero; look at the model's size, the learning rate "
            "(optimizer.lr=...), dropout and penalties, and at the labels"
        )
    return {"overfit": "pass" if passed else "fail", "first_loss": first, "last_loss": loss}
