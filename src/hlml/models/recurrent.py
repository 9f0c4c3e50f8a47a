"""Frames read one after the other, with a memory: LSTM (Hochreiter & Schmidhuber 1997) and GRU
(Cho et al. 2014), in both directions (Schuster & Paliwal 1997).

What reads forwards never meets the padding behind it, and neither does what reads backwards where
it is handed each utterance the other way round. So no utterance has to be packed, which on a CPU
takes 2 to 9 times as long. B batch, T frames, F numbers a frame, D width.
Masks: True = real frame, and those come first.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from hlml.models.tagger import Tagger

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(Tagger):
    """`width`: of each direction's memory. Options of the head: see Tagger."""

    def __init__(
        self,
        inputs: int,
        classes: int,
        one_label: bool = False,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 128,
        layers: int = 2,
        bidirectional: bool = True,
        dropout: float = 0.0,
        **head: Any,
    ) -> None:
        directions = 2 if bidirectional else 1
        super().__init__(directions * width if layers else inputs, classes, one_label, **head)
        self.layers = nn.ModuleList(
            Layer(directions * width if layer else inputs, width, cell, directions)
            for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        """frames (B, T, F), mask (B, T) -> (B, T, 2 D), or D in one direction"""
        order = backwards(mask)
        x = frames
        for layer in self.layers:
            x = self.dropout(layer(x, order))
        return x


class Layer(nn.Module):
    """One memory, or one for each direction."""

    def __init__(
        self, inputs: int, width: int, cell: Literal["lstm", "gru"], directions: int
    ) -> None:
        super().__init__()
        self.forwards = CELLS[cell](inputs, width, batch_first=True)
        self.backwards = CELLS[cell](inputs, width, batch_first=True) if directions == 2 else None

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """x (B, T, F), order (B, T) -> (B, T, D) of each direction, side by side"""
        # a memory adds up hundreds of steps; and not every CPU has an LSTM in bfloat16
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.forwards.weight_ih_l0.dtype)
            out: Tensor = self.forwards(x)[0]
            if self.backwards is None:
                return out
            back = self.backwards(_reorder(x, order))[0]
            return torch.cat([out, _reorder(back, order)], -1)


def backwards(mask: Tensor) -> Tensor:
    """(B, T): of each place the frame that stands there once utterances are turned around; what
    pads them stays."""
    place = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - place, place)


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[..., None].expand(x.shape))
