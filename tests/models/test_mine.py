"""The models that students begin with."""

from __future__ import annotations

import torch
from homeworks.hw5_translation.model import Model

from hlml.tokens import PAD


def test_hw5s_takes_any_length_and_sees_no_padding() -> None:
    """Longer than it has places for, unknown words among them; without a warning in evaluation."""
    torch.manual_seed(0)
    model = Model(10, 12, width=8, heads=2, layers=1).eval()
    source, target = torch.randint(4, 14, (2, 530)), torch.randint(4, 14, (2, 540))
    source[1, 20:] = PAD
    with torch.no_grad():
        scores, alone = model(source, target), model(source[1:, :20], target[1:])
    assert scores.shape == (2, 540, 12)
    torch.testing.assert_close(scores[1:], alone)
