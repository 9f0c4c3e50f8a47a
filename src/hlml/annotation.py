"""Whether a value from a config fits the annotation of the argument it is for.

Annotations are read as syntax, like the constructors they stand in: nothing is imported, so a
name from elsewhere is taken on trust. Plain types, unions, Literal and containers are checked.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Aliases = dict[str, ast.expr]  # a module's own names for types: Split = Literal["train", ...]

SCALARS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "Path": "text",
}
LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set", "frozenset"}
TUPLES = {"tuple", "Tuple"}
DICTS = {"dict", "Dict", "Mapping"}


def problem(value: object, annotation: ast.expr | None, aliases: Aliases) -> str | None:
    """What is wrong with the value, or None."""
    if fits(value, annotation, aliases):
        return None
    kinds = _members(annotation, aliases)
    kinds = [kind for kind in kinds if _known(kind)] or kinds
    expected = " or ".join(dict.fromkeys(_describe(kind, aliases) for kind in kinds))
    names = {_name(kind) for kind in kinds}
    hint = ""
    if isinstance(value, float) and value.is_integer() and "int" in names:
        hint = f"; write {int(value)}"
    elif isinstance(value, bool | int | float) and "str" in names:
        hint = f"; write it in quotes within quotes, '\"{value}\"'"
    return f"expected {expected}, got {value!r}{hint}"


def fits(value: object, annotation: ast.expr | None, aliases: Aliases) -> bool:
    kinds = _members(annotation, aliases)
    if not kinds or any(_fits_one(value, kind, aliases) for kind in kinds if _known(kind)):
        return True
    strange = [kind for kind in kinds if not _known(kind)]
    # beside plain types a class means an object, and a config describes objects by a target
    return bool(strange) and (len(strange) == len(kinds) or isinstance(value, dict))


def _members(annotation: ast.expr | None, aliases: Aliases) -> list[ast.expr]:
    """The members of a union, or the one type; nothing where anything goes."""
    return [] if annotation is None else list(_split(annotation, aliases))


def _split(annotation: ast.expr, aliases: Aliases) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        yield from _split(ast.parse(annotation.value, mode="eval").body, aliases)
    elif isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _split(annotation.left, aliases)
        yield from _split(annotation.right, aliases)
    elif _name(annotation) in ("Optional", "Union") and isinstance(annotation, ast.Subscript):
        for member in _arguments(annotation):
            yield from _split(member, aliases)
        if _name(annotation) == "Optional":
            yield ast.Constant(None)
    elif isinstance(annotation, ast.Name) and annotation.id in aliases:
        # without itself: X = X must not be followed for ever
        rest = {name: value for name, value in aliases.items() if name != annotation.id}
        yield from _split(aliases[annotation.id], rest)
    else:
        yield annotation


def _name(annotation: ast.expr) -> str:
    node = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _arguments(kind: ast.expr) -> list[ast.expr]:
    if not isinstance(kind, ast.Subscript):
        return []
    return kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]


def _known(kind: ast.expr) -> bool:
    names = {*SCALARS, *LISTS, *TUPLES, *DICTS, "Literal"}
    return isinstance(kind, ast.Constant) or _name(kind) in names


def _fits_one(value: object, kind: ast.expr, aliases: Aliases) -> bool:
    if isinstance(kind, ast.Constant):
        return value == kind.value
    name = _name(kind)
    if name in SCALARS:
        return _fits_scalar(value, name)
    if name == "Literal":
        return any(value == one and type(value) is type(one) for one in _choices(kind))
    if name in DICTS:
        return isinstance(value, dict) and _fits_values(value, kind, aliases)
    return isinstance(value, list | tuple) and _fits_items(value, kind, aliases)


def _fits_scalar(value: object, name: str) -> bool:
    if isinstance(value, bool) or name == "bool":
        return isinstance(value, bool) and name == "bool"
    if name == "float":
        return isinstance(value, int | float)
    return isinstance(value, int if name == "int" else str)


def _choices(kind: ast.expr) -> list[object]:
    return [one.value for one in _arguments(kind) if isinstance(one, ast.Constant)]


def _fits_values(value: dict[object, object], kind: ast.expr, aliases: Aliases) -> bool:
    arguments = _arguments(kind)
    return len(arguments) < 2 or all(fits(one, arguments[1], aliases) for one in value.values())


def _fits_items(value: list[object] | tuple[object, ...], kind: ast.expr, aliases: Aliases) -> bool:
    arguments = _arguments(kind)
    if _fixed(kind):
        return len(value) == len(arguments) and all(
            fits(one, argument, aliases) for one, argument in zip(value, arguments, strict=True)
        )
    return not arguments or all(fits(one, arguments[0], aliases) for one in value)


def _fixed(kind: ast.expr) -> bool:
    """tuple[int, int], and not tuple[int, ...]"""
    last = _arguments(kind)[-1:]
    endless = bool(last) and isinstance(last[0], ast.Constant) and last[0].value is ...
    return _name(kind) in TUPLES and bool(last) and not endless


def _describe(kind: ast.expr, aliases: Aliases) -> str:
    if isinstance(kind, ast.Constant):
        return "null" if kind.value is None else repr(kind.value)
    name = _name(kind)
    if name in SCALARS:
        return SCALARS[name]
    if name == "Literal":
        return " or ".join(str(one) for one in _choices(kind))
    if name in DICTS:
        return "{name: value} pairs"
    if name not in LISTS | TUPLES:
        return f"a {name} with a _target_"
    arguments = _arguments(kind)
    inner = [_describe(one, aliases) for one in _members(next(iter(arguments), None), aliases)]
    count = f"{len(arguments)} of " if _fixed(kind) else ""
    return f"a list of {count}{' or '.join(inner) or 'anything'}"
