"""Receptive fields by experiment: a neuron sees the pixels that its gradient is not zero for.

In the model itself a gradient may be zero by chance: a ReLU is off, a pooling's maximum is
elsewhere, weights cancel. So it runs as its positive twin: weights positive and alike, no bends
and no norms, the mean in place of the maximum. Then nothing can cancel, and a zero means unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

IDENTITY = {
    *("relu", "relu_", "leaky_relu", "leaky_relu_", "elu", "selu", "gelu", "silu", "mish", "prelu"),
    *("relu6", "hardtanh", "hardswish", "softplus", "sigmoid", "tanh", "softmax", "log_softmax"),
    *("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_dropout", "batch_norm"),
    *("instance_norm", "group_norm", "layer_norm", "rms_norm", "normalize"),
}
Spans = tuple[tuple[int, int], tuple[int, int]]  # first and last row, first and last column
UNSEEN: Spans = ((0, -1), (0, -1))


class PositiveTwin(TorchFunctionMode):
    """`with PositiveTwin(): y = model(x)`, x in double; torch's functions are replaced as called.

    Weights are the mean over what they meet: through a hundred layers nothing grows or dies out.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in IDENTITY:
            return args[0] if args else kwargs["input"]
        if name.startswith(("conv", "linear")):
            return _with_positive_weights(func, args, kwargs)
        if name == "max_pool2d":
            return _mean_pool(*args, **kwargs)
        if name == "adaptive_max_pool2d":
            return F.adaptive_avg_pool2d(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            return _attend_to_all(*args, **kwargs)
        if name in ("amax", "max") and len(args) + len(kwargs) > 1:
            return torch.mean(*args, **kwargs)
        return func(*args, **kwargs)


def _with_positive_weights(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """convolutions and linear layers: func(input, weight, bias, ...)"""
    options = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    x, weight = options.pop("input"), options.pop("weight")
    options.pop("bias", None)
    positive = torch.full_like(weight, 1 / weight[0].numel(), dtype=x.dtype)
    return func(x, positive, None, *args[3:], **options)


def _mean_pool(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if dilation in (1, (1, 1)):
        return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)
    kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    window = x.new_full((x.shape[1], 1, *kernel), 1 / (kernel[0] * kernel[1]))
    return F.conv2d(x, window, None, stride or kernel_size, padding, dilation, x.shape[1])


def _attend_to_all(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    """Equal attention: what it is before anything is learnt."""
    return value.mean(-2, keepdim=True).expand(*query.shape[:-1], value.shape[-1])


def spans(neurons: Tensor, pictures: Tensor) -> Spans:
    """Rows and columns of `pictures` (B, C, H, W) that the sum of `neurons` depends on."""
    (gradient,) = torch.autograd.grad(neurons.sum(), pictures, retain_graph=True, allow_unused=True)
    if gradient is None or not gradient.any():
        return UNSEEN
    seen = gradient.ne(0).flatten(0, 1).any(0)  # (H, W)
    rows, columns = (seen.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    return (rows[0], rows[-1]), (columns[0], columns[-1])
