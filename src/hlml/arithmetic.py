"""Multiply-adds, counted where torch's functions are called: in layers, or by hand in a forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
PRODUCTS = {"linear", "matmul", "__matmul__", "mm", "bmm"}


class MultiplyAdds(TorchFunctionMode):
    """`with MultiplyAdds() as count: model(x)`, and then `count.total`.

    Only matrix products, convolutions, attention and memories: the rest is little beside them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in RECURRENT:  # each vector, and what is remembered, meets all weights of a layer
            weights = next(one for one in args if isinstance(one, list))
            vectors = args[0].numel() // args[0].shape[-1]
            self.total += vectors * sum(one.numel() for one in weights if one.dim() == 2)
        elif isinstance(result, Tensor):
            tensors = [x for x in (*args, *(kwargs or {}).values()) if isinstance(x, Tensor)]
            self.total += _count(name, tensors, result)
        return result


def _count(name: str, inputs: list[Tensor], result: Tensor) -> int:
    if name in CONVOLUTIONS:
        return result.numel() * inputs[1][0].numel()
    if name in TRANSPOSED:  # here each number of the input meets the weights
        return inputs[0].numel() * inputs[1][0].numel()
    if name in PRODUCTS:
        return result.numel() * inputs[0].shape[-1]
    if name == "scaled_dot_product_attention":  # queries meet keys, and weights values
        query, key = inputs[:2]
        return (query.numel() + result.numel()) * key.shape[-2]
    return 0
