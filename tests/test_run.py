"""Whole runs through the real command: what the folder holds afterwards, and whether it agrees."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import toy_pairs
import toy_speech
from hlml import cli, compose, run_folder
from hlml.checkpoint import load
from hlml.compose import CONFIGS
from hlml.train import assemble

SHARED = Path(__file__).parents[2] / "shared" / "data"
LEVELS = sorted(
    str(path.relative_to(CONFIGS / "homework").with_suffix(""))
    for path in (CONFIGS / "homework").glob("hw*/**/*.yaml")
)
WHOLE = (
    *("hw1/births", "hw1/covid", "hw2/spoken_phonemes", "hw3/mnist5k", "hw4/spoken_speakers"),
    *("hw5/pronunciation", "hw6/cartoon_faces"),
)
# faces and speech for two steps are made faster than those for a run, and so are big networks
FEWER = {
    "cartoon_faces": ["data.number=1700"],
    "spoken_phonemes": ["data.number=80"],
    "spoken_speakers": ["data.speakers=8", "data.utterances=14"],
    "pronunciation": ["data.train_words=300", "data.valid_words=20", "data.test_words=20"],
    "phrases": ["data.number=300", "data.valid=20", "data.test=20"],
    "bitext": ["data.valid=20", "data.test=20"],
}


def hlml(folder: Path, *words: str) -> str:
    """What the command prints; called in this process, for it takes seconds to start another."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert cli.main(list(words)) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run, gone on with once."""
    folder = tmp_path_factory.mktemp("whole")
    words = ("train", "homework=hw1", "run_dir=run", "trainer.log_every=20")
    hlml(folder, *words, "trainer.epochs=12")
    hlml(folder, *words, "trainer.epochs=18", "resume=auto")
    return folder / "run"


def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_the_folder_holds_what_the_readme_says(run: Path) -> None:
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    figures = {f"figures/{n}.png" for n in ("learning_curves", "predicted_and_true", "residuals")}
    files = {"summary.json", "config.yaml", "metrics.csv", "last.pt", "best.pt", "prediction.csv"}
    assert files | figures <= names
    assert {path.parent for path in run.rglob("events.*")} == {run}  # hparams make no second run


def test_summary_checkpoint_and_table_agree(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    best = load(run / "best.pt")["best"]
    assert summary["valid"]["rmse"] == pytest.approx(best["value"])
    with (run / "metrics.csv").open() as file:
        valid = [float(row["valid/rmse"]) for row in csv.DictReader(file) if row["valid/rmse"]]
    assert min(valid) == best["value"]
    for level, threshold in yaml.safe_load((run / "config.yaml").read_text())["baselines"].items():
        if level in summary["baselines"] and isinstance(threshold, int | float):
            passed = summary["test"]["rmse"] <= threshold
            assert summary["baselines"][level] == {"threshold": threshold, "passed": passed}


def test_tensorboard_reads_a_resumed_run_as_one(run: Path) -> None:
    accumulator = events(run)
    tags = accumulator.Tags()
    quantities = ("loss", "lr", "grad_norm", "steps_per_second")
    assert {f"train/{name}" for name in quantities} | {"valid/rmse"} <= set(tags["scalars"])
    steps = [event.step for event in accumulator.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert steps == [int(row["step"]) for row in rows]
    assert {"learning_curves", "residuals"} <= set(tags["images"])
    assert {"config/text_summary", "summary/text_summary"} <= set(tags["tensors"])
    assert "custom_scalars__config__" in tags["tensors"]
    assert accumulator.Scalars("hparam/test/rmse")


def test_evaluate_and_predict_agree_with_the_report(run: Path, tmp_path: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    out = hlml(run.parent, "evaluate", "run")
    assert f"{summary['test']['rmse']:.5g}" in out
    hlml(run.parent, "predict", "run", "--output", str(tmp_path / "answers.csv"))
    assert (tmp_path / "answers.csv").read_text() == (run / "prediction.csv").read_text()


def test_a_checkpoint_of_other_options_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    words = ["train", "homework=hw1", "run_dir=run", "resume=auto", "data.lags=3"]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "was trained with data.lags=" in error
    assert "resume=run" in error  # the command that goes on


def test_baselines_go_by_their_own_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Watching r2, which should rise, turns no verdict on rmse around."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "homework=hw1", "run_dir=run", "trainer.epochs=1", "trainer.monitor=r2"]
    assert cli.main(words) == 0
    base = json.loads((tmp_path / "run" / "summary.json").read_text())["baselines"]
    assert [base[level]["passed"] for level in ("simple", "boss")] == [False, False]
    assert cli.main([*words[:2], "baselines.metric=foo"]) == 2
    assert "baselines.metric: no metric 'foo'" in capsys.readouterr().err


def test_a_model_for_other_data_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "homework=hw1", "model=cnn"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("hlml: model: CNN is for other data (")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_a_checkpoint_can_be_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue restarts the same command after a run that was killed before its first save."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("homework: hw1\n")
    words = ["train", "homework=hw1", "run_dir=run", "trainer.epochs=1"]
    assert cli.main(words) == 2
    assert cli.main([*words, "resume=auto"]) == 0


def test_a_damaged_best_is_said_and_the_run_still_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "homework=hw1", "run_dir=run", "trainer.epochs=1"]
    assert cli.main(words) == 0
    best = tmp_path / "run" / "best.pt"
    best.write_bytes(best.read_bytes()[:-100])
    assert cli.main([*words, "resume=auto"]) == 0
    assert "the last weights are reported" in capsys.readouterr().err


def test_one_process_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "homework=hw1", "run_dir=run", "trainer.epochs=1"]
    assert cli.main(words) == 0
    before = (tmp_path / "run" / "metrics.csv").read_text()
    with run_folder.lock(tmp_path / "run"):
        assert cli.main([*words, "resume=auto"]) == 2
    assert "another process" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.csv").read_text() == before


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for all levels: its archives are decoded, and its faces drawn, once."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("covid", "food-11.zip", "crypko_data.zip"):
        (folder / name).symlink_to(SHARED / name)
    toy_speech.course_files(folder)
    toy_pairs.course_files(folder)
    return folder


def words_for(level: str, decoded: Path) -> list[str]:
    """The command of a level, on the data that is here."""
    data = level.split("/")[1]
    if data in ("covid", "food11", "crypko") and not SHARED.exists():
        pytest.skip("the course's files are not here (shared/data beside the repository)")
    if data.startswith("spoken") and importlib.util.find_spec("espeakng_loader") is None:
        pytest.skip("espeak-ng is not installed (the extra speech)")
    if level.startswith("hw5") and importlib.util.find_spec("sacrebleu") is None:
        pytest.skip("sacrebleu is not installed (the extra text)")
    words = [f"homework={level}", "trainer.threads=1", *FEWER.get(data, [])]
    if data == "bitext":
        words += [f"data.source={decoded}/bitext.en", f"data.target={decoded}/bitext.zh"]
    if level in ("hw5/ted2020/strong", "hw5/ted2020/boss"):
        words += ["model.layers=1", "model.width=64"]
    rootless = ("births", "mnist5k", "pronunciation", "phrases", "sentences")
    return words if data in rootless else [*words, f"data.root={decoded}"]


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_composes_builds_and_takes_two_steps(level: str, decoded: Path) -> None:
    words = words_for(level, decoded)
    composer = compose.Composer.open(compose.parse(words))
    overrides = composer.prepare(words, multirun=False)
    data, task, trainer = assemble(compose.resolved(composer.compose(overrides), overrides))
    trainer.start(task, data)
    before = [weight.clone() for weight in task.parameters()]
    for window in itertools.islice(data.windows(0, trainer.accumulate), 2):
        trainer.train_step(window)
    pairs = zip(before, task.parameters(), strict=True)
    # a bias before a norm has no gradient, but almost everything moves
    assert sum(not torch.equal(old, new) for old, new in pairs) > len(before) / 2


@pytest.mark.parametrize("level", [f"{one}/boss" for one in WHOLE])
def test_a_whole_run_in_two_steps(
    level: str, decoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", *words_for(level, decoded), "trainer.smoke=true", "run_dir=run"]
    assert cli.main(words) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 2
    assert summary["level"] == level.split("/")[-1]
    assert cli.main(["evaluate", "run"]) == 0
    answers = next((tmp_path / "run").glob("[iop]*.[ct][sgx]*"))  # images.tgz, output.csv ...
    content = answers.read_bytes()
    assert cli.main(["predict", "run"]) == 0
    assert answers.read_bytes() == content


@pytest.mark.parametrize("select", ["best", "last", "average"])
def test_the_selected_weights_are_the_reported_ones(
    select: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evaluate --weights` finds in the file what the report scored."""
    monkeypatch.chdir(tmp_path)
    options = ["trainer.epochs=4", "trainer.validate_every=40", "trainer.ema=0.9"]
    words = ["train", "homework=hw1", "run_dir=run", *options, "trainer.average_last=3"]
    assert cli.main([*words, f"trainer.select={select}"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    shown: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, **_: shown.extend(map(str, words)))
    assert cli.main(["evaluate", "run", "--weights", select]) == 0
    assert f"{summary['valid']['rmse']:.5g}" in shown[-1]


def test_the_average_is_the_mean_of_the_last_validations(tmp_path: Path) -> None:
    from collections import deque

    import torch

    from hlml.averaging import mean

    weights = [{"w": torch.tensor([float(n), 2.0])} for n in range(3)]
    assert torch.equal(mean(deque(weights))["w"], torch.tensor([1.0, 2.0]))


def test_a_broken_run_leaves_its_folder_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loss that blows up: one line, exit 2, and everything logged before is on disk."""
    monkeypatch.chdir(tmp_path)
    words: list[Any] = [
        "train",
        "homework=hw1",
        "run_dir=run",
        "optimizer=sgd",
        "optimizer.lr=1e30",
    ]
    assert cli.main(words) == 2
    assert "is not finite" in capsys.readouterr().err
    assert (tmp_path / "run" / "config.yaml").exists()
    assert (tmp_path / "run" / "metrics.csv").read_text().startswith("step,seconds,train/loss")
