"""The composed config, checked before anything in it is imported.

The schema is the code: a node's options are its target's constructor arguments, with their
annotations as types. A default exists once, in that signature. Only ranges are listed here,
by the name an argument has everywhere.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hlml import annotation, signature
from hlml.errors import UserError
from hlml.signature import Signature

Node = dict[str, Any]
GROUPS = ("augment", "data", "model", "task", "optimizer", "scheduler", "phases", "trainer")
OPTIONAL = {"augment": "data"}  # a group that may be empty: the group that takes it


@dataclass
class Root:
    """The options of a run itself; every other option belongs to a constructor."""

    homework: str
    data: dict[str, Any]
    model: dict[str, Any]
    task: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    phases: dict[str, Any]
    trainer: dict[str, Any]
    augment: dict[str, Any] | None = None
    shelf: str | None = None
    level: str | None = None
    seed: int = 0
    run_dir: str | None = None
    resume: str | None = None
    runs: str = "runs"
    baselines: dict[str, Any] = field(default_factory=dict)
    trust: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Range:
    """From low to high; an end that is `out` is not reached."""

    low: float = -math.inf
    high: float = math.inf
    low_out: bool = False
    high_out: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_out else value >= self.low
        below = value < self.high if self.high_out else value <= self.high
        return above and below

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.low_out else f"{self.low:g} or more"
        high = f"below {self.high:g}" if self.high_out else f"{self.high:.10g} or less"
        return " and ".join([low] * (self.low > -math.inf) + [high] * (self.high < math.inf))


def _each(names: str, allowed: Range) -> dict[str, Range]:
    return dict.fromkeys(names.split(), allowed)


RANGES = {
    **_each("lr clip_norm clip delta factor", Range(0, low_out=True)),
    **_each("weight_decay eps l1 l2 penalty threshold lr_decay end warmup", Range(0)),
    **_each("workers layers overfit average_last gap pad unlabelled_ratio", Range(0)),
    **_each("context segment budget stretch window inner margin time_mask feature_mask", Range(0)),
    **_each("decoder_layers longest_factor longest_extra guided length_weight", Range(0)),
    **_each("beam pieces embedding iterations length_candidates difference", Range(1)),
    **_each("guided_width", Range(0, low_out=True)),
    **_each("batch_size epochs accumulate width heads patience top lags threads", Range(1)),
    **_each("every validate_every save_every log_every valid_days valid_windows", Range(1)),
    **_each("widths depth kernels strides pools groups hidden patch latent", Range(1)),
    **_each("kernel dilations longest number speakers utterances", Range(1)),
    **_each("momentum betas dropout", Range(0, 1, high_out=True)),
    **_each("alpha dampening label_smoothing sampling", Range(0, 1)),
    **_each("shift mixup brightness contrast saturation", Range(0)),
    "padding": Range(0),
    "rotation": Range(0, 180),
    "zoom": Range(0, 1, high_out=True),
    "cutout": Range(0, 1),
    "ema": Range(0, 1, low_out=True, high_out=True),
    "seed": Range(0, 2**32 - 1),
}

# what a node may say besides its target's arguments
SPECIAL = {"_target_": str, "_partial_": bool, "_recursive_": bool, "_convert_": str}


def check(config: Node, trust: tuple[str, ...] = ()) -> None:
    """Raise UserError for the first thing in the composed, resolved config that cannot be."""
    given = config.get("trust") or []
    if not isinstance(given, list) or any(name not in trust for name in given):
        # or else a config file could widen what config files may do
        raise UserError(f"trust: {given} counts on the command line only: trust=[NAME]")
    check_targets(config, "", trust)
    _Check(config, trust).run()


def check_targets(node: object, path: str, trust: tuple[str, ...] = ()) -> None:
    """Refuse a `_target_` outside the allowlist, at any depth."""
    if isinstance(node, dict):
        if "_target_" in node:
            try:
                signature.find(node["_target_"], trust)
            except UserError as error:
                raise UserError(f"{_join(path, '_target_')}: {error}") from None
        for key, value in node.items():
            check_targets(value, _join(path, str(key)), trust)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            check_targets(value, f"{path}[{index}]", trust)


def nearest(name: str, names: list[str]) -> str | None:
    """The likeliest meant: the same last part elsewhere, or the most similar spelling."""
    parts = {other.rpartition(".")[2]: other for other in reversed(names)}
    last = name.rpartition(".")[2]
    if last in parts:
        return parts[last]
    close = difflib.get_close_matches(name, names, 1, 0.75)
    if close:
        return close[0]
    same = difflib.get_close_matches(last, parts, 1, 0.7)
    return parts[same[0]] if same else None


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _read(node: Node, trust: tuple[str, ...]) -> Signature:
    if "_target_" not in node:
        return Signature(open=True)
    found = signature.find(node["_target_"], trust)
    return signature.read(found) if found else Signature(open=True)


class _Check:
    """One pass over a config whose targets are allowed."""

    def __init__(self, config: Node, trust: tuple[str, ...]) -> None:
        self.config, self.trust = config, trust
        root = signature.find(f"{__name__}.Root")
        assert root is not None
        self.root = signature.read(root)
        # phases last: they hold copies of what was chosen in a group, whose own name says more
        self.groups = [*(group for group in GROUPS if group != "phases"), "phases"]

    def run(self) -> None:
        for name in self.root.parameters:
            # shelf only fills in model=mine, and runs of earlier versions have none
            if name not in self.config and name not in (*GROUPS, "shelf"):
                raise UserError(f"{name}: cannot be left out")
        self._arguments({key: self.config[key] for key in self.config if key not in GROUPS}, "")
        for group in sorted(self.groups, key=OPTIONAL.__contains__):
            self._chosen(group)
        for group in self.groups:
            self._node(self.config.get(group), group)
        self._node({key: self.config[key] for key in self.config if key not in GROUPS}, "")

    def _chosen(self, group: str) -> None:
        node = self.config.get(group)
        if group in OPTIONAL:
            if node is None:
                return
            self._taken(group, OPTIONAL[group])
        members = {group: node}
        if group == "phases" and isinstance(node, dict) and node:
            members = {f"phases.{name}": member for name, member in node.items()}
        for path, member in members.items():
            if isinstance(member, dict) and "_target_" in member:
                continue
            close = difflib.get_close_matches(path, set(members) - {path}, 1)
            hint = f"did you mean {close[0]}?" if close else f"choose one: {group}=NAME"
            raise UserError(f"{path}: {'no such option' if close else 'nothing chosen'}; {hint}")

    def _taken(self, group: str, user: str) -> None:
        """What was chosen must have an effect."""
        if group not in _read(self.config[user], self.trust).parameters:
            target = self.config[user]["_target_"]
            raise UserError(f"{group}: {user} is a {target}, which takes none; leave it out")

    def _node(self, node: object, path: str) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                self._arguments(node, path)
            for key, value in node.items():
                self._node(value, _join(path, str(key)))
        elif isinstance(node, list | tuple):
            for index, value in enumerate(node):
                self._node(value, f"{path}[{index}]")
        elif isinstance(node, float) and not math.isfinite(node):
            raise UserError(f"{path}: {node} is not a number to compute with")
        elif node == "???":
            raise UserError(f"{path}: has no value; give it one: {path}=...")

    def _arguments(self, node: Node, path: str) -> None:
        known = _read(node, self.trust) if path else self.root
        for key, value in node.items():
            place = _join(path, str(key))
            if key in SPECIAL:
                if not isinstance(value, SPECIAL[key]):
                    kind = "true or false" if SPECIAL[key] is bool else "text"
                    raise UserError(f"{place}: expected {kind}, got {value!r}")
            elif key in known.parameters:
                self._value(value, place, key, known)
            elif not known.open or key == "_args_":
                raise UserError(f"{place}: no such option{self._hint(place, known)}")
        if node.get("_partial_"):  # the rest comes from train.py, such as a model's sizes
            return
        for name, parameter in known.parameters.items():
            place = _join(path, name)
            if parameter.required and name not in node and place not in GROUPS:
                raise UserError(f"{place}: has no value; give it one: {place}=...")

    def _value(self, value: object, place: str, name: str, known: Signature) -> None:
        if value == "???":
            raise UserError(f"{place}: has no value; give it one: {place}=...")
        wrong = annotation.problem(value, known.parameters[name].annotation, known.aliases)
        if wrong:
            raise UserError(f"{place}: {wrong}")
        self._range(value, place, name)

    def _range(self, value: object, place: str, name: str) -> None:
        if isinstance(value, list | tuple):
            for index, one in enumerate(value):
                self._range(one, f"{place}[{index}]", name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise UserError(f"{place}: {value} is not a number to compute with")
            if name in RANGES and value not in RANGES[name]:
                raise UserError(f"{place}: {value} is out of range, it must be {RANGES[name]}")

    def _hint(self, place: str, known: Signature) -> str:
        names = list(self.names())
        parent, _, last = place.rpartition(".")
        near = difflib.get_close_matches(last, known.parameters, 1)
        meant = _join(parent, near[0]) if near else nearest(place, names)
        if meant:
            return f"; did you mean {meant}?"
        return f"; {parent or 'hlml'} takes {', '.join(known.parameters) or 'no options'}"

    def names(self) -> Iterator[str]:
        """Every option there is: what the constructors take, whether the config says it or not."""
        yield from self.root.parameters
        for group in self.groups:
            yield from self._names(self.config.get(group), group)

    def _names(self, node: object, path: str) -> Iterator[str]:
        if not isinstance(node, dict):
            return
        known = _read(node, self.trust)
        extra = [key for key in node if known.open and not str(key).startswith("_")]
        for name in dict.fromkeys([*known.parameters, *extra]):
            yield _join(path, str(name))
            yield from self._names(node.get(name), _join(path, str(name)))
