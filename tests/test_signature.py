"""What a `_target_` may be: nothing but classes written in files we trust."""

import sys
from pathlib import Path

import pytest

from command import Command
from hlml import signature
from hlml.errors import UserError

ATTACKS = [
    "torch.load", "torch.save", "torch.hub.load", "torch.utils.cpp_extension.load_inline",
    "torch.jit.load", "torch.serialization.add_safe_globals", "torch.optim.Adam.__init__",
    "torch.optim.adam.Adam", "torch.optim.lr_scheduler.math.sqrt",
    "torch.optim.lr_scheduler.partial", "torch.nn.functional.relu",
    "torch.nn.modules.linear.Linear", "torch.nn.init.ones_", "torch.nn.factory_kwargs",
    "torch.nn.Module.load_state_dict", "torch.nn.os.system", "torch.nn._reduction",
    "builtins.open", "builtins.eval", "builtins.exec", "builtins.__import__", "pathlib.Path",
    "pathlib.Path.write_text", "os.system", "os.makedirs", "posix.system", "subprocess.Popen",
    "subprocess.run", "urllib.request.urlopen", "joblib.load", "numpy.load", "pickle.loads",
    "yaml.unsafe_load", "runpy.run_path", "shutil.rmtree", "ctypes.CDLL", "logging.os.system",
    "importlib.import_module", "functools.partial", "hydra.utils.call",
    "hydra.utils.instantiate", "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hlml.cli.os.system", "hlml.cli.main", "hlml.cli.importlib.import_module",
    "hlml.config.difflib.SequenceMatcher", "hlml.signature.Path", "hlml.signature.sys.exit",
    "hlml.compose.Hydra", "hlml.launch.start", "hlml.checkpoint.torch.load",
    "hlml.data.module.torch", "hlml.signature._parse", "hlml", "hlml.cli", "hlml.nothing.X",
    "homeworks.os.system", "homeworks.hw1_regression.model.nn.Linear",
    "homeworks.hw1_regression.model.Tensor", "hlmlevil.X", "hlml..cli.X", ".hlml.X",
    "hlml/../evil.X", "hlml.cli:main", "antigravity.fly",
    "torchvision.transforms.v2.functional.resize", "torchvision.transforms.v2.query_size",
    "torchvision.transforms.v2._misc.Lambda", "torchvision.transforms.v2._utils.Any",
    "torchvision.io.write_file", "torchvision.datasets.utils.download_url",
    "torchvision.transforms.Lambda", "torchvision.transforms.v2.nothing.X",
]  # fmt: skip


@pytest.mark.parametrize("target", ATTACKS)
def test_an_attack_is_refused_from_the_command_line(hlml: Command, target: str) -> None:
    before = set(sys.modules)
    message = hlml.error("train", "homework=hw1", f"model._target_='{target}'")
    assert "model._target_" in message
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not new & {"antigravity", "joblib", "runpy", "torchvision"}


PLACES = [
    ("++model.inner={_target_: os.system}",),
    ("++model.list=[1,[{_target_: os.system, _partial_: true}]]",),
    ("++baselines.x._target_=os.system",),
    ("+anything={a: {b: [{_target_: os.system}]}}",),
    ("level=simple", "++model._target_=${baselines.metric}", "baselines.metric=os.system"),
    ("phases.main._target_=os.system",),
    ("++hydra.callbacks.x._target_=os.system",),
    ("++hydra.callbacks.x={_target_: hydra.utils.call}",),
    ("hydra.launcher._target_=os.system",),
    ("hydra.sweeper._target_=os.system",),
    ("++hydra.job_logging.handlers.x.stream='ext://os.environ'",),
    ("++model._target_=[os.system]",),
    ("++model._target_={a: 1}",),
    ("model._target_=os.system", "--cfg", "job"),
    ("model._target_=os.system", "-m", "seed=1,2"),
    ("model._target_=hlml.models.piecewise.Linear,os.system", "-m"),
]


@pytest.mark.parametrize("words", PLACES, ids=" ".join)
def test_an_attack_is_found_wherever_it_stands(hlml: Command, words: tuple[str, ...]) -> None:
    message = hlml.error("train", "homework=hw1", *words)
    assert any(reason in message for reason in ("allowed", "a dotted name"))


@pytest.mark.parametrize("handler", ["{(): os.system}", "{stream: ext://os.environ}"])
def test_logging_calls_nothing_by_name(hlml: Command, tmp_path: Path, handler: str) -> None:
    (tmp_path / "homework").mkdir()
    (tmp_path / "homework" / "sly.yaml").write_text(
        "# @package _global_\ndefaults: [/homework/hw1]\n"
        f"hydra: {{job_logging: {{handlers: {{x: {handler}}}}}}}\n"
    )
    assert "by name" in hlml.error("train", "homework=sly", "--config-dir", ".")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that leaves a trace when it is imported."""
    (tmp_path / "evil").mkdir()
    trace = tmp_path / "imported"
    code = f"open({str(trace)!r}, 'w').close()\nclass Model:\n    def __init__(self, inputs): ...\n"
    (tmp_path / "evil" / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return trace


def test_nothing_is_imported_before_or_by_the_check(hlml: Command, evil: Path) -> None:
    message = hlml.error("train", "homework=hw1", "model._target_=evil.Model")
    assert "trust=[evil]" in message
    assert "hlml., homeworks., torch.optim., torch.nn." in message
    words = ("model=linear", "model._target_=evil.Model", "trust=[evil]")
    assert hlml.config(*words)["model"]["_target_"] == "evil.Model"
    assert not evil.exists()


def test_trust_is_of_whole_names(hlml: Command, evil: Path) -> None:
    assert "not allowed" in hlml.error(
        "train", "homework=hw1", "model._target_=evil.Model", "trust=[evi]"
    )


@pytest.mark.parametrize(
    "target",
    [
        "hlml.data.births.Births",
        "hlml.data.TensorRows",  # through the package's own __init__
        "hlml.phase.Phase",
        "torch.optim.Adam",
        "torch.optim.lr_scheduler.StepLR",
        "torch.nn.Linear",
        "torch.nn.MSELoss",
        "torchvision.transforms.v2.RandomAffine",
    ],
)
def test_what_is_meant_to_be_used_is_allowed(target: str) -> None:
    assert signature.find(target) is not None


def test_a_misspelt_class_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean hlml\.data\.births\.Births"):
        signature.find("hlml.data.births.Birth")


def test_a_pickle_cannot_be_rerun(hlml: Command, tmp_path: Path) -> None:
    (tmp_path / "x.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "pickle" in hlml.error("train", "--experimental-rerun", "x.pickle")
