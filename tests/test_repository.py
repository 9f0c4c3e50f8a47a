"""The promises about the repository itself, counted: sizes, imports, the lock file, names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/hlml"
SOURCES = sorted(SRC.rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
FUNCTION_LINES = 40
MADE_BY_MAKE = ("pictures", "speech", "text")  # the extras that `make` installs

# Entry points are what a person starts; only they may know Hydra and its DictConfig.
ENTRY_POINTS = {
    *("hlml.cli", "hlml.launch", "hlml.compose", "hlml.completion", "hlml.config", "hlml.build"),
    *("hlml.train", "hlml.evaluate", "hlml.predict", "hlml.runs", "hlml.multirun", "hlml.summary"),
    *("hlml.translate", "hlml.backtranslate"),
}
# What is imported under another name than it is installed by.
INSTALLED_AS = {
    **{"hydra": "hydra-core", "yaml": "pyyaml", "PIL": "pillow", "dicebear": "dicebear-core"},
    **{"dicebear_styles": "dicebear-styles", "resvg_py": "resvg-py"},
    "torch_fidelity": "torch-fidelity",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything that can run: what only a type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from runtime_nodes(child)


def imports(module: str) -> set[str]:
    """The modules that `module` imports, at its top or in a function."""
    found = set()
    for node in runtime_nodes(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            # `from hlml import checkpoint` asks for the module, not for what hlml/__init__ has
            found |= inner or {str(node.module)}
    return found


def reach(module: str) -> set[str]:
    """Every module, ours or not, that comes along with `module`."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imports(current) if current in MODULES else ()
    return seen - {module}


def below(*packages: str) -> set[str]:
    return {name for name in MODULES if name.startswith(packages)}


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_trainer_stays_readable() -> None:
    assert lines(SRC / "trainer.py") <= 300


@pytest.mark.parametrize("path", sorted((SRC / "models").glob("*.py")), ids=lambda p: p.stem)
def test_a_model_fits_one_file(path: Path) -> None:
    assert lines(path) <= 150


def test_functions_are_short() -> None:
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long.append(f"{path.name}: {node.name} has {length} lines")
    assert not long


def test_there_is_less_config_than_code() -> None:
    assert sum(map(lines, CONFIGS)) < sum(map(lines, SOURCES))


def test_the_trainer_knows_no_homework_and_no_config() -> None:
    forbidden = ENTRY_POINTS | {"hydra", "omegaconf"} | below("hlml.models", "hlml.tasks")
    assert not reach("hlml.trainer") & forbidden


def test_tasks_know_no_trainer_and_models_know_no_task() -> None:
    above_tasks = ENTRY_POINTS | {"hydra", "omegaconf", "hlml.trainer"}
    for task in below("hlml.tasks"):
        assert not reach(task) & above_tasks, task
    for model in below("hlml.models"):
        ours = {name for name in imports(model) if name.startswith("hlml")}
        assert not ours - below("hlml.models") - {"hlml.errors", "hlml.tokens"}, model


def test_data_knows_no_task_and_no_model() -> None:
    above_data = ENTRY_POINTS | {"hlml.trainer"} | below("hlml.models", "hlml.tasks")
    for data in below("hlml.data"):
        assert not reach(data) & above_data, data


def test_the_library_does_not_ask_which_homework_it_is() -> None:
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # a message may give hw1 as an example; no decision may depend on it
            if isinstance(node, ast.Compare | ast.match_case | ast.Subscript):
                assert not re.search(r"['\"]hw\d", ast.unparse(node)), f"{name}:{ast.unparse(node)}"


def test_every_import_is_declared() -> None:
    extras = project()["optional-dependencies"]
    known = (*MADE_BY_MAKE, "fid")
    lines = [*project()["dependencies"], *(line for name in known for line in extras[name])]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    allowed = sys.stdlib_module_names | {"hlml"}
    for module in MODULES:
        for name in imports(module):
            top = name.partition(".")[0]
            if top not in allowed:
                assert INSTALLED_AS.get(top, canonicalize_name(top)) in declared, (
                    f"{module} imports {name}"
                )


def test_the_command_starts_without_torch() -> None:
    code = (
        "import sys, hlml.cli, hlml.completion, hlml.compose, hlml.launch;"
        "print(sorted({'torch', 'numpy', 'matplotlib'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def project() -> dict[str, list[str]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, list[str]] = tomllib.load(file)["project"]
    return table


def locked() -> dict[str, list[str]]:
    """Package -> versions: more than one where Python versions need different ones."""
    versions: dict[str, list[str]] = {}
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def test_the_lock_file_is_in_step() -> None:
    versions = locked()
    extras = project()["optional-dependencies"]
    installed = ("dev", *MADE_BY_MAKE)
    for line in [
        *project()["dependencies"],
        *(line for name in installed for line in extras[name]),
    ]:
        wanted = Requirement(line)
        found = versions.get(canonicalize_name(wanted.name), [])
        assert found, f"{wanted.name} is not in requirements.lock: make lock"
        assert all(wanted.specifier.contains(v) for v in found), f"{line}, {found}: make lock"


def test_the_lock_file_has_hashes_and_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^ *(-f|-i|--(extra-)?index-url|--find-links)\b", text, re.MULTILINE)
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)


def test_no_file_names_a_machine_or_a_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    # put together here, so that this file does not name what it forbids
    folders = "|".join(("work", "tmp", "root", "opt", "home", "Users"))
    hosts = "|".join(("py" + "pi", "python" + "hosted", "art" + "ifactory"))
    forbidden = re.compile(rf"(?<![\w.}}>/*])/(?:{folders})/\w|\b(?:{hosts})\.\w".encode())
    named = []
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            named += [f"{name}: {hit.group()!r}" for hit in forbidden.finditer(path.read_bytes())]
    assert not named
