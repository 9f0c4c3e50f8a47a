"""How long a person waits: whole processes, from the command to what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HLML = str(Path(sys.executable).with_name("hlml"))

# The first update of homework 1's network, as short as it can be written.
BARE = """
import os
import torch
from torch import nn
net = nn.Sequential(nn.Linear(93, 64), nn.ReLU(), nn.Linear(64, 1))
optimizer = torch.optim.Adam(net.parameters(), fused=True)
net(torch.randn(270, 93)).square().mean().backward()
optimizer.step()
os._exit(0)
"""

# Python runs a module of this name at start: ours ends the process after the trainer's first
# step (17: it was reached), and imports nothing that the command would not import by itself.
SITECUSTOMIZE = """
import os
import sys
from importlib.machinery import PathFinder


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "hlml.trainer":
            return None
        spec = PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            step = module.Trainer.train_step

            def first_step(self, window):
                step(self, window)
                os._exit(17)

            module.Trainer.train_step = first_step

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder)
"""


def contenders(folder: Path) -> dict[str, Callable[[], float]]:
    """Name -> seconds of one fresh process. `folder` is where the commands run."""
    (folder / "hook").mkdir()
    (folder / "hook/sitecustomize.py").write_text(SITECUSTOMIZE)
    hook = {"PYTHONPATH": str(folder / "hook")}
    completion = {"COMP_LINE": "hlml train optimizer=", "COMP_POINT": "21", "COMP_CWORD": "2"}
    train = [HLML, "train", "homework=hw1"]

    def process(command: list[str], code: int = 0, **extra: str) -> Callable[[], float]:
        return lambda: _seconds(command, folder, code, extra)

    return {
        "import torch": process([sys.executable, "-c", "import torch"]),
        "bare script, first step": process([sys.executable, "-c", BARE]),
        "hlml train, first step": process(train, code=17, **hook),
        "hlml --help": process([HLML, "--help"]),
        "tab completion": process([HLML, "-sc", "query=bash"], **completion),
        "a typo": process([*train, "optimizer.lrr=1"], code=2),
        "a value out of range": process([*train, "optimizer.lr=-1"], code=2),
    }


def _seconds(command: list[str], folder: Path, code: int, extra: dict[str, str]) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **extra}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, check=False
        )
        seconds = time.perf_counter() - start
        if done.returncode != code:
            output.seek(0)
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{output.read()}")
    return seconds
