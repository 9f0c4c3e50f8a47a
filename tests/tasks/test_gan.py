"""The four kinds of GAN: losses, the penalty, clipping, freezing, precision, resume, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import game_toys as games
import toys
from hlml import checkpoint
from hlml.data.images import Images
from hlml.errors import UserError
from hlml.evaluation import evaluate, predict, quietly
from hlml.models.dcgan import DCGAN
from hlml.phase import Phase
from hlml.task import Progress
from hlml.tasks.adversarial import Adversarial, to_pixels, to_unit
from hlml.tasks.gan import GAN
from hlml.tasks.sngan import SNGAN
from hlml.tasks.wgan import WGAN
from hlml.tasks.wgan_gp import WGANGP

START = Progress(0, 1)
KINDS: dict[str, type[Adversarial]] = {"gan": GAN, "wgan": WGAN, "wgan_gp": WGANGP, "sngan": SNGAN}


class Blots(Images):
    """160 pictures of 8 x 8 in two classes: bright on the left, or on the right."""

    def __init__(self, classes: bool = True, channels: int = 1, batch_size: int = 16) -> None:
        super().__init__(batch_size, seed=1)
        draw = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 90, (160, channels, 8, 8), generator=draw, dtype=torch.uint8)
        labels = torch.arange(160) % 2
        pictures[labels == 0, :, :, :4] += 150
        pictures[labels == 1, :, :, 4:] += 150
        self.class_names = ["left", "right"] if classes else []
        labels = labels if classes else torch.full((160,), -1)
        parts = [(rows, labels[rows]) for rows in torch.arange(160).split([96, 32, 32])]
        self.fill(pictures, parts[0], None, parts[1], parts[2])


def task_of(kind: str, data: Any, **options: Any) -> Adversarial:
    model = DCGAN(**data.sizes(), latent=8, width=4, **options)
    return KINDS[kind](model, data, score="none")


def first_batch(data: Images) -> Any:
    return next(data.windows(0, 1))[0]


def phases(every: int = 5) -> dict[str, Phase]:
    return {"critic": Phase(games.adam(1e-3)), "generator": Phase(games.adam(1e-3), every=every)}


def test_pictures_there_and_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8)
    unit = to_unit(pixels)
    torch.testing.assert_close(unit, (pixels.double() - 127.5).div(127.5).float())
    assert (unit.min().item(), unit.max().item()) == pytest.approx((-1, 1))
    assert torch.equal(to_unit(pixels.float()), unit)
    assert torch.equal(to_pixels(unit), pixels)
    assert unit.is_contiguous(memory_format=torch.channels_last)
    assert to_pixels(torch.tensor([-1.2, 1.2])).tolist() == [0, 255]


def test_the_losses_are_the_papers() -> None:
    data = Blots()
    real, fake = torch.randn(16), torch.randn(16)
    ones, zeros = torch.ones(16), torch.zeros(16)
    scores = iter(())

    def losses(kind: str, **options: Any) -> tuple[float, float, float]:
        nonlocal scores
        task = KINDS[kind](DCGAN(**data.sizes(), width=4), data, score="none", **options)
        order = (real, fake) if kind in ("gan", "sngan") else (fake, real)
        scores = iter(order)
        task.scores = lambda pictures, labels: next(scores)  # type: ignore[method-assign]
        picture = torch.zeros(16, 1, 8, 8)
        critic = task.critic_loss(picture, picture, zeros)
        estimate = task.estimate(real, fake).mean()
        return tuple(x.item() for x in (critic, task.generator_loss(fake), estimate))  # type: ignore[return-value]

    entropy = F.binary_cross_entropy_with_logits
    both = (entropy(real, ones) + entropy(fake, zeros)).item()
    divergence = math.log(2) - both / 2
    gap = (real.mean() - fake.mean()).item()
    found = losses("gan")
    assert found == pytest.approx((both, entropy(fake, ones).item(), divergence), rel=1e-5)
    assert losses("gan", minimax=True)[1] == pytest.approx(-entropy(fake, zeros).item(), rel=1e-5)
    assert losses("wgan") == pytest.approx((-gap, -fake.mean().item(), gap), rel=1e-5)
    assert losses("wgan_gp", penalty=0.0) == pytest.approx(
        (-gap, -fake.mean().item(), gap), rel=1e-5
    )
    hinge = np.maximum(0, 1 - real.numpy()).mean() + np.maximum(0, 1 + fake.numpy()).mean()
    assert losses("sngan") == pytest.approx((hinge, -fake.mean().item(), gap), rel=1e-5)


class Plane(nn.Module):
    """A linear critic: its slope is its weight's norm everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 1)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        return self.line(pictures.flatten(1)).squeeze(1)


class Curved(Plane):
    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        return self.line(pictures.flatten(1).pow(3).tanh()).squeeze(1)


def penalised(critic: nn.Module) -> WGANGP:
    data: Any = Blots()
    model = games.Game(nn.Identity(), critic, 4)
    return WGANGP(model, data, score="none", penalty=10.0)


def test_the_penalty_of_a_linear_critic_in_closed_form() -> None:
    """10 (|w| - 1)², and its gradient 20 (|w| - 1) w / |w|."""
    task = penalised(Plane())
    weight = task.critic.line.weight
    real, fake, labels = torch.randn(8, 1, 2, 2), torch.randn(8, 1, 2, 2), torch.zeros(8)
    loss = task.penalty * (task.slopes(real, fake, labels) - 1).square().mean()
    size = weight.detach().norm()
    torch.testing.assert_close(loss.detach(), 10 * (size - 1) ** 2)
    loss.backward()
    torch.testing.assert_close(weight.grad, 20 * (size - 1) * weight.detach() / size)


def test_the_penalty_s_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    critic = Curved().double()
    task = penalised(critic)
    real, fake = torch.randn(2, 8, 1, 2, 2).double().unbind()
    weight, step = critic.line.weight, 1e-6

    def penalty() -> Tensor:
        torch.manual_seed(1)  # the same places between
        share = torch.rand(8, 1, 1, 1).double()
        between = (real + share * (fake - real)).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between, between).sum(), between, create_graph=True)
        return (slope.flatten(1).norm(dim=1) - 1).square().mean()

    (exact,) = torch.autograd.grad(penalty(), weight)
    for place in range(4):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[0, place] += sign * step
            values.append(penalty().item())
            with torch.no_grad():
                weight[0, place] -= sign * step
        assert exact[0, place].item() == pytest.approx((values[0] - values[1]) / 2 / step, rel=1e-5)
    critic.float()
    torch.manual_seed(1)
    ours = (task.slopes(real.float(), fake.float(), real) - 1).square().mean()
    (gradient,) = torch.autograd.grad(ours, critic.line.weight)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-6)


def test_a_flat_critic_has_a_penalty_and_a_finite_gradient() -> None:
    critic = Plane()
    nn.init.zeros_(critic.line.weight)
    loss = (penalised(critic).slopes(*torch.randn(2, 4, 1, 2, 2), torch.zeros(4)) - 1).square()
    loss.mean().backward()
    assert loss.tolist() == [1.0] * 4
    assert bool(critic.line.weight.grad.isfinite().all())  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["none", "layer"])  # by hand, and by autograd
def test_the_penalty_is_float32_where_the_rest_is_bf16(kind: Any) -> None:
    data = Blots()
    torch.manual_seed(0)
    task = WGANGP(DCGAN(1, 16, 0, width=4, critic_norm=kind), data, score="none")
    seen: list[torch.dtype] = []
    task.critic.blocks[0][0].register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    real, fake = torch.rand(2, 16, 1, 16, 16).unbind()
    labels = torch.zeros(16, dtype=torch.int64)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        task.scores(real, labels)
        slopes = task.slopes(real, fake, labels)
    torch.manual_seed(1)
    assert torch.equal(slopes, task.slopes(real, fake, labels))
    assert seen == [torch.bfloat16, torch.float32, torch.float32]
    assert slopes.dtype == torch.float32


def test_the_penalty_is_taken_even_where_nobody_wants_gradients() -> None:
    data = Blots()
    task = task_of("wgan_gp", data)
    with quietly(task, torch.device("cpu")):
        assert math.isfinite(task.training_step(first_batch(data), "critic", START).item())


@pytest.mark.parametrize("kind", KINDS)
def test_five_to_one_and_each_leaves_the_other_alone(kind: str) -> None:
    """Whose weights change at an update, and that no gradient is taken for the other's."""
    toys.seed()
    data = Blots()
    task = task_of(kind, data)
    changed: list[tuple[str, set[str]]] = []
    before = {name: weight.detach().clone() for name, weight in task.named_parameters()}

    def note(phase: str, then: Any = task.after_update) -> None:
        then(phase)
        moved = {
            name.partition(".")[0]
            for name, weight in task.named_parameters()
            if not torch.equal(before[name], weight)
        }
        other = task.parts()["generator" if phase == "critic" else "critic"]
        assert all(weight.grad is None for weight in other.parameters())
        changed.append((phase, moved))
        for name, weight in task.named_parameters():
            before[name] = weight.detach().clone()

    task.after_update = note  # type: ignore[method-assign]
    toys.fit(None, task, data, phases(), epochs=2)
    assert changed.count(("critic", {"critic"})) == 12
    assert changed.count(("generator", {"generator"})) == 3
    assert len(changed) == 15


def test_weights_are_within_the_clip_after_every_critic_update() -> None:
    toys.seed()
    data = Blots()
    task = WGAN(DCGAN(**data.sizes(), width=4, critic_norm="layer"), data, score="none", clip=0.01)
    largest: list[float] = []

    def note(phase: str, then: Any = task.after_update) -> None:
        then(phase)
        largest.append(max(w.detach().abs().max().item() for w in task.critic.parameters()))

    task.after_update = note  # type: ignore[method-assign]
    toys.fit(None, task, data, phases(), epochs=2)
    assert max(largest) == pytest.approx(0.01)
    assert max(w.detach().abs().max().item() for w in task.generator.parameters()) > 0.01


def test_sngan_switches_spectral_normalisation_on_for_any_critic() -> None:
    data = Blots()
    task = SNGAN(games.Game(nn.Identity(), Plane(), 4), data, score="none")
    assert nn.utils.parametrize.is_parametrized(task.critic.line, "weight")
    twice = SNGAN(DCGAN(**data.sizes(), width=4, spectral=True), data, score="none")
    assert len(twice.critic.score.parametrizations["weight"]) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [3, 7])
def test_resumed_bit_for_bit(kind: str, stop: int, tmp_path: Path) -> None:
    """Both optimizers, the noise, batch norm's statistics, the averaged generator."""

    def start() -> tuple[Adversarial, Blots]:
        toys.seed()
        data = Blots()
        return task_of(kind, data, conditional=True), data

    ends = {}
    for folder, at in (("whole", -1), ("half", stop)):
        task, data = start()
        toys.fit(tmp_path / folder, task, data, phases(2), at=at, epochs=2, ema=0.9)
        if at > 0:
            state = checkpoint.load(tmp_path / folder / "last.pt")
            task, data = start()
            toys.seed(99)
            toys.fit(tmp_path / folder, task, data, phases(2), state=state, epochs=2, ema=0.9)
        ends[folder] = checkpoint.load(tmp_path / folder / "last.pt")
    for key in ("task", "ema", "phases", "best"):
        assert_same(ends["whole"][key], ends["half"][key])


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other or one != one


def test_two_processes_share_one_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes of both together are the fakes of one process."""
    task = task_of("wgan", Blots(), generator_norm="layer").eval()
    labels = torch.full((16,), -1)
    torch.manual_seed(0)
    whole = task.fakes(labels)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr("hlml.distributed.world", lambda: 2)
        monkeypatch.setattr("hlml.distributed.rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        halves.append(task.fakes(labels[:8]))
    torch.testing.assert_close(torch.stack(halves, 1).flatten(0, 1), whole)


def test_the_estimates_are_those_of_all_valid_and_as_many_training_pictures() -> None:
    toys.seed()
    data = Blots(batch_size=12)  # 32 valid pictures: batches end raggedly
    task = task_of("wgan_gp", data).eval()
    nn.init.zeros_(task.generator.picture.weight)
    nn.init.zeros_(task.generator.picture.bias)  # fakes are all grey, whatever the noise
    found = evaluate(task, data, "valid")
    assert found is not None
    with torch.no_grad():
        grey = task.critic(torch.zeros(1, 1, 8, 8), None)
        for name, split in (("estimate", "valid"), ("estimate_train", "train")):
            rows = data.splits[split].read(torch.arange(32))  # type: ignore[index]
            expected = (task.critic(to_unit(rows), None) - grey).mean().item()
            assert found[name] == pytest.approx(expected, abs=1e-6)
    assert math.isnan(found["frechet"])
    assert found.keys() == task.directions.keys()


def test_scores_compare_fakes_with_all_training_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator that draws the training pictures themselves is at distance 0."""
    monkeypatch.setattr("hlml.tasks.adversarial.SCORED", 192)
    toys.seed()
    data = Blots(classes=False)
    task = WGANGP(DCGAN(**data.sizes(), latent=8, width=4), data)
    assert task.space == "digits"
    pictures = to_unit(data.splits["train"].read(torch.arange(96)))
    turn = iter(range(10**6))

    def copy(labels: Tensor) -> Tensor:
        return pictures[[next(turn) % 96 for _ in labels]]

    untrained = evaluate(task, data, "valid")
    task.fakes = copy  # type: ignore[method-assign]
    perfect = evaluate(task, data, "valid")
    assert untrained is not None
    assert perfect is not None
    assert perfect["frechet"] < 1e-3 * untrained["frechet"]
    assert perfect["coverage"] == 1
    assert untrained["coverage"] < 0.1


def test_answers_are_pictures_of_every_class_in_turn() -> None:
    toys.seed()
    data = Blots()
    task = task_of("wgan", data, conditional=True)
    answers = predict(task, data, "test")
    assert len(answers) == 32
    assert answers[0].shape == (1, 8, 8)
    assert answers[0].dtype == torch.uint8
    seen: list[Tensor] = []
    task.generator.register_forward_hook(lambda m, inputs, out: seen.append(inputs[1]))
    again = predict(task, data, "test")
    assert torch.cat(seen).tolist() == [0, 1] * 16
    assert all(torch.equal(one, other) for one, other in zip(answers, again, strict=True))


class Book:
    def __init__(self) -> None:
        self.pictures: dict[str, Any] = {}

    def picture(self, name: str, pixels: Any) -> None:
        self.pictures[name] = np.asarray(pixels)


def test_samples_have_a_row_for_each_class_and_stay_the_same_noise() -> None:
    toys.seed()
    data, book = Blots(), Book()
    task = task_of("wgan_gp", data, conditional=True)
    assert task.fixed_labels.tolist() == [0] * 8 + [1] * 8
    toys.seed(5)
    other = task_of("wgan_gp", data, conditional=True)
    assert torch.equal(task.fixed_noise, other.fixed_noise)
    with quietly(task, torch.device("cpu")):
        task.report(book, data, final=False)  # type: ignore[arg-type]
    side = 960 // (8 * 8) * 8 + 2  # enlarged by a whole factor, with a gap
    assert book.pictures["samples"].shape == (2 * side - 2, 8 * side - 2, 3)


def test_refusals() -> None:
    data = Blots()
    with pytest.raises(UserError, match=r"critic_norm: batch norm .*each picture's own slope"):
        WGANGP(DCGAN(1, 16, 0, critic_norm="batch"), data)
    GAN(DCGAN(1, 16, 0, critic_norm="batch"), data)  # and there alone
    with pytest.raises(UserError, match="Linear has no generator"):
        GAN(nn.Linear(1, 1), data)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"task\.score=faces: .*other channels"):
        GAN(DCGAN(**data.sizes()), data, score="faces")

    class Column(Plane):
        def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
            return self.line(pictures.flatten(1)[:, :4])

    model = DCGAN(**data.sizes(), width=4)
    model.critic = Column()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"Column.forward returned shape \(16, 1\)"):
        WGAN(model, data, score="none").training_step(first_batch(data), "critic", START)


def test_no_mixing_of_two_pictures() -> None:
    class Mix:
        mixup = 0.2

    data = Blots()
    data.augment = Mix()  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"augment\.mixup"):
        task_of("gan", data)
