"""`hlml predict` with several runs and views: the mean of the probabilities, computed by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from sklearn.metrics import accuracy_score
from torch import Tensor

from hlml import checkpoint, cli, train
from hlml.data import DataModule, Split
from hlml.data.births import Births
from hlml.ensemble import Ensemble
from hlml.errors import UserError
from hlml.evaluation import evaluate, predict
from hlml.models.piecewise import Linear
from hlml.smoothing import aba, viterbi
from hlml.task import Task
from hlml.tasks.identification import Identification
from hlml.tasks.regression import Regression
from hlml.tasks.tagging import Tagging
from toy_pictures import Columns
from toy_speech import FEATURES, Known, Small, Utterances

TRUST = "trust=[toy_pictures]"
SHIFT = {"_target_": "hlml.data.augment.Augment", "shift": 1, "border": "zero"}
OPTIMIZER = {"_target_": "torch.optim.Adam", "_partial_": True}


def config(seed: int, **data: Any) -> dict[str, Any]:
    """What a run's config.yaml holds."""
    groups: dict[str, dict[str, Any]] = {
        "data": {"_target_": "toy_pictures.Columns", **data},
        "model": {"_target_": "hlml.models.convolutional.CNN", "widths": [4]},
        "task": {"_target_": "hlml.tasks.classification.Classification"},
        "optimizer": {"_target_": "torch.optim.Adam"},
        "scheduler": {"_target_": "hlml.schedules.Constant"},
        "trainer": {"_target_": "hlml.trainer.Trainer"},
    }
    for name in ("model", "task", "optimizer", "trainer"):
        groups[name]["_partial_"] = True
    phase = {"_target_": "hlml.phase.Phase", "optimizer": groups["optimizer"]}
    options = {"homework": "hw3", "level": None, "seed": seed, "run_dir": None, "resume": None}
    return {
        **options,
        "trust": [],
        "runs": "runs",
        "baselines": {},
        **groups,
        "phases": {"main": phase},
    }


def make(name: str, seed: int, **data: Any) -> Any:
    """A run folder with random weights; its task, at rest."""
    described = config(seed, **data)
    folder = Path(name)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(described))
    _, task = train.build_task(described | {"trust": ["toy_pictures"]})
    state = {"task": task.state_dict(), "ema": {}}
    checkpoint.save(state, folder / "best.pt")
    return task.eval()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plain(task: Any, split: Split) -> Tensor:
    rows = Columns().splits[split]
    with torch.no_grad():
        found: Tensor = task.probabilities(rows.batch(torch.arange(len(rows)), 0))
    return found


def answers(path: str) -> list[int]:
    with Path(path).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["Id"]) for row in rows] == list(range(11))
    return [int(row["Category"]) for row in rows]


def accuracies(output: str) -> dict[str, list[float]]:
    """The printed table: the last two columns of each line, by what comes before."""
    lines = [line.rsplit(maxsplit=2) for line in output.splitlines() if "answers in" not in line]
    assert [words[1:] for words in lines[:1]] == [["valid", "test"]]
    return {words[0]: [float(words[1]), float(words[2])] for words in lines[1:]}


def test_several_runs_answer_by_the_mean_of_their_probabilities(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = [make(name, seed) for name, seed in (("a", 1), ("b", 2), ("c", 3))]
    assert cli.main(["predict", "a", "b", "c", TRUST]) == 0
    table = accuracies(capsys.readouterr().out)
    mean = {s: torch.stack([plain(t, s) for t in tasks]).mean(0) for s in ("valid", "test")}  # type: ignore[arg-type]
    expected = mean["test"].argmax(1).tolist()
    assert answers("a/average_predict.csv") == expected
    assert expected != plain(tasks[0], "test").argmax(1).tolist()
    for split, place in (("valid", 0), ("test", 1)):
        truth = Columns().splits[split].labels  # type: ignore[index]
        right = accuracy_score(truth, mean[split].argmax(1))
        assert table["mean of 3 run(s)"][place] == pytest.approx(right, abs=1e-4)
        alone = accuracy_score(truth, plain(tasks[1], split).argmax(1))  # type: ignore[arg-type]
        assert table["b/best.pt"][place] == pytest.approx(alone, abs=1e-4)


def test_views_are_the_plain_picture_and_the_training_augmentation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = make("a", 1, augment=SHIFT, batch_size=4)
    assert cli.main(["predict", "a", "--views", "2", "--output", "mine.csv", TRUST]) == 0
    from hlml.build import build

    rows = Columns().splits["test"].seen_through(build(SHIFT))
    with torch.no_grad():
        views = [task.probabilities(rows.batch(torch.arange(11), n)) for n in (1, 2)]
    mean = torch.stack([plain(task, "test"), *views]).mean(0)
    assert answers("mine.csv") == mean.argmax(1).tolist()
    table = accuracies(capsys.readouterr().out)
    right = accuracy_score(Columns().splits["test"].labels, mean.argmax(1))
    assert table["mean of 1 run(s), 3 views each"][1] == pytest.approx(right, abs=1e-4)


def test_mixup_does_not_mix_the_pictures_that_are_asked_about() -> None:
    make("a", 1, augment={**SHIFT, "mixup": 1.0})
    assert cli.main(["predict", "a", "--views", "1", "--output", "mixed.csv", TRUST]) == 0
    make("b", 1, augment=SHIFT)
    assert cli.main(["predict", "b", "--views", "1", "--output", "whole.csv", TRUST]) == 0
    assert answers("mixed.csv") == answers("whole.csv")


def test_one_run_without_views_answers_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    task = make("a", 1)
    assert cli.main(["predict", "a", TRUST]) == 0
    assert capsys.readouterr().out == f"11 answers in {Path('a/predict.csv')}\n"
    assert answers("a/predict.csv") == plain(task, "test").argmax(1).tolist()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a", "--views", "2"], "augment=none"),
        (["d", "--views", "2"], "augment=none"),
        (["a", "--views", "-1"], "--views -1"),
        (["a", "--views", "x"], "--views"),
        (["a", "b", "a"], "named twice"),
        (["a", "others"], "valid split"),
        (["a", "nowhere"], "nowhere"),
        (["a", "b", "data.labeled=3"], "data.labeled"),
    ],
)
def test_what_does_not_fit_is_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in (("a", {}), ("b", {}), ("others", {"labelled": 25})):
        make(name, 1, **data)
    make("d", 1, augment={"_target_": "hlml.data.augment.Augment"})
    assert cli.main(["predict", *words, TRUST]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert complaint in error


class Run:
    """As one that is opened again."""

    precision = "fp32"

    def __init__(self, data: DataModule, task: Task, name: str = "x") -> None:
        self.data, self.task = data, task.eval()
        self.folder, self.checkpoint = Path(name), Path(name)

    def open(self) -> tuple[DataModule, Task]:
        return self.data, self.task


def together(*runs: Run, views: int = 0) -> Ensemble:
    return Ensemble(list(runs), views)  # type: ignore[arg-type]


def test_numbers_are_not_averaged() -> None:
    data = Births(64, lags=3)
    with pytest.raises(UserError, match="Regression has no probabilities"):
        together(Run(data, Regression(Linear(3), data)))


# --- utterances


def tagger(seed: int, context: int = 0, batch_size: int = 6, **options: Any) -> Run:
    torch.manual_seed(seed)
    data = Utterances(batch_size, context=context, noise=3.0)
    model = Small(FEATURES * (2 * context + 1))
    model.head.weight.data *= 5  # surer than at first, or all paths stay in one class
    return Run(data, Tagging(model, data, **options), f"tagger{seed}-{batch_size}")


def listener(seed: int, batch_size: int = 6) -> Run:
    torch.manual_seed(seed)
    data = Utterances(batch_size, one_label=True)
    return Run(data, Identification(Known(), data), f"listener{seed}-{batch_size}")


@pytest.mark.parametrize(
    ("run", "options"),
    [
        (tagger, {"smoothing": "none"}),
        (tagger, {"smoothing": "aba"}),
        (tagger, {"smoothing": "viterbi"}),
        (listener, {}),
    ],
)
def test_twice_the_same_run_answers_and_scores_as_it_does_alone(run: Any, options: Any) -> None:
    """However they are batched; of a tagger as many answers as there are frames."""
    one, two = run(1, batch_size=6, **options), run(1, batch_size=2, **options)
    ensemble = together(one, two)
    assert ensemble.answers() == predict(one.task, one.data, "test")
    if run is tagger:
        lengths = one.data.splits["test"].lengths.tolist()
        assert [len(answer) for answer in ensemble.answers()] == lengths
    scores = [evaluate(one.task, one.data, split) for split in ("valid", "test")]
    accuracies = [score["accuracy"] for score in scores if score]
    assert len(ensemble.scores) == 3
    for found in ensemble.scores.values():
        assert found == pytest.approx(accuracies)


@pytest.mark.parametrize("smoothing", ["none", "aba", "viterbi"])
def test_taggers_are_averaged_and_then_smoothed_as_the_first_one_says(smoothing: Any) -> None:
    """The other one sees neighbours too, and is read in batches of another size."""
    one, two = tagger(1, smoothing=smoothing), tagger(2, context=2, batch_size=2)
    expected = []
    for row in range(5):
        parts = []
        for run in (one, two):
            data: Any = run.data
            batch = data.rows("test").batch(torch.tensor([row]), 0)
            with torch.no_grad():
                scores = run.task.model((batch.frames - data.mean) / data.std, batch.mask)  # type: ignore[operator]
            parts.append(scores.double().softmax(2))
        mean = (parts[0] + parts[1]) / 2
        found, mask = mean.argmax(2), torch.ones(mean.shape[:2], dtype=torch.bool)
        if smoothing == "aba":
            found = aba(found, mask)
        elif smoothing == "viterbi":
            found = viterbi(mean.log(), one.task.steps, mask)  # type: ignore[arg-type]
        expected.append(found[0].tolist())
    assert together(one, two).answers() == expected
    for run in (one, two):
        assert predict(run.task, run.data, "test") != expected


def test_the_mean_of_two_listeners() -> None:
    one, two = listener(1), listener(4)
    batch = one.data.rows("test").batch(torch.arange(5), 0)
    with torch.no_grad():
        parts = [run.task.scores(batch).softmax(1) for run in (one, two)]  # type: ignore[operator]
    expected = ((parts[0] + parts[1]) / 2).argmax(1).tolist()
    assert together(one, two).answers() == expected
    assert expected not in [part.argmax(1).tolist() for part in parts]


@pytest.mark.parametrize("run", [tagger, listener])
def test_utterances_have_no_views(run: Any) -> None:
    with pytest.raises(UserError, match="--views: are of pictures, and Utterances has none"):
        together(run(1), views=2)


@pytest.mark.parametrize("run", [tagger, listener])
def test_other_classes_or_other_utterances_are_refused(run: Any) -> None:
    other = run(2)
    other.data.class_names = ["sil", "aa", "m", "sh"]
    with pytest.raises(UserError, match="another list of classes than"):
        together(run(1), other)
    other = run(2)
    other.data.corpus.labels[-1] += 1
    with pytest.raises(UserError, match="another test split than"):
        together(run(1), other)
