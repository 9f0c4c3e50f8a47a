"""`level=strong data=covid` on the command line, as the preset `homework=hw1/covid/strong`.

Presets are files: configs/homework/hw1/<data set>/<level>.yaml, or where there is one data set
configs/homework/hw1/<level>.yaml; hw1.yaml beside the folder names the default one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hlml.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

ORDER = ("simple", "medium", "strong", "boss")
OVERRIDE = re.compile(r"(?P<sign>\+\+|\+|~|)(?P<key>[^=]*)(?P<value>=.*|)", re.DOTALL)


@dataclass(frozen=True)
class Preset:
    """One file: hw1/births/simple."""

    homework: str
    data: str
    level: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.homework, self.data, self.level) if part)


class Presets:
    """The presets on Hydra's search path."""

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self.loader = loader

    def homeworks(self) -> list[str]:
        return self._options("homework", folders=False)

    def data_sets(self, homework: str) -> list[str]:
        return self._options(f"homework/{homework}", folders=True)

    def levels(self, homework: str, data: str) -> list[str]:
        folder = "/".join(part for part in ("homework", homework, data) if part)
        names = self._options(folder, folders=False)
        return sorted(names, key=[*ORDER, *(n for n in names if n not in ORDER)].index)

    def paths(self, homework: str) -> list[str]:
        return [
            str(Preset(homework, data, level))
            for data in ("", *self.data_sets(homework))
            for level in self.levels(homework, data)
        ]

    def default(self, homework: str) -> Preset:
        """The preset that `homework=hw1` alone stands for."""
        result = self.loader.repository.load_config(f"homework/{homework}")
        for entry in (result and result.defaults_list) or []:
            parts = (getattr(entry, "path", None) or "").split("/")
            if parts[:3] == ["", "homework", homework] and len(parts) > 3:
                return Preset(homework, parts[3] if len(parts) > 4 else "", parts[-1])
        return Preset(homework, "", "")

    def named(self, choice: str) -> Preset:
        """The preset behind the value of homework=."""
        homework, *rest = choice.split("/")
        if not rest:
            return self.default(homework)
        if len(rest) == 1 and rest[0] in self.data_sets(homework):
            return Preset(homework, rest[0], "")
        return Preset(homework, rest[0] if len(rest) > 1 else "", rest[-1])

    def _options(self, group: str, folders: bool) -> list[str]:
        from hydra.core.object_type import ObjectType

        kind = ObjectType.GROUP if folders else ObjectType.CONFIG
        return self.loader.get_group_options(group, kind, config_name=None, overrides=[])


def rewrite(overrides: list[str], presets: Presets, multirun: bool) -> list[str]:
    """The overrides with homework, level and data as one choice; UserError: there is no such."""
    given = {key: _values(overrides, key, presets) for key in ("homework", "level", "data")}
    if not given["homework"]:
        raise UserError(f"which homework? homework=NAME, one of {', '.join(presets.homeworks())}")
    for key, values in given.items():
        if len(values) > 1 and not multirun:
            raise UserError(f"{key}={','.join(values)}: several values need -m (make: ARGS=-m)")
    for homework in given["homework"]:
        _known("homework", homework.split("/")[0], presets.homeworks())
        if homework.count("/") > 1:
            _known("homework", homework, presets.paths(homework.split("/")[0]))
    whole = all(presets.named(homework).level for homework in given["homework"])
    if whole and not given["level"] and not given["data"]:
        return overrides
    chosen: list[str] = []
    own_data = False
    for homework in given["homework"]:
        start = presets.named(homework)
        sets = presets.data_sets(start.homework)
        own = [name for name in given["data"] if name not in sets]
        if own and len(given["data"]) > len(own):
            raise UserError(
                f"data={','.join(given['data'])}: {own[0]} has no presets; run it alone"
            )
        own_data = own_data or bool(own)
        for data in given["data"] if given["data"] and not own else [start.data]:
            chosen += _levels(start, data, given["level"], presets)
    dropped = {"homework", "level"} | (set() if own_data else {"data"})
    rest = [one for one in overrides if _key(one) not in dropped]
    return [f"homework={','.join(dict.fromkeys(chosen))}", *rest]


def _levels(start: Preset, data: str, levels: list[str], presets: Presets) -> list[str]:
    there = presets.levels(start.homework, data)
    if not there:
        if levels:
            raise UserError(f"level={levels[0]}: {start.homework} has no levels")
        return [start.homework]
    default = start.level if start.level in there else there[0]
    for level in levels:
        _known("level", level, there)
    return [str(Preset(start.homework, data, level)) for level in levels or [default]]


def _known(key: str, value: str, names: list[str]) -> None:
    if value not in names:
        raise UserError(f"{key}={value}: no such {key}; {did_you_mean(value, names)}")


def _key(override: str) -> str:
    match = OVERRIDE.fullmatch(override)
    return match["key"] if match and match["sign"] != "~" else ""


def _values(overrides: list[str], key: str, presets: Presets) -> list[str]:
    """The values an override gives a key: several where it is a sweep."""
    for override in reversed(overrides):
        if _key(override) != key:
            continue
        value = override.partition("=")[2]
        if re.fullmatch(r"[\w./-]+(,[\w./-]+)*", value):
            return value.split(",")
        return _parsed(f"{key}={value}", presets)
    return []


def _parsed(override: str, presets: Presets) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    # all at once, because only then an error says which override it is about
    (parsed,) = OverridesParser.create(presets.loader).parse_overrides([override])
    if parsed.is_sweep_override():
        if not parsed.is_discrete_sweep():
            raise UserError(f"{override}: name the values: a,b,c")
        return [str(value) for value in parsed.sweep_string_iterator()]
    value = parsed.value()
    if not isinstance(value, str) or not value:
        raise UserError(f"{override}: expected a name")
    return [value]
