"""What a generator shows at the end of a run: copies are found, and a thousand are handed in."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from hlml.data.images import Images
from hlml.evaluation import predict, quietly
from hlml.submission import COUNT, check_images
from hlml.tasks import adversarial_report
from hlml.tasks.adversarial import to_unit
from hlml.tasks.gan import GAN

CPU = torch.device("cpu")


class Stripes(Images):
    """Gratings (60, 1, 16, 16) of random direction and width, half of each of two classes."""

    def __init__(self) -> None:
        super().__init__(16)
        self.class_names = ["thin", "wide"]
        random = torch.Generator().manual_seed(0)
        angle = torch.rand(60, 1, 1, 1, generator=random) * 3.14
        labels = torch.arange(60) % 2
        width = (1 + labels).reshape(-1, 1, 1, 1)
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        waves = ((x * angle.cos() + y * angle.sin()) / width).sin()
        rows = torch.arange(60)
        parts = [(some, labels[some]) for some in rows.split([40, 10, 10])]
        self.fill((waves * 120 + 128).byte(), parts[0], None, parts[1], parts[2])


class Draws(nn.Module):
    """Copies a training picture that the noise chooses, or makes noise of its own."""

    def __init__(self, pictures: Tensor, copies: bool) -> None:
        super().__init__()
        self.pictures, self.copies = to_unit(pictures), copies

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        number = (noise[:, 0].abs() * 1000).long() % len(self.pictures)
        copied = self.pictures[number]
        return copied if self.copies else (noise[:, 1:2, None, None] * copied).roll(5, 3).tanh()


class Game(nn.Module):
    latent = 2

    def __init__(self, data: Images, copies: bool) -> None:
        super().__init__()
        self.generator = Draws(data.splits["train"].read(torch.arange(40)), copies)
        self.critic = nn.Linear(1, 1)


class Book:
    def __init__(self) -> None:
        self.shown: dict[str, Any] = {}

    def picture(self, name: str, pixels: Any) -> None:
        self.shown[name] = np.asarray(pixels)

    def figure(self, name: str, figure: Figure) -> None:
        self.shown[name] = figure

    def text(self, name: str, markdown: str) -> None:
        self.shown[name] = markdown


def reported(task: GAN, final: bool = True) -> dict[str, Any]:
    book = Book()
    with quietly(task, CPU):
        task.report(book, task.data, final)  # type: ignore[arg-type]
    return book.shown


@pytest.mark.parametrize("copies", [True, False])
def test_a_generator_that_copies_is_found_out(copies: bool) -> None:
    data = Stripes()
    shown = reported(GAN(Game(data, copies), data))
    assert set(shown) == {
        "samples",
        "interpolation",
        "real_beside_fake",
        "nearest_training_pictures",
    }
    axes = shown["nearest_training_pictures"].axes
    labels = [one.get_xlabel() for one in axes]
    assert labels.count("fake") == adversarial_report.COPIES
    found = [label for label in labels[1::4] if "a copy" in label]
    assert len(found) == (adversarial_report.COPIES if copies else 0)
    if copies:  # and the picture beside it is the one it copied
        for fake, nearest in zip(axes[::4], axes[1::4], strict=True):
            assert (fake.images[0].get_array() == nearest.images[0].get_array()).all()


def test_before_the_end_only_samples_are_shown_and_without_a_space_no_neighbours() -> None:
    data = Stripes()
    assert set(reported(GAN(Game(data, True), data), final=False)) == {"samples"}
    without = reported(GAN(Game(data, True), data, score="none"))
    assert set(without) == {"samples", "interpolation", "real_beside_fake"}


def test_the_report_draws_the_same_each_time_and_disturbs_no_generator() -> None:
    data = Stripes()
    task = GAN(Game(data, False), data)
    before = torch.get_rng_state()
    first, second = (reported(task)["interpolation"] for _ in range(2))
    assert (first == second).all()
    assert torch.equal(torch.get_rng_state(), before)
    assert task.training


def test_a_thousand_are_handed_in_though_the_test_split_has_ten(tmp_path: Path) -> None:
    data = Stripes()
    task = GAN(Game(data, True), data)
    answers = predict(task, data, "test")
    path = tmp_path / task.answers_name(data)
    assert (path.name, len(answers)) == ("images.tgz", 10)
    task.write_answers(answers, data, path)
    assert check_images(path) == []
    with tarfile.open(path) as archive:
        files = [archive.extractfile(f"{n}.jpg").read() for n in (1, 10)]  # type: ignore[union-attr]
    for content, answer in zip(files, (answers[0], answers[9]), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        assert np.abs(shown - answer[0].numpy()).mean() < 3
    more = adversarial_report.draw(task, 6, seed=3)
    assert torch.equal(more, adversarial_report.draw(task, 6, seed=3))
    assert not torch.equal(more, adversarial_report.draw(task, 6, seed=4))
    task.write_answers([answers[0]] * (COUNT + 5), data, path)  # more than asked for
    assert check_images(path) == []


def test_the_fid_is_told_where_weights_are(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    data, seen = Stripes(), []
    monkeypatch.setattr("hlml.tasks.adversarial.find_weights", lambda place: Path(place))
    monkeypatch.setattr(
        adversarial_report, "fid", lambda real, fakes, weights: seen.append((real, fakes)) or 12.345
    )
    shown = reported(GAN(Game(data, True), data, fid="weights.pth"))
    assert shown["fid"] == "FID 12.35: 2,000 fakes against 40 training pictures"
    assert shown["fid"] in capsys.readouterr().out
    ((real, fakes),) = seen
    assert torch.equal(real, data.splits["train"].read(torch.arange(40)))
    assert len(fakes) == 2000
