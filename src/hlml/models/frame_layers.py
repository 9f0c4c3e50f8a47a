"""Norms and convolutions over frames that padding does not reach.

Without care it would: batch norm would count it in its mean, and a convolution at an utterance's
end would look at what a layer has made of the zeros there.
B batch, T frames, D width. Masks: True = real frame.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hlml.errors import UserError

Norm = Literal["layer", "batch", "none"]


class FrameNorm(nn.Module):
    """What is freed of its mean and deviation: each frame (layer), or each of its numbers over all
    real frames of the batch (Ioffe & Szegedy 2015)."""

    def __init__(self, kind: Norm, width: int) -> None:
        super().__init__()
        kinds = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d, "none": nn.Identity}
        self.norm = kinds[kind](width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) -> (B, T, D)"""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm1d):
            out: Tensor = norm(x)
            return out
        # single frames have no padding, and torch's is faster, but it refuses one alone
        if self.training and (x.shape[1] > 1 or len(x) == 1):
            return _of_real_frames(norm, x, mask)
        flat: Tensor = norm(x.flatten(0, 1))
        return flat.reshape(x.shape)


def _of_real_frames(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor) -> Tensor:
    """Batch norm in training. To pick out the frames would be shorter, and make a GPU wait."""
    count = mask.sum()
    share = (mask.to(norm.weight.dtype) / count)[..., None]
    mean = (x * share).sum((0, 1))
    centred = x - mean
    variance = (centred.square() * share).sum((0, 1))
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        unbiased = variance * count / (count - 1).clamp(min=1)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
        norm.num_batches_tracked += 1
    return torch.addcmul(norm.bias, centred, (variance + norm.eps).rsqrt() * norm.weight)


class FrameConvolution(nn.Module):
    """`kernel` frames, `dilation` apart, become one; before and after an utterance there are zeros.

    To torch it is a picture one pixel high whose channels lie side by side, as they do in a frame:
    on a CPU two to three times as fast as Conv1d where each channel has a kernel of its own.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UserError(f"model.kernel: {kernel} frames have no middle one; take an odd number")
        self.convolution = nn.Conv2d(
            inputs,
            outputs,
            (1, kernel),
            padding=(0, dilation * (kernel // 2)),
            dilation=(1, dilation),
            groups=groups,
        ).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, inputs), mask (B, T) -> (B, T, outputs)"""
        x = x.masked_fill(~mask[..., None], 0)
        out: Tensor = self.convolution(x.transpose(1, 2)[:, :, None])
        return out.squeeze(2).transpose(1, 2)
