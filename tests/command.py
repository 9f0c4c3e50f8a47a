"""The command line, called in this process with a stand-in for the half that imports torch."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hlml import cli

Train = Callable[[dict[str, Any], list[str], "Path | None"], dict[str, Any]]


@dataclass
class Command:
    """Calls `hlml`; remembers what would have been trained."""

    capsys: pytest.CaptureFixture[str]
    calls: list[tuple[dict[str, Any], list[str], Path | None]] = field(
        default_factory=list, repr=False
    )
    train: Train = lambda config, overrides, parent: {}

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self.capsys.readouterr()
        try:
            code = cli.main(list(argv))
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err

    def error(self, *argv: str) -> str:
        """The one line that a refused command prints."""
        code, _, err = self(*argv)
        assert (code, err.count("\n"), self.calls) == (2, 1, []), err
        assert err.startswith("hlml: ")
        return err.removeprefix("hlml: ").strip()

    def config(self, *argv: str) -> dict[str, Any]:
        """The config that `hlml train homework=hw1 ...` would have trained."""
        code, _, err = self("train", "homework=hw1", *argv)
        assert code == 0, err
        return self.calls[-1][0]

    def called(self, config: dict[str, Any], overrides: list[str], parent: Path | None) -> Any:
        self.calls.append((config, overrides, parent))
        return self.train(config, overrides, parent)


@pytest.fixture
def hlml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    command = Command(capsys)
    module = types.ModuleType("hlml.train")
    module.train = command.called  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hlml.train", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Hydra's --info and hydra.verbose change the root logger
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    return command
