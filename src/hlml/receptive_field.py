"""Receptive fields by formula: which pixels of the picture can a neuron see? (lecture 3, CNN)

A layer whose kernel is k pixels of its own map wide widens the field by (k - 1) x jump, where the
jump, how many pixels of the picture lie between two neighbours of the map, grows with each stride.
That is the field of a neuron far from the border; near it, and where a stride leaves pixels over,
neurons see less, so beside the formula each row and each column of a map keeps the span it sees.
The formula follows torch's functions as they are called, through layers, shortcuts and a forward
written by hand. Where it knows no rule for a function, nothing is known from there on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hlml.gradient_support import IDENTITY, UNSEEN, Spans

# each number comes from its own place
SAME = {
    *IDENTITY,
    *("add", "add_", "__add__", "__iadd__", "__radd__", "sub", "sub_", "__sub__", "__rsub__"),
    *("mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "neg"),
    *("abs", "exp", "sqrt", "square", "pow", "clamp", "clone", "contiguous", "to", "float"),
    *("double", "type_as", "detach"),
}
SLIDING = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation"),
    "max_pool2d": ("input", "kernel_size", "stride", "padding", "dilation"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding"),
}
GATHERING = {"mean", "sum", "amax", "amin", "max", "logsumexp", "norm", "std", "var"}
SHAPING = {"flatten", "reshape", "view", "unflatten", "squeeze", "unsqueeze", "view_as"}
PRODUCTS = {"matmul", "__matmul__", "bmm", "scaled_dot_product_attention"}
NOTHING = 10**9  # the low end of an empty span


@dataclass(frozen=True, eq=False)
class Axis:
    """Up and down the picture, or across: what a map's rows (or columns) see of the picture's.

    By the formula row i sees `size` rows from `start` + i x `jump` on.
    """

    picture: int
    size: int
    jump: int
    start: int
    low: Tensor  # (map's rows,) the first row of the picture that is really seen
    high: Tensor  # (map's rows,) and the last; below low: none
    cut: Tensor  # (map's rows,) whether some of what the formula says is not there

    @classmethod
    def of(cls, picture: int) -> Axis:
        rows = torch.arange(picture)
        return cls(picture, 1, 1, 0, rows, rows, rows < 0)

    def slide(self, kernel: int, stride: int, padding: int, dilation: int, length: int) -> Axis:
        taps = torch.arange(length)[:, None] * stride - padding + torch.arange(kernel) * dilation
        size = self.size + (kernel - 1) * dilation * self.jump
        return self._see(taps, size=size, step=stride, first=-padding)

    def slice(self, rows: slice) -> Axis:
        """maps[:, :, rows]: every second one, say."""
        taps = torch.arange(len(self.low))[rows]
        return self._see(taps[:, None], step=rows.step or 1, first=int(taps[0]))

    def frame(self, before: int, after: int) -> Axis:
        """Rows of zeros around the map: nothing to see there."""
        taps = torch.arange(-before, len(self.low) + after)
        return self._see(taps[:, None], first=-before)

    def gather(self) -> Axis:
        """One row that sees what any of them sees."""
        axis = self._see(torch.arange(len(self.low))[None])
        first, last = axis.span(0)
        unseen = torch.tensor([last < first])
        return replace(axis, size=max(0, last - first + 1), jump=0, start=first, cut=unseen)

    def join(self, other: Axis) -> Axis:
        """The sum of two maps: what either sees."""
        low, high = torch.minimum(self.low, other.low), torch.maximum(self.high, other.high)
        if (self.jump == 0) != (other.jump == 0):  # places, and something that has none
            both = self.gather().join(other.gather())
            return replace(both, low=low, high=high, cut=torch.ones_like(low, dtype=torch.bool))
        start = min(self.start, other.start)
        end = max(self.start + self.size, other.start + other.size)
        return replace(
            self,
            size=end - start,
            jump=max(self.jump, other.jump),
            start=start,
            low=low,
            high=high,
            cut=self.cut | other.cut,
        )

    def span(self, row: int) -> tuple[int, int]:
        return int(self.low[row]), int(self.high[row])

    def consistent(self, row: int) -> bool:
        """Whether formula and span are one, or (at the border) the span is a part."""
        (low, high), first = self.span(row), self.start + row * self.jump
        last = first + self.size - 1
        return (low, high) == (first, last) or (
            bool(self.cut[row]) and (high < 0 or (low >= first and high <= last))
        )

    def _see(self, taps: Tensor, size: int | None = None, step: int = 1, first: int = 0) -> Axis:
        """taps (new rows, taps): the rows of this map that each new one looks at."""
        there = (taps >= 0) & (taps < len(self.low))
        taps = taps.clamp(0, len(self.low) - 1)
        return Axis(
            self.picture,
            size or self.size,
            self.jump * step,
            self.start + first * self.jump,
            self.low[taps].where(there, NOTHING).amin(1),
            self.high[taps].where(there, -1).amax(1),
            (self.cut[taps] | ~there).any(1),
        )


@dataclass(frozen=True, eq=False)
class Field:
    """What the neurons of a tensor see. `places`: the tensor's dimensions that say where in the map
    a neuron is: two for a map, one for a sequence of patches, none where each sees all there is."""

    down: Axis
    across: Axis
    places: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """By the formula; where that is more than the picture, what is left of it."""
        down, across = (
            axis.size if axis.size < axis.picture else last - first + 1
            for axis, (first, last) in zip((self.down, self.across), self.spans(), strict=True)
        )
        return down, across

    @property
    def whole(self) -> bool:
        return self.size == (self.down.picture, self.across.picture)

    @property
    def map(self) -> tuple[int, int]:
        return len(self.down.low), len(self.across.low)

    def spans(self) -> Spans:
        """First and last row, first and last column that the central neuron sees."""
        row, column = (side // 2 for side in self.map)
        down, across = self.down.span(row), self.across.span(column)
        return (down, across) if down[1] >= 0 <= across[1] else UNSEEN

    def neuron(self, values: Tensor) -> Tensor:
        """Of a tensor with this field: the central place's numbers, or all where there is none."""
        row, column = (side // 2 for side in self.map)
        centre = [row, column] if len(self.places) == 2 else [row * self.map[1] + column]
        for place, index in zip(self.places, centre, strict=False):
            values = values.narrow(place, index, 1)
        return values

    def consistent(self) -> bool:
        """Whether what the central neuron sees is what the formula says, as far as it is there."""
        row, column = (side // 2 for side in self.map)
        return self.down.consistent(row) and self.across.consistent(column)

    def gather(self) -> Field:
        return Field(self.down.gather(), self.across.gather(), ())


class Formula(TorchFunctionMode):
    """`with Formula(pictures) as formula: model(pictures)`, and then `formula.of(tensor)`."""

    def __init__(self, pictures: Tensor) -> None:
        """pictures (B, C, H, W)"""
        super().__init__()
        height, width = pictures.shape[-2:]
        self.fields: dict[int, Field | None] = {}
        self.kept: list[Tensor] = []  # a tensor that is gone would leave its id to another
        self._put(pictures, Field(Axis.of(height), Axis.of(width), (2, 3)))

    def of(self, tensor: Tensor) -> Field | None:
        """None: it does not depend on the pictures, or nobody knows how."""
        return self.fields.get(id(tensor))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        shapes = {id(one): one.shape for one in _tensors((args, kwargs))}  # before squeeze_, say
        result = func(*args, **kwargs)
        inputs = [id(one) for one in _tensors((args, kwargs)) if id(one) in self.fields]
        outputs = [one for one in _tensors(result) if one.is_floating_point()]
        if inputs and outputs:
            fields = [field for one in inputs if (field := self.fields[one])]
            name = getattr(func, "__name__", "")
            field = None
            if len(fields) == len(inputs):
                field = _rule(name, fields, shapes[inputs[0]], outputs[0].shape, args, kwargs)
            for output in outputs:
                self._put(output, field)
        return result

    def _put(self, tensor: Tensor, field: Field | None) -> None:
        self.fields[id(tensor)] = field
        self.kept.append(tensor)


def _tensors(node: Any) -> Iterator[Tensor]:
    if isinstance(node, Tensor):
        yield node
    elif isinstance(node, dict):
        yield from _tensors(list(node.values()))
    elif isinstance(node, list | tuple):
        for one in node:
            yield from _tensors(one)


def _rule(
    name: str,
    fields: list[Field],
    before: torch.Size,
    after: torch.Size,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Field | None:
    """The field of what `name` returned; None: no rule is known."""
    field, options = fields[0], args[1:]
    if name in SAME:
        return _join(fields)
    if name in PRODUCTS or (not field.places and (name in SLIDING or name == "linear")):
        return _gather(fields)
    if name == "linear":
        return field.gather() if len(before) - 1 in field.places else field
    if name in SLIDING:
        return _slide(field, after, dict(zip(SLIDING[name], args, strict=False)) | kwargs)
    if name.startswith("adaptive_"):
        return _adaptive(field, before, after)
    if name in GATHERING:
        return _reduce(field, before, after, options, kwargs)
    if name in SHAPING:
        return _reshape(field, before, after)
    if name in ("transpose", "permute", "swapaxes"):
        return _permute(field, len(before), name, _dims(options, kwargs))
    if name in ("chunk", "split", "cat"):
        return _part(name, fields, len(after), options, kwargs)
    if name == "pad":
        return _pad(field, before, *_padding(options, kwargs))
    if name == "__getitem__":
        return _getitem(field, options[0])
    return None


def _gather(fields: list[Field]) -> Field | None:
    return _join([field.gather() for field in fields])


def _join(fields: list[Field]) -> Field | None:
    """A sum sees what any part sees; a part that sees all there is may be spread over a map."""
    fields = sorted(fields, key=lambda field: not field.places)  # those with places first
    places, shape = fields[0].places, fields[0].map
    if any(field.places and (field.places, field.map) != (places, shape) for field in fields):
        return None
    down, across = fields[0].down, fields[0].across
    for other in fields[1:]:
        down, across = down.join(other.down), across.join(other.across)
    return Field(down, across, places)


def _slide(field: Field, after: torch.Size, options: dict[str, Any]) -> Field | None:
    """A window over the map: convolution and pooling."""
    if field.places != (2, 3):
        return None
    weight, kernel = options.get("weight"), options.get("kernel_size")
    kernel = _pair(kernel) if weight is None else tuple(weight.shape[2:])
    # pooling moves by a whole window where no stride is given
    stride = _pair(options.get("stride") or (kernel if weight is None else 1))
    dilation, padding = _pair(options.get("dilation", 1)), options.get("padding", 0)
    if padding == "same":
        padding = tuple((k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True))
    padding = (0, 0) if padding == "valid" else _pair(padding)
    windows = zip(kernel, stride, padding, dilation, after[2:], strict=True)
    down, across = (field.down.slide(*next(windows)), field.across.slide(*next(windows)))
    return Field(down, across, field.places)


def _adaptive(field: Field, before: torch.Size, after: torch.Size) -> Field | None:
    """Pooling to a given size: as plain pooling where windows are all alike."""
    if tuple(after[-2:]) == (1, 1) or not field.places:
        return field.gather()
    if any(old % new for old, new in zip(before[-2:], after[-2:], strict=True)):
        return None
    window = tuple(old // new for old, new in zip(before[-2:], after[-2:], strict=True))
    return _slide(field, after, {"kernel_size": window})


def _reduce(
    field: Field,
    before: torch.Size,
    after: torch.Size,
    options: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Field | None:
    """A mean over places sees all they see; over channels, every place is as it was."""
    dims = [dim % len(before) for dim in _dims(options, kwargs) if not isinstance(dim, bool)]
    if not dims or set(dims) & set(field.places):
        return field.gather()
    if len(before) == len(after):
        return field
    return replace(
        field, places=tuple(place - sum(dim < place for dim in dims) for place in field.places)
    )


def _reshape(field: Field, before: torch.Size, after: torch.Size) -> Field | None:
    """Places may become one dimension, or two again; mixed with others they are places no more."""
    if len(after) < 3:
        return field.gather()
    places: list[int] = []
    for old, new in _matched(tuple(before), tuple(after)):
        if set(old) & set(field.places):
            if any(before[dim] > 1 for dim in set(old) - set(field.places)):
                return field.gather()
            places += [dim for dim in new if after[dim] > 1] or new[:1]
    shape = tuple(after[place] for place in places)
    known = shape == field.map or shape == (math.prod(field.map),)
    return replace(field, places=tuple(places)) if known else field.gather()


def _matched(before: tuple[int, ...], after: tuple[int, ...]) -> Iterator[tuple[list[int], ...]]:
    """The smallest groups of dimensions that hold as many numbers before as after."""
    i = j = 0
    while i < len(before) and j < len(after):
        old, new, many, wanted = [i], [j], before[i], after[j]
        while many != wanted:
            if many < wanted:
                i += 1
                many *= before[i]
                old.append(i)
            else:
                j += 1
                wanted *= after[j]
                new.append(j)
        yield old, new
        i, j = i + 1, j + 1


def _permute(field: Field, ndim: int, name: str, dims: list[int]) -> Field:
    order = [dim % ndim for dim in dims]
    if name != "permute":
        first, second = order
        order = list(range(ndim))
        order[first], order[second] = second, first
    return replace(field, places=tuple(order.index(place) for place in field.places))


def _part(
    name: str, fields: list[Field], ndim: int, options: tuple[Any, ...], kwargs: dict[str, Any]
) -> Field | None:
    """Some of the channels, or those of several maps; places are not cut apart."""
    given = options if name == "cat" else options[1:]
    dim = (given[0] if given else kwargs.get("dim", 0)) % ndim
    if any(dim in field.places for field in fields):
        return _gather(fields)
    return _join(fields)


def _pad(field: Field, before: torch.Size, amounts: list[int], mode: str) -> Field | None:
    """A frame of zeros around the map, or more channels."""
    last = len(before) - 1
    padded = {last - index // 2 for index, amount in enumerate(amounts) if amount}
    if not padded & set(field.places):
        return field
    if field.places != (2, 3) or not padded <= {2, 3} or mode != "constant":
        return None
    sides = [*amounts, 0, 0][:4]
    down, across = field.down.frame(*sides[2:]), field.across.frame(*sides[:2])
    return Field(down, across, field.places)


def _padding(options: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[int], str]:
    amounts = list(options[0] if options else kwargs["pad"])
    return amounts, options[1] if len(options) > 1 else kwargs.get("mode", "constant")


def _getitem(field: Field, key: Any) -> Field | None:
    """Slices: some channels, every second row."""
    keys = key if isinstance(key, tuple) else (key,)
    if not field.places:
        return field
    if field.places != (2, 3) or not all(isinstance(one, slice) for one in keys):
        return None
    rows, columns = [*keys, *[slice(None)] * 4][2:4]
    return Field(field.down.slice(rows), field.across.slice(columns), field.places)


def _dims(options: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """The dimensions a function was told: f(x, 1, 2), f(x, (1, 2)), f(x, dim=1)."""
    given = kwargs.get("dim", kwargs.get("dims", options))
    flat = [given] if isinstance(given, int) else list(given)
    return list(flat[0]) if flat and isinstance(flat[0], list | tuple) else flat


def _pair(value: Any) -> tuple[int, int]:
    down, across = (value, value) if isinstance(value, int) else (value * 2)[:2]
    return down, across
