"""From a checked config node to the object it describes.

What was checked is what is called: nothing here resolves interpolations, so a text that looks
like one stays a text. (Hydra's instantiate resolves again, and may find a new `_target_` then.)
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from hlml import signature
from hlml.errors import UserError


def build(node: Any, trust: tuple[str, ...] = ()) -> Any:
    """Call the node's `_target_` with its options, inner nodes first; `_partial_`: prepare to."""
    if isinstance(node, list):
        return [build(part, trust) for part in node]
    if not isinstance(node, dict):
        return node
    options = {k: build(v, trust) for k, v in node.items() if not k.startswith("_")}
    if "_target_" not in node:
        return options
    signature.find(node["_target_"], trust)  # refuses what is not allowed, checked or not
    module, _, name = node["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), name)
    return functools.partial(target, **options) if node.get("_partial_") else target(**options)


def expect(thing: Any, kind: type, group: str) -> Any:
    """`thing`, if it is what this place of the config is for."""
    if not isinstance(thing, kind):
        raise UserError(f"{group}._target_: {type(thing).__name__} is not a {kind.__name__}")
    return thing
