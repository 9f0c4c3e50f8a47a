"""The training loop that every homework shares.

A step reads a window of `accumulate` batches; every phase that is due makes one update from it.
A supervised task has one phase, a WGAN two: the loop does not know the difference.
"""

from __future__ import annotations

import math
import os
from collections import deque
from contextlib import closing
from dataclasses import asdict
from typing import Literal

import torch

from hlml import averaging, checkpoint, distributed, faults
from hlml.data import DataModule
from hlml.errors import UserError
from hlml.evaluation import autocast, choose_device, evaluate, quietly
from hlml.journal import Best, Journal, ProgressBar, watch
from hlml.logbook import Logbook
from hlml.phase import Phase, frozen, weights_of_others
from hlml.run_folder import BEST, LAST
from hlml.signals import StopRequest
from hlml.task import Batch, Progress, Task
from hlml.threads import choose_threads

FEWEST_STEPS = 500  # between validations: on tiny data more of them would cost as much as training
MOST_SKIPS = 20  # fp16 updates skipped in a row: by then the loss scale is not the trouble


class Trainer:
    """Fits a task to data.

    Args: `validate_every` and `save_every` in steps (null: validate each epoch, or each few epochs
    where an epoch has under 500 steps; save at validations alone); `patience` in validations;
    `ema` the decay of a moving average of the weights, which is then what is validated;
    `average_last` how many validations' weights are averaged; `select` whose weights are reported.
    """

    def __init__(
        self,
        phases: dict[str, Phase],
        epochs: int = 100,
        monitor: str | None = None,
        patience: int | None = None,
        accumulate: int = 1,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        validate_every: int | None = None,
        save_every: int | None = None,
        log_every: int = 50,
        ema: float | None = None,
        average_last: int = 0,
        select: Literal["best", "last", "average"] = "best",
        overfit: int = 0,
        smoke: bool = False,
        compile: bool = False,
        deterministic: bool = False,
        threads: int | Literal["auto"] = "auto",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tf32: bool = True,
    ) -> None:
        self.phases, self.epochs, self.monitor, self.patience = phases, epochs, monitor, patience
        self.accumulate, self.precision = accumulate, precision
        self.validate_every, self.save_every, self.log_every = validate_every, save_every, log_every
        self.ema_decay, self.average_last, self.select = ema, average_last, select
        self.overfit, self.smoke, self.compile = overfit, smoke, compile
        self.threads, self.step = threads, 0
        self.stop: StopRequest | None = None
        if select == "average" and not average_last:
            raise UserError("trainer.select=average: also say of how many, trainer.average_last=5")
        self.device = choose_device(device)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
            torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = False
        distributed.start(self.device)

    def fit(
        self,
        task: Task,
        data: DataModule,
        book: Logbook,
        state: checkpoint.State | None = None,
        about: checkpoint.State | None = None,
    ) -> str:
        """Train from the start or from `state`; return why it ended. Checkpoints keep `about`."""
        self.start(task, data, state)
        self.book, self.about = book, about or {}
        self.bar = ProgressBar(self.total_steps, self.step, quiet=book.folder is None)
        self.bar.say(
            f"{sum(w.numel() for w in self.weights):,} weights on {self.device} in "
            f"{self.precision}, {self.total_steps:,} steps, threads: {self.threads_reason}"
        )
        self.journal.start(self.step)
        self.saver = checkpoint.Saver()
        with StopRequest() as self.stop, closing(self.bar), closing(self.saver):
            if self.pending:
                self._validate()
            for window in data.windows(self.step, self.accumulate):
                if reason := self._reason_to_stop():
                    break
                self.train_step(window)
                self._after_step()
            if self.stop.number:
                self._save()
        return reason

    def start(self, task: Task, data: DataModule, state: checkpoint.State | None = None) -> None:
        """Put everything in its place: device, threads, weights of each phase, restored state."""
        self.task, self.data = task.to(self.device), data
        data.place(self.device)
        self._plan()
        self.watch(task)
        self._bind()
        averaged, decay = task.averaged(), self.ema_decay
        self.ema = averaging.MovingAverage(averaged, decay) if decay else None
        self.snapshots: deque[averaging.Weights] = deque(maxlen=self.average_last)
        self.journal = Journal(self.phases, self.device)
        self.skips, self.pending = 0, False
        task.train()
        before = state["threads"] if state else None
        first = next(iter(self.phases))
        self.threads_reason = choose_threads(self.threads, before, task, data, first)
        if state:
            self._restore(state)

    def train_step(self, window: list[Batch]) -> None:
        """One update of every phase that is due, from one window of batches."""
        position = Progress(self.step, self.total_steps)
        for name, phase in self.phases.items():
            if phase.due(self.step):
                with frozen(self.others[name]):
                    self._update(name, phase, window, position)
                self.task.after_update(name)
        if self.ema:
            self.ema.update()
        self.step += 1

    def _update(self, name: str, phase: Phase, window: list[Batch], position: Progress) -> None:
        """One optimizer update, averaged over every item of every process's window."""
        several = len(window) > 1 or distributed.world() > 1  # else a GPU would wait for nothing
        counts = [self.task.items(batch) if several else 1 for batch in window]
        everything = distributed.total_number(sum(counts), self.device) or 1
        for weight in self.weights:  # of all phases: another may have left gradients behind
            weight.grad = None
        losses = []
        for number, (batch, count) in enumerate(zip(window, counts, strict=True), start=1):
            share = count / everything
            with distributed.no_sync(self.steps[name], last=number == len(window)):
                with autocast(self.device, self.precision):
                    loss = self.steps[name](batch, position)
                # DistributedDataParallel takes the processes' mean, and we want their sum
                factor = share * distributed.world()
                phase.backward(loss if factor == 1 else loss * factor)
            losses.append(loss.detach() if share == 1 else loss.detach() * share)
        total = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        on_cpu = self.device.type == "cpu"  # where reading a number costs nothing; a GPU would wait
        if on_cpu and not math.isfinite(total.item()):
            raise self._fault("loss", name, window)
        if phase.needs_norm or self.journal.wants_norm(name):
            self._look_at_gradients(name, phase, window)
        self.skips = 0 if phase.update(self.journal.norms[name]) else self.skips + 1
        if self.skips > MOST_SKIPS:
            raise self._fault("gradient", name, window)
        self.journal.note(name, total.item() if on_cpu else total)

    def _look_at_gradients(self, name: str, phase: Phase, window: list[Batch]) -> None:
        """Take their norm; an fp16 overflow is the loss scale's business, a few times in a row."""
        norm = phase.unscale()
        if self.device.type == "cpu" and not phase.scaler and not math.isfinite(norm.item()):
            raise self._fault("gradient", name, window)
        self.journal.norms[name] = norm

    def _fault(self, what: str, name: str, window: list[Batch]) -> faults.NonFiniteError:
        rows = [self.data.rows_of(n, self.accumulate) for n in (max(0, self.step - 1), self.step)]
        at = Progress(self.step, self.total_steps)
        with autocast(self.device, self.precision):
            return faults.NonFiniteError(faults.explain(what, self.task, name, window, rows, at))

    def _after_step(self) -> None:
        """Log, validate and save, each when its turn has come."""
        last = self.step == self.total_steps
        if self.step % self.log_every == 0 or last:
            faults.look_back(self.journal.losses, self.step, self.data, self.accumulate)
            self.book.scalars(self.step, self.journal.take(self.step))
            self.bar.step(self.step, self.journal.train_loss)
        if self.step % self.interval == 0 or last:
            self._validate()
        elif self.save_every and self.step % self.save_every == 0:
            self._save()

    def _validate(self) -> None:
        """Score the valid split, keep the best, tell the schedules, save."""
        self.book.step = self.step
        with averaging.using(self.task.averaged(), self.ema.average if self.ema else None):
            most = 2 if self.smoke else None
            metrics = evaluate(self.task, self.data, "valid", self.precision, most, self._stopping)
            self.pending = metrics is None
            if metrics is None:  # a signal: the resumed run begins with this validation
                return
            if self.average_last:
                weights = averaging.weights_of(self.task)
                self.snapshots.append({name: w.cpu().clone() for name, w in weights.items()})
            if self.book.folder:
                with quietly(self.task, self.device):
                    self.task.report(self.book, self.data, final=False)
        self.book.scalars(self.step, {f"valid/{name}": value for name, value in metrics.items()})
        better = self.best.update(metrics[self.best.metric], self.step)
        for phase in self.phases.values():
            phase.schedule.observe(self.best.signed(metrics[self.best.metric]))
        self._save(best=better)
        value = f"valid {self.best.metric} {metrics[self.best.metric]:.5g}"
        place = f"epoch {self.step / self.steps_per_epoch:.4g}/{self.epochs}  step {self.step}"
        loss, mark = self.journal.shown_loss(), "  (best)" if better else ""
        self.bar.validation(f"{place}{loss}  {value}{mark}  {self.book.seconds:.1f} s", value)

    def _reason_to_stop(self) -> str:
        """Why the loop ends here, or nothing."""
        if self._stopping():
            return "interrupted"
        if self.step >= self.total_steps:
            return "finished"
        if self.patience is not None and self.best.stale >= self.patience:
            return f"early stop: {self.best}"
        return ""

    def _stopping(self) -> bool:
        """Whether a signal asked any process to stop."""
        asked = self.stop is not None and self.stop.number != 0
        return bool(distributed.total_number(float(asked), self.device))

    def _plan(self) -> None:
        """Turn epochs into steps, once: the step is the only clock."""
        self.steps_per_epoch = self.data.steps_per_epoch(self.accumulate)
        if not self.steps_per_epoch:
            raise UserError("data: the training split has no batch; check its size and batch_size")
        self.total_steps = 2 if self.smoke else self.epochs * self.steps_per_epoch
        epochs = math.ceil(FEWEST_STEPS / self.steps_per_epoch)
        self.interval = self.validate_every or epochs * self.steps_per_epoch

    def watch(self, task: Task) -> None:
        """Check names against the task before the first step, not after the first epoch."""
        if task.parts().keys() != self.phases.keys():
            parts = sorted(task.parts())
            raise UserError(f"phases: the task has parts {parts}, the config {sorted(self.phases)}")
        self.best = watch(self.monitor, task)

    def _bind(self) -> None:
        """Give each phase its part of the task."""
        parts = self.task.parts()
        if self.compile:
            for child in self.task.children():
                child.compile()  # in place: torch.compile(child) would rename its weights
        self.weights = [p for part in parts.values() for p in part.parameters()]
        self.others = {name: weights_of_others(parts, name) for name in parts}
        self.steps = {n: distributed.training_step(self.task, n, p) for n, p in parts.items()}
        for name, part in parts.items():
            scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None
            self.phases[name].bind(part, self.total_steps, scaler)

    def _save(self, best: bool = False) -> None:
        if bad := faults.first_bad_weight(self.task):  # a GPU's losses are looked at late
            rows = self.data.rows_of(self.step - 1, self.accumulate)
            raise faults.NonFiniteError(faults.explain_weight(bad, self.step - 1, rows))
        states = distributed.gather(checkpoint.random_state())  # of every process
        if self.book.folder is None:
            return
        self.book.flush()
        state = {
            **self.about,
            "step": self.step,
            "task": self.task.state_dict(),
            "phases": {name: phase.state_dict() for name, phase in self.phases.items()},
            "best": asdict(self.best),
            "ema": self.ema.state_dict() if self.ema else {},
            "snapshots": list(self.snapshots),
            "journal": self.journal.state_dict(),
            "pending": self.pending,
            "skips": self.skips,
            "threads": torch.get_num_threads(),
            "random": states,
        }
        folder = self.book.folder
        self.saver.save(state, folder / LAST, copy=folder / BEST if best else None)

    def _restore(self, state: checkpoint.State) -> None:
        self.step, self.pending, self.skips = (state[k] for k in ("step", "pending", "skips"))
        self.task.load_state_dict(state["task"])
        for name, phase in self.phases.items():
            phase.load_state_dict(state["phases"][name])
        self.best = Best(**state["best"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.snapshots.extend(state["snapshots"])
        self.journal.load_state_dict(state["journal"])
        checkpoint.set_random_state(state["random"][distributed.rank()])
