"""Two processes give what one gives: the same weights, from the same call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

import toys
from hlml import checkpoint, distributed


def main(folder: Path) -> None:
    """What the one process and each of the two run: accumulation, a ragged end, and a game."""
    first = os.environ.get("RANK", "0") == "0"
    toys.seed()
    here = folder / "fit" if first else None
    toys.fit(here, toys.Fit(dropout=0), toys.Points(noise=0), toys.one_phase(), accumulate=2)
    toys.seed()
    game = toys.Game(noisy=False)  # noise would depend on how rows are dealt out
    toys.fit(folder / "game" if first else None, game, toys.Points(noise=0), toys.two_phases())
    distributed.leave()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    main(tmp_path / "one")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *torchrun, __file__, str(tmp_path / "two")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for case in ("fit", "game"):
        one, two = (checkpoint.load(tmp_path / n / case / "last.pt") for n in ("one", "two"))
        assert one["step"] == two["step"]
        for name, weight in one["task"].items():
            torch.testing.assert_close(weight, two["task"][name], rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
