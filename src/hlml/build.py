"""From a checked config node to the object it describes."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate


def build(node: dict[str, Any]) -> Any:
    """Call the node's `_target_` (a partial where it says so); nested nodes first.

    Raises what the target raised, not Hydra's wrapping of it: the user's own line stays visible.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        raise (error.__cause__ or error) from None
