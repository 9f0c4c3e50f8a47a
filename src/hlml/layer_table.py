"""A model as the rows of a table: what each layer gives, weighs, costs and sees.

The model runs twice on two random inputs: as it is, for shapes, multiply-adds and receptive fields
by formula, and as its positive twin, for receptive fields by gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hlml.arithmetic import MultiplyAdds
from hlml.gradient_support import PositiveTwin, Spans, spans
from hlml.receptive_field import Field, Formula
from hlml.runs import aligned

Observe = Callable[[str, nn.Module, Tensor, Tensor], None]
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity)
HEAD = ["layer", "what", "output", "parameters", "multiply-adds", "receptive field"]


@dataclass
class Row:
    """A layer, and those behind it that leave its shape alone (norm, ReLU, dropout)."""

    name: str
    what: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int = 0
    sees: str = ""

    def fold(self, other: Row) -> None:
        self.what += f" + {other.what}"
        self.parameters += other.parameters

    def cells(self) -> list[str]:
        counts = [f"{n:,}" if n else "" for n in (self.parameters, self.multiply_adds)]
        shape = " x ".join(map(str, self.shape))
        return [self.name, self.what, shape, *counts, self.sees]


@dataclass
class Table:
    """Of one model."""

    rows: list[Row] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    """Layers that see one thing by the formula and another by gradients."""
    pictures: bool = False  # only then there are receptive fields

    def lines(self) -> list[str]:
        parameters = sum(row.parameters for row in self.rows)
        multiply_adds = sum(row.multiply_adds for row in self.rows)
        total = ["total", "", "", f"{parameters:,}", f"{multiply_adds:,}", ""]
        cells = [HEAD, *(row.cells() for row in self.rows), total]
        shown = [line if self.pictures else line[:-1] for line in cells]
        # words to the left, numbers to the right
        words = aligned([line[:3] for line in shown], str.ljust)
        width = max(map(len, words))
        numbers = aligned([["", *line[3:]] for line in shown], str.rjust)
        return [
            f"{one.ljust(width)}{more}".rstrip() for one, more in zip(words, numbers, strict=True)
        ]


def describe(model: nn.Module, *inputs: Tensor | None) -> Table:
    """inputs: pictures (B, C, H, W), or whatever else the model's forward takes, B of each."""
    first, *others = inputs
    assert first is not None
    table = Table(pictures=first.dim() == 4)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            fields = _look(table, model, first, others)
    finally:
        model.train(training)
    if table.pictures:
        _compare(table, fields, copy.deepcopy(model).double().eval(), first, others)
    return table


def _look(
    table: Table, model: nn.Module, x: Tensor, others: list[Tensor | None]
) -> list[Field | None]:
    """Fill the table; the receptive field by formula of each layer's output, in order of calls."""
    fields: list[Field | None] = []
    weighed: set[int] = set()
    last, counted = x, 0
    with ExitStack() as stack:
        count = stack.enter_context(MultiplyAdds())
        formula = stack.enter_context(Formula(x)) if table.pictures else None

        def observe(name: str, layer: nn.Module, given: Tensor, out: Tensor) -> None:
            nonlocal last, counted
            fields.append(formula.of(out) if formula else None)
            weights = [weight for weight in layer.parameters() if id(weight) not in weighed]
            weighed.update(map(id, weights))
            work, counted = (count.total - counted) // len(x), count.total
            row = Row(name, _what(layer), tuple(out.shape[1:]), _numbers(weights), work)
            row.sees = _sees(fields[-1])
            if table.rows and given is last and given.shape == out.shape and not work:
                table.rows[-1].fold(row)
            elif weights or work or given.shape != out.shape:
                table.rows.append(row)
            else:
                return  # a ReLU behind a sum: nothing to tell
            last = out

        _run(model, observe, x, others)
        if work := (count.total - counted) // len(x):  # scores by the words' own vectors, say
            table.rows.append(Row("behind them", type(model).__name__, (), 0, work))
    table.rows += _the_rest(model, weighed)
    return fields


def _compare(
    table: Table,
    fields: list[Field | None],
    twin: nn.Module,
    x: Tensor,
    others: list[Tensor | None],
) -> None:
    """The same layers once more, now by gradients."""
    pictures, known = x.double().requires_grad_(), iter(fields)
    found: dict[int, tuple[Tensor, Spans]] = {}

    def observe(name: str, layer: nn.Module, given: Tensor, out: Tensor) -> None:
        field = next(known)
        if field is None:
            return
        if id(out) not in found:  # a norm or a ReLU hands the twin's tensor on as it is
            found[id(out)] = out, spans(field.neuron(out), pictures)
        seen = found[id(out)][1]
        if seen != field.spans() or not field.consistent():
            table.disagreements.append(f"{name}: {_text(field.spans())}, not {_text(seen)}")

    with PositiveTwin():
        _run(twin, observe, pictures.clone(), others)


def _run(model: nn.Module, observe: Observe, x: Tensor, others: list[Tensor | None]) -> None:
    """Call the model, and `observe` after each of its layers."""

    def hook(name: str) -> Callable[..., None]:
        def call(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            out = output[0] if isinstance(output, tuple) else output
            observe(name, layer, inputs[0] if inputs else out, out)

        return call

    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers(model)]
    try:
        model(x, *others)
    finally:
        for one in hooks:
            one.remove()


def layers(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """What computes something: modules without parts, and torch's own, whatever their parts."""
    container = isinstance(module, CONTAINERS)
    own = type(module).__module__.startswith("torch.nn.")
    if not container and (own or not list(module.children())):
        yield name or type(module).__name__, module
        return
    for part, child in module.named_children():
        yield from layers(child, f"{name}.{part}" if name else part)


def _the_rest(model: nn.Module, weighed: set[int]) -> list[Row]:
    """Weights outside of layers (a transformer's positions), and layers that nobody called."""
    inside = {id(weight) for _, layer in layers(model) for weight in layer.parameters()}
    return [
        Row(name, "never called" if id(weight) in inside else "Parameter", tuple(weight.shape), n)
        for name, weight in model.named_parameters()
        if id(weight) not in weighed and (n := weight.numel())
    ]


def _what(layer: nn.Module) -> str:
    """Conv2d 3 x 3, stride 2"""
    text = type(layer).__name__.removeprefix("Parametrized")
    kernel = getattr(layer, "kernel_size", None)
    if kernel is None:
        return text
    sides = [kernel] * 2 if isinstance(kernel, int) else kernel
    text += " " + " x ".join(map(str, sides))
    usual = {"stride": kernel if "Pool" in text else 1, "dilation": 1, "groups": 1}
    for option, expected in usual.items():
        value = getattr(layer, option, expected)
        if value not in (expected, (expected, expected)):
            value = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
            text += f", {option} {value}"
    return text


def _numbers(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() for weight in weights)


def _sees(field: Field | None) -> str:
    """5 x 5, whole, or - where nobody knows"""
    if field is None:
        return "-"
    down, across = field.size
    return "whole" if field.whole else f"{down} x {across}"


def _text(seen: Spans) -> str:
    (top, bottom), (left, right) = seen
    return f"rows {top}-{bottom} and columns {left}-{right}"
