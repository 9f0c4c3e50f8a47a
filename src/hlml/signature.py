"""What a `_target_` may be, and which arguments it takes: read from its source, never imported.

A target is code that a config file chooses, so the name must lead to a class written in a file
we trust: each part of the path a folder or file of the package, the last a definition in that
file. A name that a module merely imported (`hlml.cli.os.system`) leads nowhere.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from hlml.errors import UserError

OURS = Path(__file__).parent
CHECKOUT = OURS.parent.parent
TORCH = ("torch.optim.lr_scheduler", "torch.optim", "torch.nn", "torchvision.transforms.v2")
# bases that take no argument worth checking, or pass theirs on to nobody
ROOTS = {"object", "ABC", "Module", "Protocol", "Generic", "NamedTuple", "Optimizer"}


@dataclass(frozen=True)
class Parameter:
    name: str
    annotation: ast.expr | None = None
    required: bool = False


@dataclass(frozen=True)
class Signature:
    """A constructor's parameters; `open`: it takes others too, and we could not find which."""

    parameters: dict[str, Parameter] = field(default_factory=dict)
    open: bool = False
    aliases: dict[str, ast.expr] = field(default_factory=dict)  # Split = Literal["train", ...]


@dataclass(frozen=True)
class Source:
    """One parsed file of a package."""

    module: str
    path: Path
    tree: ast.Module

    def definitions(self, name: str) -> Iterator[ast.stmt]:
        for statement in self.tree.body:
            if getattr(statement, "name", None) == name:
                yield statement

    def public(self) -> list[str]:
        kinds = (ast.ClassDef, ast.FunctionDef)
        names = [statement.name for statement in self.tree.body if isinstance(statement, kinds)]
        return [name for name in names if not name.startswith("_")]


@dataclass(frozen=True)
class Definition:
    source: Source
    node: ast.ClassDef | ast.FunctionDef


def home() -> Path:
    """The folder that holds the students' `homeworks`: this one, or else the checkout."""
    return Path.cwd() if (Path.cwd() / "homeworks").is_dir() else CHECKOUT


def make_importable() -> None:
    """Let Python find `homeworks`: last, for a student's random.py must not replace Python's."""
    if (home() / "homeworks").is_dir() and str(home()) not in sys.path:
        sys.path.append(str(home()))


def allowed(trust: tuple[str, ...] = ()) -> str:
    """The prefixes of targets, for messages."""
    return ", ".join(f"{prefix}." for prefix in ("hlml", "homeworks", *TORCH[1:], *trust))


def find(target: object, trust: tuple[str, ...] = ()) -> Definition | None:
    """The definition behind a target. UserError: refused. None: trusted, but without source."""
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        raise UserError(f"{target!r} is not a dotted name")
    package, _, name = target.rpartition(".")
    if package in TORCH:
        return _find_class(target, package, name)
    top = target.split(".")[0]
    if any(target == prefix or target.startswith(f"{prefix}.") for prefix in trust):
        source = _module(package)
        return _definition(source, name) if source else None
    if top == "hlml":
        return _find_class(target, package, name)
    if top == "homeworks":
        return _find_any(target, package, name)
    raise UserError(
        f"{target!r} is not allowed; allowed are {allowed(trust)} and, for a package "
        f"of your own, trust=[{top}]"
    )


def _find_class(target: str, package: str, name: str) -> Definition:
    found = _find_any(target, package, name)
    if not isinstance(found.node, ast.ClassDef):
        raise UserError(f"{target!r} is not allowed: it must be a class")
    return found


def _find_any(target: str, package: str, name: str) -> Definition:
    source = _module(package)
    if source is None:
        raise UserError(
            f"{target!r} is not a class in a file we can find: there is no module "
            f"{package or target} (allowed are {allowed()})"
        )
    found = None if name.startswith("_") else _definition(source, name)
    if found is None:
        near = difflib.get_close_matches(name, source.public(), 1)
        hint = f"; did you mean {package}.{near[0]}?" if near else ""
        raise UserError(
            f"{target!r} is not a class written in {package} (allowed are {allowed()}){hint}"
        )
    return found


def _definition(source: Source, name: str, depth: int = 0) -> Definition | None:
    """`name` as written in this file, or in the file of the same package it comes from."""
    for statement in source.definitions(name):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            return Definition(source, statement)
    if depth < 5 and source.path.name == "__init__.py":
        for module, original in _imports(source, name):
            inner = _module(module)
            found = inner and _definition(inner, original, depth + 1)
            if found:
                return found
    return None


def _imports(source: Source, name: str) -> Iterator[tuple[str, str]]:
    """Where `from ... import name` gets it, inside the source's own package only."""
    top = source.module.split(".")[0]
    for statement in source.tree.body:
        if not isinstance(statement, ast.ImportFrom):
            continue
        module = _absolute(source, statement)
        for alias in statement.names:
            if module.split(".")[0] == top and alias.name == "*" and module != source.module:
                yield module, name
            elif module.split(".")[0] == top and (alias.asname or alias.name) == name:
                yield module, alias.name


def _absolute(source: Source, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    parts = source.module.split(".")
    depth = statement.level - (source.path.name == "__init__.py")
    base = parts[: len(parts) - depth]
    return ".".join([*base, *([statement.module] if statement.module else [])])


def _module(name: str) -> Source | None:
    """The file of a module: every part a folder or a file on disk. Nothing is imported."""
    top, *rest = name.split(".")
    for root in _roots(top):
        path = root.joinpath(*rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            # a top-level module has no folder of its own: my_code.py
            if file.is_file():
                return _parse(name, file, file.stat().st_mtime_ns)
    return None


def _roots(top: str) -> tuple[Path, ...]:
    if top == "hlml":
        return (OURS,)
    return (home() / "homeworks",) if top == "homeworks" else _installed(top)


@lru_cache
def _installed(top: str) -> tuple[Path, ...]:
    # the path-based finder alone: find_spec of an imported module could run its code's hooks
    spec = PathFinder.find_spec(top) or PathFinder.find_spec(top, [str(Path.cwd())])
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        return tuple(Path(folder) for folder in spec.submodule_search_locations)
    return (Path(spec.origin).with_suffix(""),) if spec.origin else ()


@lru_cache
def _parse(module: str, path: Path, _changed: int) -> Source:
    try:
        return Source(module, path, ast.parse(path.read_bytes()))
    except SyntaxError as error:
        line = (error.text or "").strip()
        where = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        raise UserError(f"{where}:{error.lineno}: {error.msg}: {line}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read(definition: Definition) -> Signature:
    """The parameters that a class's constructor, or a function, takes."""
    signature = _of(definition.source, definition.node, 0)
    return replace(signature, aliases=_aliases(definition.source.tree))


def _of(source: Source, node: ast.ClassDef | ast.FunctionDef, depth: int) -> Signature:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node.args, Signature(open=True))
    constructors = [
        statement
        for statement in node.body
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__"
    ]
    # the last one: those before it are overloads
    if constructors and constructors[-1].args.kwarg is None:
        return _of_function(constructors[-1].args, Signature(), skip=1)
    inherited = [_of_base(source, base, depth) for base in node.bases]
    if _is_dataclass(node):
        return _of_dataclass(node, inherited)
    base = next((one for one in inherited if one.parameters or one.open), Signature())
    return _of_function(constructors[-1].args, base, skip=1) if constructors else base


def _of_function(args: ast.arguments, base: Signature, skip: int = 0) -> Signature:
    positional = [*args.posonlyargs, *args.args]
    first_default = len(positional) - len(args.defaults)
    found = {
        arg.arg: Parameter(arg.arg, arg.annotation, index < first_default)
        for index, arg in list(enumerate(positional))[skip:]
    }
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found[arg.arg] = Parameter(arg.arg, arg.annotation, default is None)
    if args.kwarg is None:
        return Signature(found)
    # what is handed on to the base may be filled in by the class itself: nothing is required
    handed_on = {name: replace(one, required=False) for name, one in base.parameters.items()}
    return Signature({**handed_on, **found}, open=base.open)


def _of_base(source: Source, base: ast.expr, depth: int) -> Signature:
    expression = base.value if isinstance(base, ast.Subscript) else base
    name = expression.attr if isinstance(expression, ast.Attribute) else ""
    if isinstance(expression, ast.Name):
        name = expression.id
        found = _definition(source, name) or _imported(source, name)
        if found and isinstance(found.node, ast.ClassDef) and depth < 8:
            return _of(found.source, found.node, depth + 1)
    return Signature(open=name not in ROOTS)


def _imported(source: Source, name: str) -> Definition | None:
    for module, original in _imports(source, name):
        inner = _module(module)
        if inner and (found := _definition(inner, original)):
            return found
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(one) for one in node.decorator_list)


def _of_dataclass(node: ast.ClassDef, inherited: list[Signature]) -> Signature:
    found = {name: one for base in inherited for name, one in base.parameters.items()}
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        value = "" if statement.value is None else ast.unparse(statement.value)
        if "ClassVar" in ast.unparse(statement.annotation) or "init=False" in value:
            continue
        required = value == "" or ("field(" in value and "default" not in value)
        name = statement.target.id
        found[name] = Parameter(name, statement.annotation, required)
    return Signature(found, open=any(base.open for base in inherited))


def _aliases(tree: ast.Module) -> dict[str, ast.expr]:
    return {
        statement.targets[0].id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
    }
