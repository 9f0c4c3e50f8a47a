"""What Hydra and OmegaConf refuse, in one line each: what, where, what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import (
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError

from hlml.config import GROUPS
from hlml.errors import UserError, did_you_mean
from hlml.levels import OVERRIDE

PACKAGE = Path(__file__).parent
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}


@contextmanager
def one_line(overrides: list[str]) -> Iterator[None]:
    """Whatever Hydra raises in here is a refusal: AssertionErrors and AttributeErrors occur too."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if Path(frames[-1].f_code.co_filename).is_relative_to(PACKAGE):
            raise  # a bug of ours, to be seen as one
        raise UserError(translate(error, overrides)) from error


def translate(error: BaseException, overrides: list[str]) -> str:
    """Hydra's or OmegaConf's refusal in one line: what, where, what to do."""
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override.removeprefix('++')}: cannot be read as NAME=VALUE; values with "
            "brackets, commas or spaces need quotes: 'data.lags=[1,7]'"
        )
    if "Config group override must be a string" in str(error):
        return _unnamed(overrides)
    if isinstance(error, MissingConfigException):
        return _missing(error, overrides)
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        place = getattr(cause, "full_key", None) or _first(error).rpartition(" ")[2]
        return f"{place.removeprefix('++')}: {_first(cause) or _first(error)}"
    if isinstance(error, InterpolationKeyError):
        return f"{error.full_key}: {_first(error)}; ${{...}} must name an option that exists"
    if isinstance(error, OmegaConfBaseException):
        return f"{getattr(error, 'full_key', None) or 'config'}: {_first(error)}"
    text = _first(error)
    if "item is already at" in text:
        name = text.split("'")[1]
        return f"{name}: there is one already; write {name}=... without the +"
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        return f"{error.problem_mark.name}:{error.problem_mark.line + 1}: {error.problem}"
    return text or f"the configuration cannot be composed ({type(error).__name__})"


def _unnamed(overrides: list[str]) -> str:
    """A choice that is no name: data=null, optimizer=3."""
    keys = {one: (OVERRIDE.fullmatch(one) or {"key": ""})["key"] for one in overrides}
    choices = [one for one, key in keys.items() if key.partition("@")[0] in GROUPS]
    odd = [one for one in choices if not re.search(r"=[A-Za-z_]\w*$", one) or one.endswith("null")]
    return f"{(odd or choices or ['a choice'])[0]}: expected the name of a choice"


def _missing(error: MissingConfigException, overrides: list[str]) -> str:
    """A choice that has no file."""
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return _first(error)
    typed = any(OVERRIDE.fullmatch(one)["value"] == f"={name}" for one in overrides)  # type: ignore[index]
    if f"{group}={name}" in EXTRAS:
        return f"{group}={name}: needs a plugin: pip install 'hlml[{EXTRAS[f'{group}={name}']}]'"
    where = "" if typed else "a config file asks for it; "
    return f"{group}={name}: no such choice; {where}{did_you_mean(name, error.options or [])}"


def _first(error: object) -> str:
    """The first line that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")
