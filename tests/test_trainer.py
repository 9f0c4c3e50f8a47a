"""Laws of the loop: it equals a loop written by hand, and one big batch equals many small ones."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import toys
from hlml import checkpoint, faults, overfit
from hlml.data import DataModule, TensorRows
from hlml.errors import UserError
from hlml.faults import NonFiniteError
from hlml.phase import Phase
from hlml.report import load_weights
from hlml.schedules import Cosine
from hlml.task import Progress, Task
from hlml.trainer import Trainer

OPTIMIZERS: dict[str, Any] = {
    "sgd": functools.partial(torch.optim.SGD, lr=0.05),
    "nesterov": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "adagrad": functools.partial(torch.optim.Adagrad, lr=0.05),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=0.01),
    "adam": functools.partial(torch.optim.Adam, lr=0.01),
    "adamw": functools.partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_a_loop_by_hand(name: str) -> None:
    """Bit for bit, with the optimizer torch itself gives (fused where there is such a kernel)."""
    toys.seed()
    task, data = toys.Fit(), toys.Points(noise=0)
    toys.fit(None, task, data, {"main": Phase(OPTIMIZERS[name])}, epochs=4, validate_every=1000)

    toys.seed()
    model = toys.Fit().model
    fused = {} if name == "rmsprop" else {"fused": True}
    optimizer = OPTIMIZERS[name](model.parameters(), **fused)
    for epoch in range(4):
        for rows in data.plan(epoch):
            optimizer.zero_grad()
            F.mse_loss(model(_x(data)[rows]), _y(data)[rows]).backward()
            optimizer.step()
    for ours, theirs in zip(task.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _x(data: Any) -> Tensor:
    return data.train.tensors[0]


def _y(data: Any) -> Tensor:
    return data.train.tensors[1]


class Ragged(DataModule):
    """Rows of 1 to 9 numbers, padded with nan: a batch's loss is a mean over numbers, not rows."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        lengths = torch.randint(1, 10, (64,), generator=torch.Generator().manual_seed(1))
        x = torch.randn(64, 9, generator=torch.Generator().manual_seed(2))
        self.table = TensorRows(x.masked_fill(torch.arange(9) >= lengths[:, None], math.nan))

    def rows(self, split: str) -> Any:
        return self.table

    def sizes(self) -> dict[str, int]:
        return {}


class Scale(Task):
    """One weight a column, fitted to cos(x) over the numbers that are there."""

    directions: ClassVar = {"loss": "min"}

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1)

    def items(self, batch: Any) -> int:
        return int((~batch[0].isnan()).sum())

    def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
        x = batch[0][~batch[0].isnan()]
        return F.mse_loss(self.model(x[:, None])[:, 0], x.cos())

    def validation_step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": self.training_step(batch, "main", Progress(0, 1))}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": totals["loss"].item()}

    def predict_step(self, batch: Any) -> list[Any]:
        return []


def test_accumulation_of_ragged_batches_equals_one_batch() -> None:
    """4 x 8 rows against 1 x 32: weights are item counts, so lengths do not matter."""
    weights = {}
    for size, accumulate in ((32, 1), (8, 4)):
        toys.seed()
        task = Scale()
        phases = {"main": Phase(functools.partial(torch.optim.SGD, lr=0.1))}
        toys.fit(None, task, Ragged(size), phases, accumulate=accumulate, epochs=5)
        weights[accumulate] = task.model.weight.detach().clone()
    torch.testing.assert_close(weights[1], weights[4], rtol=1e-6, atol=1e-7)


def test_the_mean_of_means_would_be_wrong() -> None:
    """The error that the item counts prevent is there to be made: over 1 % of this gradient."""
    toys.seed()
    task, data = Scale(), Ragged(8)
    batches = [data.table.batch(rows, 0) for rows in data.plan(0)[:4]]
    counts = [task.items(batch) for batch in batches]
    gradients = []
    for shares in ([n / sum(counts) for n in counts], [0.25] * 4):
        task.zero_grad()
        for batch, share in zip(batches, shares, strict=True):
            (task.training_step(batch, "main", Progress(0, 1)) * share).backward()
        gradients.append(task.model.weight.grad.clone())  # type: ignore[union-attr]
    assert abs(gradients[0] - gradients[1]) / abs(gradients[0]) > 0.01


def test_clips_after_unscaling(tmp_path: Path) -> None:
    """fp16's loss scale of 65,536 must not reach the clipping: the update has the norm we set."""

    class Small(toys.Fit):  # so that the scaled loss fits into fp16 at once
        def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
            return super().training_step(batch, phase, progress) * 1e-3

    toys.seed()
    task = Small(dropout=0)
    before = [weight.detach().clone() for weight in task.parameters()]
    phases = {"main": Phase(functools.partial(torch.optim.SGD, lr=1.0), clip_norm=1e-3)}
    toys.fit(None, task, toys.Points(noise=0), phases, precision="fp16", at=1)
    moved = [a.detach() - b for a, b in zip(task.parameters(), before, strict=True)]
    assert torch.cat([m.flatten() for m in moved]).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_an_fp16_overflow_skips_the_update_and_the_schedule() -> None:
    class Boom(toys.Fit):
        calls = 0

        def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
            self.calls += 1
            loss = super().training_step(batch, phase, progress)
            return loss * (1e34 if progress.step == 3 else 1e-3)

    toys.seed()
    phases = toys.one_phase()
    task = Boom()
    toys.fit(None, task, toys.Points(), phases, precision="fp16", epochs=1)
    phase = phases["main"]
    assert phase.updates == 6  # of 7
    assert phase.scaler is not None
    assert phase.scaler.get_scale() == 65536 / 2
    assert all(bool(weight.isfinite().all()) for weight in task.parameters())


def test_critic_five_times_and_always_clipped() -> None:
    toys.seed()
    task = toys.Game()
    trainer = toys.fit(None, task, toys.Points(batch_size=5), toys.two_phases())
    assert task.updates.count("critic") == trainer.step == 30
    assert task.updates.count("generator") == 6
    limit = torch.tensor(0.05)  # in float32, as the clamp had it
    assert all(bool((w.detach().abs() <= limit).all()) for w in task.critic.parameters())


@pytest.mark.parametrize("case", ["loss", "gradient", "input", "module"])
def test_what_is_not_a_number_stops_the_run(case: str, tmp_path: Path) -> None:
    """Named: step, phase, rows and place. Kept: the weights before, and no bad best."""

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad * math.nan

    class Log(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.max() - 1).log() if task.spoil else x

    class Sick(toys.Fit):
        spoil = False

        def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
            self.spoil = progress.step == 4 and case == "module"
            loss = super().training_step(batch, phase, progress)
            if progress.step == 4 and case == "loss":
                return loss / 0
            if progress.step == 4 and case == "gradient":
                return Spoil.apply(loss)  # type: ignore[no-any-return,no-untyped-call]
            return loss

    toys.seed()
    task, data = Sick(), toys.Points(noise=0)
    task.model.insert(1, Log())
    if case == "input":
        _x(data)[17, 2] = math.inf
    with pytest.raises(NonFiniteError) as found:
        toys.fit(tmp_path, task, data, {"main": Phase(toys.adam(), clip_norm=1.0)}, save_every=1)
    message = str(found.value)
    rows = ", ".join(str(row) for row in data.rows_of(4, 1)[0].tolist())
    if case == "input":
        assert "row(s) 17 " in message
    else:
        assert "step 4, phase main" in message
        assert rows in message
    assert {"module": "model.1 (Log)", "gradient": "model.", "loss": "the loss"}.get(
        case, ""
    ) in message
    state = checkpoint.load(tmp_path / "last.pt") if (tmp_path / "last.pt").exists() else {}
    assert all(bool(t.isfinite().all()) for t in state.get("task", {}).values())


def test_a_gradient_seen_late_is_never_saved(tmp_path: Path) -> None:
    """Without clipping, gradients are looked at now and then; what is saved is always checked."""

    class Sick(toys.Fit):
        def after_update(self, phase: str) -> None:
            if self.training and next(self.parameters()).grad is not None and self.poison:
                with torch.no_grad():
                    self.model[3].bias.fill_(math.nan)
            self.poison = not self.poison

        poison = False

    toys.seed()
    with pytest.raises(NonFiniteError, match=r"step 1: the gradient of model\.3\.bias was not"):
        toys.fit(tmp_path, Sick(), toys.Points(), toys.one_phase(), log_every=50, save_every=2)
    assert not (tmp_path / "last.pt").exists()


def test_a_metric_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    class Moody(toys.Fit):
        count = 0

        def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
            self.count += 1
            value = super().metrics(totals)["loss"] if self.count != 2 else math.nan
            return {"loss": value, "score": -value}

    toys.seed()
    trainer = toys.fit(tmp_path, Moody(), toys.Points(), toys.one_phase(), epochs=1)
    assert trainer.best.value is not None
    assert checkpoint.load(tmp_path / "best.pt")["step"] == trainer.best.step != 6


def test_early_stop_says_why() -> None:
    class Worse(toys.Fit):
        count = 0

        def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
            self.count += 1
            return {"loss": float(self.count), "score": 0.0}

    trainer = Trainer(toys.one_phase(), epochs=50, patience=3, validate_every=2, threads=1)
    from hlml.logbook import Logbook

    reason = trainer.fit(Worse(), toys.Points(), Logbook(None))
    assert reason.startswith("early stop: loss was best (1) at step 2")
    assert trainer.step == 8


def test_best_last_and_average_differ_and_are_kept(tmp_path: Path) -> None:
    toys.seed()
    task = toys.Fit()
    trainer = toys.fit(tmp_path, task, toys.Points(), toys.one_phase(), average_last=3, ema=0.5)
    assert len(trainer.snapshots) == 3
    assert trainer.ema is not None
    live = dict(task.named_parameters())
    average = trainer.ema.average
    assert any(not torch.equal(average[name], live[name]) for name in live)
    torch.testing.assert_close(
        trainer.snapshots[-1], {n: average[n] for n in trainer.snapshots[-1]}
    )


def test_an_unknown_monitor_is_named_before_the_first_step() -> None:
    trainer = Trainer(toys.one_phase(), monitor="losss", threads=1)
    with pytest.raises(UserError, match="did you mean loss"):
        trainer.watch(toys.Fit())


def test_phases_must_be_those_of_the_task() -> None:
    with pytest.raises(UserError, match="critic"):
        Trainer(toys.one_phase(), threads=1).watch(toys.Game())


def test_overfit_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    toys.seed()
    trainer = Trainer(toys.one_phase(), overfit=1, threads=1)
    verdict = overfit.check(trainer, toys.Fit(dropout=0), toys.Points(noise=0))
    assert verdict["overfit"] == "pass"

    class Deaf(toys.Fit):
        def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
            return super().training_step((batch[0] * 0, batch[1]), phase, progress)

    verdict = overfit.check(Trainer(toys.one_phase(), overfit=1, threads=1), Deaf(), toys.Points())
    assert verdict["overfit"] == "fail"
    assert "fail" in capsys.readouterr().out


def test_overfit_has_its_own_clock() -> None:
    """Neither a phase that rests every other step nor a schedule that ends early decides it."""
    toys.seed()
    phase = Phase(toys.adam(), Cosine(), every=2)
    trainer = Trainer({"main": phase}, epochs=1, overfit=1, threads=1)
    assert overfit.check(trainer, toys.Fit(dropout=0), toys.Points(noise=0))["overfit"] == "pass"


def test_weights_that_start_as_nan_are_named() -> None:
    toys.seed()
    task = toys.Fit()
    with torch.no_grad():
        task.model[0].weight[0, 0] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"model\.0\.weight is not finite before the first step"
    ):
        toys.fit(None, task, toys.Points(), toys.one_phase())


def test_a_late_look_finds_the_first_bad_loss() -> None:
    """As on a GPU, where losses are read at logs only."""
    losses = {"main": [torch.tensor(x) for x in (1.0, 2.0, math.nan, math.nan)]}
    with pytest.raises(NonFiniteError, match="step 12, phase main"):
        faults.look_back(losses, 14, toys.Points(), 1)
    faults.look_back({"main": losses["main"][:2]}, 14, toys.Points(), 1)


def test_choosing_threads_trains_nothing() -> None:
    class Normed(toys.Fit):
        def __init__(self) -> None:
            super().__init__()
            self.model.insert(1, nn.BatchNorm1d(16))

    task = Normed()
    trainer = Trainer(toys.one_phase())
    before = {name: t.clone() for name, t in task.state_dict().items()}
    trainer.start(task, toys.Points())
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_compile_keeps_the_names_of_the_weights() -> None:
    task = toys.Fit()
    trainer = Trainer(toys.one_phase(), compile=True, threads=1)
    trainer.task = task
    names = set(task.state_dict())
    for child in task.children():
        child.compile(backend="eager")
    assert set(task.state_dict()) == names


def test_the_first_step_does_without_dynamo() -> None:
    """Half of a short run's start is the import of torch._dynamo, which serves compile alone."""
    code = (
        "import sys, toys; toys.fit(None, toys.Fit(), toys.Points(), toys.one_phase());"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_a_phase_leaves_the_other_parts_alone(tmp_path: Path) -> None:
    """No gradient is taken for the critic while the generator learns, and none is left behind."""
    task = toys.Game()
    seen: dict[str, list[bool]] = {}

    def look(phase: str) -> None:
        seen[phase] = [weight.grad is not None for weight in task.parameters()]

    task.after_update = look  # type: ignore[method-assign]
    toys.fit(None, task, toys.Points(), toys.two_phases())
    parts = {name: len(list(part.parameters())) for name, part in task.parts().items()}
    assert seen["generator"] == [True] * parts["generator"] + [False] * parts["critic"]
    assert seen["critic"] == [False] * parts["generator"] + [True] * parts["critic"]
    assert all(weight.requires_grad for weight in task.parameters())


def test_a_weight_that_was_frozen_stays_frozen() -> None:
    task = toys.Game()
    task.critic[0].weight.requires_grad_(False)
    before = task.critic[0].weight.clone()
    toys.fit(None, task, toys.Points(), toys.two_phases(), epochs=1)
    assert not task.critic[0].weight.requires_grad
    # clipping moves it once, learning never does
    assert torch.equal(task.critic[0].weight, before.clamp(-task.clip, task.clip))


def test_only_the_averaged_part_is_averaged(tmp_path: Path) -> None:
    class Half(toys.Game):
        def averaged(self) -> nn.Module:
            return self.generator

    task = Half()
    trainer = toys.fit(tmp_path, task, toys.Points(), toys.two_phases(), ema=0.9)
    assert trainer.ema is not None
    assert set(trainer.ema.average) == {name for name, _ in task.generator.named_parameters()}
    state = checkpoint.load(tmp_path / "last.pt")
    live = {k: v for k, v in state["task"].items() if k.startswith("critic")}
    load_weights(task, state)
    for name, value in task.state_dict().items():
        if name in live:
            assert torch.equal(value, live[name])
    assert torch.equal(task.generator[0].weight, state["ema"]["average"]["0.weight"])
