"""Each schedule against torch's own scheduler, or against the formula of its paper."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler as theirs

from hlml import schedules as ours

TOTAL = 40
PAIRS: dict[str, tuple[ours.Schedule, Callable[[torch.optim.Optimizer], theirs.LRScheduler]]] = {
    "constant": (ours.Constant(), lambda o: theirs.ConstantLR(o, factor=1.0)),
    "step": (ours.Step(7, 0.3), lambda o: theirs.StepLR(o, 7, 0.3)),
    "exponential": (ours.Exponential(0.9), lambda o: theirs.ExponentialLR(o, 0.9)),
    "linear": (ours.Linear(0.1), lambda o: theirs.LinearLR(o, 1.0, 0.1, TOTAL)),
    "cosine": (ours.Cosine(), lambda o: theirs.CosineAnnealingLR(o, TOTAL)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch(name: str) -> None:
    schedule, make = PAIRS[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    for update in range(TOTAL):
        assert schedule(update, TOTAL) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_plateau_equals_torch() -> None:
    values = [5.0, 4.0, 4.0, 4.1, 3.9999, 4.2, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 2.0, 1.9999, 1.9]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=1e-3)
    schedule = ours.Plateau(factor=0.5, patience=1, threshold=1e-3)
    for value in values:
        schedule.observe(value)
        scheduler.step(value)
        assert schedule(0, 1) == optimizer.param_groups[0]["lr"]


def test_plateau_hears_a_metric_that_should_rise() -> None:
    """The trainer turns its sign; torch has a mode for it."""
    values = [0.5, 0.6, 0.6, 0.6001, 0.61, 0.6, 0.6, 0.7]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(optimizer, "max", 0.5, patience=1, threshold=1e-3)
    schedule = ours.Plateau(factor=0.5, patience=1, threshold=1e-3)
    for value in values:
        schedule.observe(-value)
        scheduler.step(value)
        assert schedule(0, 1) == optimizer.param_groups[0]["lr"]


def test_warmup_rises_to_one_and_falls_to_the_end() -> None:
    schedule = ours.WarmupCosine(warmup=10, end=0.2)
    rise = [schedule(update, 100) for update in range(10)]
    assert rise == [(n + 1) / 10 for n in range(10)]
    assert schedule(10, 100) == 1.0
    assert schedule(100, 100) == pytest.approx(0.2)


def test_noam_has_the_course_s_peak() -> None:
    """HW5: twice the factor peaks at 1.98e-3 for width 256 and 1.40e-3 for 512."""
    for width, peak in ((256, 1.98e-3), (512, 1.40e-3)):
        factors = [2 * ours.Noam(width, 4000)(update, 10**5) for update in range(10_000)]
        assert max(factors) == pytest.approx(peak, abs=5e-6)
        assert factors.index(max(factors)) == 3999
        assert factors[8] == pytest.approx(9 * factors[0])
        assert factors[9999] == pytest.approx(2 * width**-0.5 / math.sqrt(10_000))
