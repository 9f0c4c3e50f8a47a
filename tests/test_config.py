"""The check of the composed config: names, types, ranges, and what was chosen."""

import ast
import inspect
import math
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from command import Command
from hlml import annotation, config, signature
from hlml.config import RANGES
from hlml.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"
TYPOS = [
    ("optimizer.lrr=3", "optimizer.lrr: no such option; did you mean optimizer.lr?"),
    ("lr=3", "lr: no such option; did you mean optimizer.lr?"),
    ("model.lr=3", "model.lr: no such option; did you mean optimizer.lr?"),
    ("epochs=3", "epochs: no such option; did you mean trainer.epochs?"),
    ("trainer.epoch=3", "trainer.epoch: no such option; did you mean trainer.epochs?"),
    ("sed=3", "sed: no such option; did you mean seed?"),
    ("phases.main.clipnorm=1", "did you mean phases.main.clip_norm?"),
    ("phases.mian.lr=1", "phases.mian: no such option; did you mean phases.main?"),
]


@pytest.mark.parametrize("sign", ["", "+", "++"])
@pytest.mark.parametrize(("typo", "message"), TYPOS)
def test_a_typo_is_one_line_with_the_nearest_name(
    hlml: Command, sign: str, typo: str, message: str
) -> None:
    assert message in hlml.error("train", "homework=hw1", sign + typo)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.epochs=many", "trainer.epochs: expected a whole number, got 'many'"),
        ("trainer.epochs=1e3", "trainer.epochs: expected a whole number, got 1000.0; write 1000"),
        ("trainer.epochs=true", "expected a whole number, got True"),
        ("optimizer.lr=fast", "optimizer.lr: expected a number, got 'fast'"),
        ("trainer.smoke=1", "trainer.smoke: expected true or false, got 1"),
        ("trainer.precision=fp8", "expected fp32 or bf16 or fp16, got 'fp8'"),
        ("trainer.threads=all", "trainer.threads: expected a whole number or auto, got 'all'"),
        ("optimizer.betas=[1]", "optimizer.betas: expected a list of 2 of a number"),
        ("seed=null", "seed: expected a whole number, got None"),
        ("optimizer={lrr:1}", "optimizer.lrr: no such option; did you mean optimizer.lr?"),
        ("optimizer=3", "optimizer=3: expected the name of a choice"),
        ("data=null", "data=null: expected the name of a choice"),
        ("++trainer._partial_=maybe", "trainer._partial_: expected true or false"),
        ("++data._args_=[1]", "data._args_: no such option"),
    ],
)
def test_a_wrong_type_says_what_was_expected(hlml: Command, override: str, message: str) -> None:
    assert message in hlml.error("train", "homework=hw1", override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr: -1 is out of range, it must be above 0"),
        ("optimizer.lr=0", "it must be above 0"),
        ("optimizer.lr=nan", "optimizer.lr: nan is not a number to compute with"),
        ("optimizer.lr=inf", "inf is not a number"),
        ("optimizer.betas=[0.9,1.0]", "optimizer.betas[1]: 1.0 is out of range"),
        ("optimizer.weight_decay=-0.1", "it must be 0 or more"),
        ("data.batch_size=0", "data.batch_size: 0 is out of range, it must be 1 or more"),
        ("trainer.ema=1.0", "it must be above 0 and below 1"),
        ("phases.main.clip_norm=0", "phases.main.clip_norm: 0 is out of range"),
        ("phases.main.lr=nan", "phases.main.lr: nan is not a number"),
        ("seed=4294967296", "it must be 0 or more and 4294967295 or less"),
        ("seed=-1", "seed: -1 is out of range"),
        ("+baselines.mine=nan", "baselines.mine: nan is not a number"),
        ("data.lags=[7,0]", "data.lags[1]: 0 is out of range"),
    ],
)
def test_a_value_out_of_range_says_the_range(hlml: Command, override: str, message: str) -> None:
    assert message in hlml.error("train", "homework=hw1", override)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_every_range_speaks_of_its_ends_and_refuses_beyond(name: str) -> None:
    allowed = RANGES[name]
    assert str(allowed)
    assert math.nan not in allowed
    for end, out in ((allowed.low, allowed.low_out), (allowed.high, allowed.high_out)):
        if math.isfinite(end):
            assert (end in allowed) is not out
    assert allowed.low - 1 not in allowed
    assert not math.isfinite(allowed.high) or allowed.high + 1 not in allowed


def test_an_argument_needs_no_line_in_a_config_file(hlml: Command) -> None:
    assert hlml.config("optimizer.amsgrad=true")["optimizer"]["amsgrad"] is True


@pytest.mark.parametrize("path", ["a b", "x=1,y=[1,7]_3f", "it's", "C:\\runs", "(q"])
def test_a_path_may_have_any_sign_in_it(hlml: Command, path: str) -> None:
    """Run folders have = and , in their names, and the printed command must work."""
    composed = hlml.config(f"resume={path}", f"run_dir={path}")
    assert (composed["resume"], composed["run_dir"]) == (path, path)


def test_a_whole_number_is_a_fine_number(hlml: Command) -> None:
    assert hlml.config("optimizer.lr=1")["optimizer"]["lr"] == 1


def test_optimizer_and_scheduler_act_on_every_phase(hlml: Command) -> None:
    composed = hlml.config("optimizer=nesterov", "optimizer.lr=0.3", "scheduler=cosine")
    phase = composed["phases"]["main"]
    assert phase["optimizer"] == composed["optimizer"]
    assert (phase["optimizer"]["nesterov"], phase["optimizer"]["lr"]) == (True, 0.3)
    assert phase["schedule"]["_target_"] == "hlml.schedules.Cosine"


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={path.stem}"
        for group in ("optimizer", "scheduler", "trainer", "phases")
        for path in sorted((CONFIGS / group).glob("*.yaml"))
    ],
)
def test_every_choice_passes_its_own_check(hlml: Command, choice: str) -> None:
    hlml.config(choice)


def test_the_trainers_config_repeats_its_signature() -> None:
    """The file is there to be read and completed; a default lives in the signature."""
    from hlml.trainer import Trainer

    listed = yaml.safe_load((CONFIGS / "trainer" / "default.yaml").read_text())
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(Trainer).parameters.items()
        if name != "phases"
    }
    assert listed == {"_target_": "hlml.trainer.Trainer", "_partial_": True, **defaults}


def test_trust_counts_on_the_command_line_only(hlml: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "homework").mkdir(parents=True)
    preset = tmp_path / "mine" / "homework" / "sly.yaml"
    preset.write_text("# @package _global_\ndefaults: [/homework/hw1]\ntrust: [os]\n")
    assert "trust" in hlml.error("train", "homework=sly", "--config-dir", "mine")
    assert hlml.config("trust=[os]")["trust"] == ["os"]


@pytest.mark.parametrize("name", ["seed", "runs", "baselines"])
def test_an_option_of_the_run_cannot_be_deleted(hlml: Command, name: str) -> None:
    assert name in hlml.error("train", "homework=hw1", f"~{name}")


def test_a_missing_value_is_asked_for(hlml: Command) -> None:
    assert "model.width: has no value" in hlml.error(
        "train", "homework=hw1", "model=piecewise", "model.width=???"
    )
    assert "scheduler.every: has no value" in hlml.error(
        "train", "homework=hw1", "scheduler=step", "~scheduler.every"
    )


# --- annotations and signatures, on sources written here


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", [1, -1], [1.0, True, "1", None, [1]]),
        ("float", [1, 1.5], [True, "1", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["a"], [1, None]),
        ("int | None", [1, None], [1.5, "a"]),
        ("Optional[int]", [1, None], [1.5]),
        ("Union[int, str]", [1, "a"], [1.5, None]),
        ("list[int]", [[], [1]], [1, ["a"], [1, 1.5]]),
        ("int | list[int]", [1, [1, 2]], ["a", ["a"]]),
        ("tuple[int, float]", [[1, 2.5]], [[1], [1, 2, 3], 1]),
        ("tuple[int, ...]", [[1, 2, 3], []], [["a"], 1]),
        ("dict[str, int]", [{"a": 1}], [{"a": "b"}, 1]),
        ('Literal["a", "b"]', ["a"], ["c", 1, None]),
        ('int | Literal["auto"]', [1, "auto"], ["all"]),
        ("Alias", ["x"], ["y"]),
        ('"int"', [1], ["a"]),
        ("Somewhere", [1, "a", {}], []),
        ("Somewhere | None", [None, {"_target_": "x"}], [1, "a"]),
        ("float | Tensor", [1.5, {"_target_": "x"}], ["a"]),
        ("Callable[..., Tensor]", [{}], []),
        ("Any", [1, None, []], []),
        ("Loop", [], []),
    ],
)
def test_what_fits_an_annotation(kind: str, good: list[object], bad: list[object]) -> None:
    parsed = ast.parse(kind, mode="eval").body
    aliases = {
        "Alias": ast.parse('Literal["x"]', mode="eval").body,
        "Loop": ast.parse("Loop | int", mode="eval").body,
    }
    assert [value for value in good if annotation.problem(value, parsed, aliases)] == []
    assert [value for value in bad if not annotation.problem(value, parsed, aliases)] == []


SOURCE = """
    from dataclasses import dataclass, field
    from torch import nn
    from .base import Elsewhere
    class Base:
        def __init__(self, a: int, b: int = 1): ...
    class Own(Base):
        def __init__(self, c, **rest): ...
    class Inherits(Base):
        pass
    class Closed(Base):
        def __init__(self, *, only: int): ...
    class Unknown(Stranger):
        pass
    class Follows(Elsewhere):
        def __init__(self, mine=1, **kwargs): ...
    class Model(nn.Module):
        pass
    @dataclass
    class Data:
        x: int
        y: list = field(default_factory=list)
        z: int = field(init=False)
    def function(u, v=1): ...
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Own", {"a": False, "b": False, "c": True}),
        ("Inherits", {"a": True, "b": False}),
        ("Closed", {"only": True}),
        ("Follows", {"far": False, "mine": False}),
        ("Model", {}),
        ("Data", {"x": True, "y": False}),
        ("function", {"u": True, "v": False}),
    ],
)
def test_signatures_are_read_from_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: dict[str, bool]
) -> None:
    folder = tmp_path / "homeworks" / "hw9"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(textwrap.dedent(SOURCE))
    (folder / "base.py").write_text("class Elsewhere:\n    def __init__(self, far): ...\n")
    monkeypatch.chdir(tmp_path)
    found = signature.find(f"homeworks.hw9.model.{name}")
    assert found is not None
    read = signature.read(found)
    assert {key: one.required for key, one in read.parameters.items()} == expected
    assert not read.open


def test_a_base_that_cannot_be_found_leaves_the_signature_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "homeworks"
    folder.mkdir()
    (folder / "model.py").write_text(textwrap.dedent(SOURCE))
    monkeypatch.chdir(tmp_path)
    found = signature.find("homeworks.model.Unknown")
    assert found is not None
    assert signature.read(found).open


def test_signatures_of_torch_equal_those_python_sees() -> None:
    import torch

    for name in ("Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "lr_scheduler.StepLR"):
        found = signature.find(f"torch.optim.{name}")
        assert found is not None
        module = torch.optim.lr_scheduler if "." in name else torch.optim
        real = inspect.signature(getattr(module, name.rpartition(".")[2]))
        assert list(signature.read(found).parameters) == list(real.parameters)


def test_a_syntax_error_in_a_target_names_file_and_line(hlml: Command, tmp_path: Path) -> None:
    folder = tmp_path / "homeworks" / "hw1_regression"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("import os\nclass Model(:\n    pass\n")
    message = hlml.error("train", "homework=hw1", "model=mine")
    assert re.search(r"homeworks/hw1_regression/model\.py:2: .*class Model\(:", message)


def test_nearest_prefers_the_same_last_part() -> None:
    names = ["optimizer.lr", "phases.main.lr", "model.width"]
    assert config.nearest("lr", names) == "optimizer.lr"
    assert config.nearest("widht", names) == "model.width"
    assert config.nearest("zzz", names) is None


def test_the_check_needs_no_import(hlml: Command) -> None:
    with pytest.raises(UserError, match="not allowed"):
        config.check_targets([{"a": {"_target_": "antigravity.webbrowser"}}], "model")
