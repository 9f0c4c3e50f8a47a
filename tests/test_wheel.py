"""A wheel built from the tree works where there is no checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("hlml-*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, elsewhere: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-m", "hlml", *words]
    done = subprocess.run(
        command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_carries_what_it_needs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = {f"hlml/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert tracked <= names
    assert {"hlml/py.typed", "hlml/data/births_1969_1988.txt.xz"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"hlml", wheel_info(wheel)}
    assert not [name for name in names if name.endswith(".pyc")]


def wheel_info(wheel: Path) -> str:
    name, version, *_ = wheel.name.split("-")
    return f"{name}-{version}.dist-info"


def test_it_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{wheel_info(wheel)}/METADATA").decode()
    assert "Requires-Python: <3.14,>=3.11" in metadata
    assert "License-Expression: MIT" in metadata


def test_it_is_the_wheel_that_runs(unpacked: Path, tmp_path: Path) -> None:
    code = "import hlml; print(hlml.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(unpacked)


def test_it_finds_its_configs(unpacked: Path, tmp_path: Path) -> None:
    config = run(unpacked, tmp_path, "train", "homework=hw1", "--cfg", "job")
    assert "hlml.trainer.Trainer" in config


def test_it_finds_its_data_and_trains(unpacked: Path, tmp_path: Path) -> None:
    run(unpacked, tmp_path, "train", "homework=hw1", "trainer.smoke=true", "run_dir=out")
    summary = json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))
    assert "rmse" in summary["valid"]
