"""The command itself: help, exit codes, one-line errors, and what it does not import."""

import errno
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import Command
from hlml import cli
from hlml.errors import UserError

HLML = str(Path(sys.executable).with_name("hlml"))
REPOSITORY = Path(__file__).parent.parent


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=100
    )


# --- the real command


NO_TORCH = """
import sys
from hlml import cli
try:
    code = cli.main(sys.argv[1:])
except SystemExit as end:
    code = end.code
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["train", "homework=hw1", "--cfg", "job"], 0),
        (["-sc", "query=bash"], 0),
        (["train", "homework=hw1", "optimizer.lrr=1"], 2),
        (["train", "homework=hw1", "model._target_=torch.load"], 2),
        (["summary", "--help"], 0),
        (["summary", "homework=hw1", "optimizer.lrr=1"], 2),
        (["evaluate", "nothing"], 2),
        (["predict"], 2),
        (["runs", "--runs", "nowhere"], 2),
    ],
)
def test_torch_is_not_imported_for(tmp_path: Path, words: list[str], code: int) -> None:
    line = "hlml train homework=hw1 optimizer.l"
    ended = run(sys.executable, "-c", NO_TORCH, *words, cwd=tmp_path, COMP_LINE=line)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("\n") == (code == 2)


def test_the_command_trains(tmp_path: Path) -> None:
    words = ("train", "homework=hw1", "trainer.smoke=true", "run_dir=here")
    ended = run(sys.executable, "-m", "hlml", *words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "here" / "summary.json").exists()


def test_nobody_has_to_read_to_the_end(tmp_path: Path) -> None:
    ended = run("bash", "-c", f"{HLML} --help | true", cwd=tmp_path)
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("nn.Linear(width, 1)", "nn.Linear(width + 1, 1)", "return self", "RuntimeError: mat1"),
        (
            "    nn.ReLU(),",
            "    nn.Relu(),",
            "nn.Relu()",
            "AttributeError: module 'torch.nn' has no",
        ),
    ],
)
def test_a_mistake_in_model_py_points_at_its_line(
    tmp_path: Path, old: str, new: str, line: str, message: str
) -> None:
    path = Path("homeworks", "hw1_regression", "model.py")
    source = (REPOSITORY / path).read_text()
    assert old in source
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source.replace(old, new, 1))
    ended = run(HLML, "train", "homework=hw1", "model=mine", "trainer.smoke=true", cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    first = ended.stderr.splitlines()[0]
    found = re.match(rf"hlml: {path}:(\d+): (.*)", first)
    assert found, ended.stderr
    assert line in (tmp_path / path).read_text().splitlines()[int(found[1]) - 1]
    assert message in found[2]
    assert "trainer.py" not in ended.stderr


# --- in this process


def test_help_fits_a_screen_and_names_what_a_student_needs(hlml: Command) -> None:
    assert hlml()[1] == hlml("--help")[1]
    out = hlml("--help")[1]
    assert len(out.splitlines()) <= 24
    for word in ("train", "optimizer=sgd", "runs", "tensorboard", "resume", "evaluate", "predict"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80
    assert "optimizer: adagrad, adam" in hlml("train", "--help")[1]
    assert hlml("--version")[1].startswith("hlml ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "trian: no such command; did you mean train?"),
        (["homework=hw1"], "homework=hw1: which command? hlml train homework=hw1"),
        (["train", "homework=hw1", "optimizer=sgdd"], "optimizer=sgdd: no such choice; did you"),
        (["train", "homework=hw1", "+optimizer.lr=3"], "optimizer.lr: there is one already"),
        (["train", "homework=hw1", "optimizer.lr=[1"], "cannot be read as NAME=VALUE"),
        (["train", "homework=hw1", "seed=1,2"], "seed=1,2"),
        (["train", "homework=hw1", "--optimizer.lr=3"], "no dashes: optimizer.lr=3"),
        (["train", "homework=hw1", "--frobnicate"], "--frobnicate"),
        (["train", "homework=hw1", "seed=${nothing}"], "seed: Interpolation key 'nothing'"),
        (["train", "homework=hw1", "seed=${seed}"], "seed: "),
        (["train", "homework=hw1", "--config-dir", "nowhere"], "nowhere: no such folder"),
        (["train", "homework=hw1", "hydra/launcher=joblib"], "pip install 'hlml[joblib]'"),
        (["train", "homework=hw1", "hydra.job.nme=x"], "hydra.job.nme"),
        (["train", "homework=hw1", "--cfg", "job", "--info"], "only one of"),
        (["train", "homework=hw1", "~optimizer.momentum"], "optimizer.momentum"),
    ],
)
def test_what_is_wrong_is_one_line(hlml: Command, words: list[str], message: str) -> None:
    assert message in hlml.error(*words)


def test_a_broken_config_file_names_file_and_line(hlml: Command, tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "bad.yaml").write_text("a: 1\nb: [\n")
    words = ("train", "homework=hw1", "--config-dir", ".", "optimizer=bad")
    assert re.search(r"bad\.yaml\S*:3: ", hlml.error(*words))


def test_hydra_flags(hlml: Command) -> None:
    code, out, _ = hlml("train", "homework=hw1", "optimizer=sgd", "--cfg", "job", "-p", "optimizer")
    assert (code, "torch.optim.SGD" in out) == (0, True)
    assert "homework: hw1" in hlml("train", "homework=hw1", "-c", "job")[1]
    assert (
        "lr: 0.5" in hlml("train", "-c", "job", "--resolve", "optimizer.lr=0.5", "homework=hw1")[1]
    )
    assert "scheduler: constant" in hlml("train", "homework=hw1", "--info", "defaults-tree")[1]
    assert "--multirun" in hlml("train", "homework=hw1", "--hydra-help")[1]
    assert hlml.calls == []


def failing(error: BaseException) -> Any:
    def train(*_: object) -> dict[str, Any]:
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("what,\n where"), 2, "hlml: what, where\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (OSError(errno.ENOSPC, "No space left on device", "x/last.pt"), 2,
         "hlml: x/last.pt: No space left on device\n"),
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError: ours"),
    ],
)  # fmt: skip
def test_how_a_run_can_end(hlml: Command, error: BaseException, code: int, message: str) -> None:
    hlml.train = failing(error)
    ended, _, err = hlml("train", "homework=hw1")
    assert (ended, message in err, "Traceback" in err) == (code, True, code == 1)


def test_what_torch_refuses_is_the_users_to_mend(hlml: Command) -> None:
    import torch

    weight = torch.nn.Parameter(torch.zeros(1))

    def train(config: dict[str, Any], *_: object) -> dict[str, Any]:
        momentum = config["optimizer"]["momentum"]
        return {"made": torch.optim.SGD([weight], lr=1, nesterov=True, momentum=momentum)}

    hlml.train = train
    assert hlml("train", "homework=hw1", "optimizer=nesterov")[0] == 0
    code, _, err = hlml("train", "homework=hw1", "optimizer=nesterov", "optimizer.momentum=0")
    assert (code, err) == (2, "hlml: Nesterov momentum requires a momentum and zero dampening\n")


def test_a_package_that_is_trusted_is_the_users(
    hlml: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        class Model:
            def __init__(self, inputs):
                self.size = 1 / inputs
    """
    (tmp_path / "ownpackage.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(tmp_path))

    def train(*_: object) -> dict[str, Any]:
        import ownpackage

        return {"model": ownpackage.Model(0)}

    hlml.train = train
    code, _, err = hlml(
        "train", "homework=hw1", "model._target_=ownpackage.Model", "trust=[ownpackage]"
    )
    assert code == 2
    assert err.startswith("hlml: ownpackage.py:4: self.size = 1 / inputs: ZeroDivisionError")


# --- anything at all

ANYTHING = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=6)
KEYS = ANYTHING | st.sampled_from([
    "optimizer", "optimizer.lr", "data.lags", "trainer", "model", "phases.main.lr", "hydra",
    "hydra.mode", "seed", "level", "data", "homework", "trust", "runs", "hydra/launcher",
    "hydra.sweep", "optimizer@x", "phases", "baselines", "hydra.callbacks", "a.b",
    "trainer.epochs", "resume", "hydra.sweeper.params", "hydra.verbose", "hydra.job_logging",
    "hydra.job.num", "~", "-m", "hydra.overrides.task", "hydra.runtime.choices",
    "homework/hw1", "model._target_", "trainer._partial_",
])  # fmt: skip
VALUES = ANYTHING | st.sampled_from([
    "1", "-1", "nan", "[1,2]", "{a:1}", "null", "???", "${seed}", "${x}", "${oc.env:NOPE}",
    "adam", "1,2", "range(3)", "choice(a,b)", "'", "[", "{", "interval(0,1)", "${", "true",
    "strong", "births", "1e400", "\\", "glob(*)", "int(3.5)", "é", "${hydra:job.num}",
    "MULTIRUN", "RUN", "{_target_:os.system}", "sort(3,2,1)", "[[1],[2]]", "${.lr}", "x=y",
])  # fmt: skip
OVERRIDES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "+", "++", "~", "-", "--"]), KEYS, st.sampled_from("=="), VALUES,
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OVERRIDES | KEYS, max_size=3), st.booleans())
def test_any_words_end_in_0_or_2_and_one_line(
    hlml: Command, words: list[str], multirun: bool
) -> None:
    code, _, err = hlml("train", "homework=hw1", *words, *(["-m"] if multirun else []))
    assert code in (0, 2), err
    assert "Traceback" not in err
    assert code == 0 or err.count("\n") == 1


def test_main_reads_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hlml"])
    assert cli.main() == 0
    assert capsys.readouterr().out == cli.HELP
