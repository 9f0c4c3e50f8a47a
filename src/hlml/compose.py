"""From the words after `hlml train` to one composed, checked config.

Hydra composes; this file is what stands between it and the user. It is composed once: what was
checked is what runs. A plain `a.b=1` may name any argument of a constructor, listed in the config
or not, because the check afterwards knows them all.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from hlml import config
from hlml.errors import UserError
from hlml.levels import OVERRIDE, Presets, rewrite
from hlml.refusals import one_line

PACKAGE = Path(__file__).parent
SHIPPED = PACKAGE / "configs"  # in a wheel; in a checkout they lie beside src
CONFIGS = SHIPPED if SHIPPED.is_dir() else PACKAGE.parent.parent / "configs"
PATH = re.compile(
    r"(?P<key>resume|run_dir|runs|data\.root)=(?P<value>(?!null$|['\"]).+)", re.DOTALL
)
PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.", "hydra.experimental.callbacks.")


def parse(argv: list[str]) -> argparse.Namespace:
    """Hydra's own flags and the overrides, in any order."""
    command = get_args_parser()

    def refuse(message: str) -> NoReturn:
        stray = re.search(r"unrecognized arguments: --?([\w.]+=\S*)", message)
        hint = f"options have no dashes: {stray[1]}" if stray else "see hlml train --help"
        raise UserError(f"{message}; {hint}")

    command.error = refuse  # type: ignore[method-assign]
    args = command.parse_intermixed_args(argv)
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun reads a pickle, which may run code: use resume=")
    asked = (args.run, args.multirun, args.cfg, args.info, args.shell_completion)
    if sum(map(bool, asked)) > 1:
        raise UserError("only one of --run, --multirun, --cfg, --info and --shell-completion")
    if args.resolve and not args.cfg:
        raise UserError("--resolve belongs to --cfg")
    return args


class Composer(Hydra):
    """Hydra, over our configs and the user's --config-dir."""

    @classmethod
    def open(cls, args: argparse.Namespace) -> Composer:
        version.setbase("1.3")
        GlobalHydra.instance().clear()
        composer = cls.create_main_hydra2("train", _search_path(args))
        assert isinstance(composer, Composer)
        composer.presets = Presets(composer.config_loader)  # type: ignore[arg-type]
        composer.name = args.config_name or "train"
        return composer

    presets: Presets
    name: str

    def prepare(self, typed: list[str], multirun: bool) -> list[str]:
        """The overrides as Hydra shall read them."""
        with one_line(typed):
            return self._prepare(typed, multirun)

    def _prepare(self, typed: list[str], multirun: bool) -> list[str]:
        for override in typed:
            if not re.match(r"~|[^=]+=", override):
                known = override in self.presets.homeworks()
                hint = f"did you mean homework={override}?" if known else "write NAME=VALUE"
                raise UserError(f"{override}: not an option; {hint}")
        typed = [_path(override) for override in typed]
        overrides = typed if self.name != "train" else rewrite(typed, self.presets, multirun)
        groups = {"hydra", *self.config_loader.list_groups("")}
        return [_plain(override, groups) for override in overrides]

    def is_multirun(self, composed: DictConfig) -> bool:
        """A config of one's own may ask for it: hydra.mode=MULTIRUN."""
        with one_line([]):
            return bool(composed.hydra.mode == RunMode.MULTIRUN)

    def compose(self, overrides: list[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """UserError: whatever Hydra has against these overrides, in one line."""
        with one_line(overrides):
            return self.compose_config(self.name, list(overrides), mode, from_shell=False)

    def compose_config(self, *args: Any, **kwargs: Any) -> DictConfig:
        composed = super().compose_config(*args, **kwargs)
        name_preset(composed)
        return composed


def _search_path(args: argparse.Namespace) -> ConfigSearchPathImpl:
    folder = str(Path(args.config_path).resolve()) if args.config_path else str(CONFIGS)
    path = create_config_search_path(folder)
    assert isinstance(path, ConfigSearchPathImpl)
    if args.config_dir is not None:
        extra = Path(args.config_dir)
        if not extra.is_dir():
            raise UserError(f"--config-dir {extra}: no such folder")
        path.prepend(
            "command-line", f"file://{extra.resolve()}", SearchPathQuery(provider="schema")
        )
    return path


def _path(override: str) -> str:
    """A path in quotes: run folders have = and , in their names, which mean something to Hydra."""
    match = PATH.fullmatch(override)
    if match is None:
        return override
    value = match["value"].replace("'", "\\'")
    return f"{match['key']}='{value}'"


def _plain(override: str, groups: set[str]) -> str:
    """`a.b=1` as `++a.b=1`: whether there is such an option the check says better than Hydra."""
    match = OVERRIDE.fullmatch(override)
    if not match or match["sign"] or set(match["key"]) & set("/@:"):
        return override
    key = match["key"]
    choice = key in groups and not match["value"].startswith("={")  # {...}: options, not a name
    if choice or key.split(".")[0] == "hydra":
        return override
    return f"++{override}"


def texts(overrides: Any) -> list[str]:
    """Overrides as Hydra keeps them: `a=${b}` is a text here, and must not be resolved."""
    return [str(one) for one in OmegaConf.to_container(overrides, resolve=False) or ()]


def name_preset(composed: DictConfig) -> None:
    """Write the name and the level of the chosen preset into the root of the config."""
    homework, *preset = str(composed.hydra.runtime.choices.get("homework") or "").split("/")
    if homework and "," not in homework:
        with open_dict(composed):
            composed.homework = homework
            if preset:
                composed.level = preset[-1]


def trusted(overrides: list[str]) -> tuple[str, ...]:
    """The packages that `trust=[...]` on the command line names."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    names: list[str] = []
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match and match["key"] == "trust":
            value = OverridesParser.create().parse_override(override).value()
            if isinstance(value, list):
                names += [name for name in value if isinstance(name, str)]
    return tuple(names)


def resolved(composed: DictConfig, overrides: list[str]) -> dict[str, Any]:
    """The checked config as plain types. UserError: it cannot run."""
    with one_line(overrides):
        trust = trusted(overrides)
        check_hydra(composed, trust)
        plain = {str(key): _plain_types(composed, str(key)) for key in composed if key != "hydra"}
    config.check(plain, trust)
    return plain


def config_of(args: argparse.Namespace) -> dict[str, Any]:
    """The checked config that these words mean; nothing is run."""
    composer = Composer.open(args)
    try:
        overrides = composer.prepare(args.overrides, multirun=False)
        return resolved(composer.compose(overrides), overrides)
    finally:
        GlobalHydra.instance().clear()


def _plain_types(composed: DictConfig, key: str) -> Any:
    if OmegaConf.is_missing(composed, key):
        return "???"
    node = composed[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def check_hydra(composed: DictConfig, trust: tuple[str, ...]) -> None:
    """What Hydra itself would call: launcher, sweeper, callbacks, logging."""
    with read_write(composed.hydra):
        # known only when a job starts, and asked for by names of log files
        for name, value in (("runtime.output_dir", "."), ("job.num", 0), ("job.id", "0")):
            if OmegaConf.is_missing(composed.hydra[name.split(".")[0]], name.split(".")[1]):
                OmegaConf.update(composed.hydra, name, value)
    HydraConfig.instance().set_config(composed)
    for key in ("launcher", "sweeper", "callbacks", "job_logging", "hydra_logging"):
        node = composed.hydra.get(key)
        if not OmegaConf.is_config(node):
            continue
        _check_hydra_node(OmegaConf.to_container(node, resolve=True), f"hydra.{key}", trust)


def _check_hydra_node(node: Any, path: str, trust: tuple[str, ...]) -> None:
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    if "()" in node or any(
        str(value).startswith(("ext://", "cfg://"))
        and value not in ("ext://sys.stdout", "ext://sys.stderr")
        for value in node.values()
    ):
        raise UserError(f"{path}: calls something by name, which is not allowed in a config")
    target = node.get("_target_", "hlml.")
    if not isinstance(target, str) or "${" in target or not target.startswith(PLUGINS):
        config.check_targets(
            {**node, "_target_": target} if "_target_" in node else {}, path, trust
        )
    for key, value in node.items():
        _check_hydra_node(value, f"{path}.{key}", trust)
