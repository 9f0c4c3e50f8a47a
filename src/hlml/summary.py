"""`hlml summary homework=hw3 model=cnn`: layer by layer what `hlml train` would train."""

from __future__ import annotations

import argparse
from typing import Any

from hlml import compose
from hlml.errors import UserError

HELP = """\
hlml summary homework=NAME [NAME=VALUE ...]

The model that `hlml train` with the same words would train: what each of its layers gives for one
row of the data, how many parameters it has, how many multiply-adds it takes, and how much of a
picture its neurons see. That is computed by the formula of the lecture and again from gradients.
Of utterances and of pairs, a row is one as long as the median of those to train on.

  hlml summary homework=hw3 model=cnn model.kernels=5
"""


def main(argv: list[str]) -> int:
    args = compose.parse(argv)
    if args.help:
        print(HELP, end="")
        return 0
    _refuse_flags(args)
    return _summarise(compose.config_of(args))


def _refuse_flags(args: argparse.Namespace) -> None:
    """Those of `hlml train` that would do nothing here."""
    for flag in ("multirun", "run", "cfg", "info", "shell_completion", "hydra_help"):
        if getattr(args, flag):
            raise UserError(
                f"--{flag.replace('_', '-')}: belongs to hlml train; see hlml summary -h"
            )


def _summarise(config: dict[str, Any]) -> int:
    """Print a table for each part; 1: the receptive fields of one disagree."""
    from hlml.layer_table import describe
    from hlml.train import build_model

    data, model = build_model(config)
    code = 0
    for name, part, inputs in _parts(model, data):
        table = describe(part, *inputs)
        print("\n".join([*([name] if name else []), *table.lines()]))
        for line in table.disagreements:
            print(f"formula and gradients disagree: {line}")
            code = 1
    return code


def _parts(model: Any, data: Any) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """The model, or the two of a game, and what each is called with: two random rows."""
    import torch

    from hlml.data.pairs import PairData
    from hlml.data.sequences import SequenceData
    from hlml.tokens import UNKNOWN

    if isinstance(data, PairData):
        read, written = (int(lengths.median()) for lengths in data.rows("train").lengths())
        source = torch.randint(UNKNOWN, len(data.source_vocabulary), (2, read))
        target = torch.randint(UNKNOWN, len(data.target_vocabulary), (2, written - 1))
        name = f"a source of {read} tokens and a target of {written - 1}, its marks counted"
        return [(name, model, (source, target))]
    if isinstance(data, SequenceData):
        frames = int(data.splits["train"].lengths.median())
        x, mask = torch.rand(2, frames, len(data.mean)), torch.ones(2, frames, dtype=torch.bool)
        return [(f"an utterance of {frames} frames", model, (x, mask))]
    rows = data.rows("train").batch(torch.arange(2), 0)[0]  # of the data for its shape alone
    x, labels = torch.rand(rows.shape), torch.zeros(2, dtype=torch.int64)
    if not (hasattr(model, "generator") and hasattr(model, "critic")):
        return [("", model, (x,))]
    noise = torch.randn(2, model.latent)
    return [("generator", model.generator, (noise, labels)), ("critic", model.critic, (x, labels))]
