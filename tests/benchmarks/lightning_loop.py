"""Lightning's Trainer with its defaults: logger, progress bar, checkpoint at the end of epochs.

A process of its own, because importing Lightning alone slows the other loops by half.
"""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import torch
from steps import BATCH, ROWS, Net, inputs, per_step, targets
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def with_lightning(steps: int) -> float:
    """Seconds a step, of a fresh process."""
    command = [sys.executable, __file__, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def fit(steps: int) -> float:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.clock = Net(), list[float]()

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            self.clock.append(time.perf_counter())
            x, y = batch
            loss = F.mse_loss(self.net(x), y)
            self.log("train/loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    module = Module()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=BATCH, shuffle=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # it advises loader workers, which would be slower here
        trainer = lightning.Trainer(
            max_epochs=steps * BATCH // ROWS, accelerator="cpu", default_root_dir=folder
        )
        trainer.fit(module, loader)
    return per_step(module.clock)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(fit(int(sys.argv[1])))
