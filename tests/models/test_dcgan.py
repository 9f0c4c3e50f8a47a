"""DCGAN: sizes, labels, first weights, and what spectral normalisation promises."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from homeworks.hw6_faces.model import Model
from torch import nn

from hlml.errors import UserError
from hlml.models.dcgan import DCGAN
from hlml.models.game_layers import NORMS, WEIGHED, norm

LABELS = torch.tensor([0, -1, 2])


@pytest.mark.parametrize("size", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("residual", [False, True])
def test_any_power_of_two(size: int, residual: bool) -> None:
    model = DCGAN(3, size, 3, latent=5, width=2, residual=residual, conditional=True)
    pictures = model.generator(torch.randn(3, 5), LABELS)
    assert pictures.shape == (3, 3, size, size)
    assert pictures.abs().max() <= 1
    assert model.critic(pictures, LABELS).shape == (3,)
    # one stage for each halving down to 4 x 4, and never more than eight times the width
    stages = size.bit_length() - 3
    assert [len(model.generator.blocks) + 1, len(model.critic.blocks)] == [stages, stages]
    assert model.critic.score.in_features == 16 * 2 * min(8, 2 ** (stages - 1))


@pytest.mark.parametrize("size", [4, 28, 96, 0])
def test_another_size_is_refused_with_what_to_set(size: int) -> None:
    with pytest.raises(UserError, match=rf"{size} x {size} .*data\.size=32"):
        DCGAN(1, size, 0)


def test_no_classes_no_condition() -> None:
    with pytest.raises(UserError, match=r"model\.conditional: .*no classes"):
        DCGAN(1, 8, 0, conditional=True)


def test_first_weights_are_those_of_the_paper() -> None:
    model = DCGAN(3, 64, 0, width=24, generator_norm="batch", critic_norm="layer")
    for layer in model.modules():
        if isinstance(layer, WEIGHED) and layer.weight.numel() > 5000:
            assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        if isinstance(layer, NORMS):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.02)
        if getattr(layer, "bias", None) is not None:
            assert not layer.bias.any()


def test_a_critic_without_norms_hands_on_what_it_gets() -> None:
    """The signal keeps its size, but for what it loses at borders (in four layers of 0.02: all)."""
    torch.manual_seed(0)
    critic = DCGAN(3, 64, 0, width=24).critic
    features = critic.blocks(torch.randn(64, 3, 64, 64))
    assert 0.5 < features.square().mean().item() < 1.5


def test_labels_change_what_is_drawn_and_how_it_is_scored() -> None:
    torch.manual_seed(0)
    model = DCGAN(1, 8, 3, width=4, conditional=True).eval()
    noise = torch.randn(1, 100).expand(3, -1)
    pictures = model.generator(noise, LABELS)
    scores = model.critic(pictures[:1].expand(3, -1, -1, -1), LABELS)
    for one, other in itertools.combinations(range(3), 2):
        assert (pictures[one] - pictures[other]).abs().max() > 1e-4
        assert scores[one] != scores[other]
    plain = DCGAN(1, 8, 3, width=4)
    assert torch.equal(plain.critic(pictures, LABELS), plain.critic(pictures, LABELS.flip(0)))


def test_the_projection_is_an_inner_product_with_the_label() -> None:
    """Miyato & Koyama 2018, equation 3: f(x, y) = y' V phi(x) + psi(phi(x))."""
    torch.manual_seed(0)
    critic = DCGAN(1, 8, 3, width=4, conditional=True).critic
    pictures = torch.randn(3, 1, 8, 8)
    phi = critic.blocks(pictures).flatten(1)
    assert critic.labels is not None
    one_hot = torch.eye(4)[[0, 3, 2]]  # the last is for -1: nobody says
    expected = torch.einsum("bk,kf,bf->b", one_hot, critic.labels.weight, phi)
    expected = expected + phi @ critic.score.weight[0] + critic.score.bias
    torch.testing.assert_close(critic(pictures, LABELS), expected)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_critic_s_gradient_and_its_own_gradient_are_autograd_s(conditional: bool) -> None:
    torch.manual_seed(0)
    critic = DCGAN(3, 16, 3, width=4, conditional=conditional).critic.double()
    for weight in critic.parameters():
        nn.init.normal_(weight, std=0.3)
    assert critic.plain
    pictures = torch.randn(3, 3, 16, 16).double().requires_grad_()
    (theirs,) = torch.autograd.grad(critic(pictures, LABELS).sum(), pictures, create_graph=True)
    ours = critic.gradient(pictures, LABELS)
    torch.testing.assert_close(ours, theirs)
    weights = [weight for name, weight in critic.named_parameters() if "bias" not in name]
    for one, other in zip(
        torch.autograd.grad(ours.pow(3).sum(), weights),
        torch.autograd.grad(theirs.pow(3).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "option", [{"critic_norm": "layer"}, {"residual": True}, {"spectral": True}]
)
def test_other_critics_are_left_to_autograd(option: dict[str, Any]) -> None:
    assert not DCGAN(3, 16, 3, width=4, **option).critic.plain


def test_spectral_normalisation_makes_every_largest_singular_value_one() -> None:
    torch.manual_seed(0)
    model = DCGAN(3, 16, 3, width=4, spectral=True, residual=True, conditional=True)
    pictures = torch.randn(3, 3, 16, 16)
    for _ in range(100):
        model.critic(pictures, LABELS)
    layers = [m for m in model.critic.modules() if isinstance(m, WEIGHED)]
    assert len(layers) == 2 * 3 + 2
    for layer in layers:
        first = torch.linalg.svdvals(layer.weight.flatten(1))[0]
        torch.testing.assert_close(first, torch.tensor(1.0), rtol=0.02, atol=0)
    assert not any(nn.utils.parametrize.is_parametrized(m) for m in model.generator.modules())


@pytest.mark.parametrize("kind", ["instance", "layer", "batch"])
def test_whose_mean_a_norm_takes_away(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 5) * 3 + 2
    places = {"instance": (2, 3), "layer": (1, 2, 3), "batch": (0, 2, 3)}[kind]
    mean, variance = x.mean(places, keepdim=True), x.var(places, unbiased=False, keepdim=True)
    expected = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(norm(kind, 4)(x), expected, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


def test_the_student_s_own_model_has_the_same_interface() -> None:
    model = Model(3, 16, 0, latent=7, width=2)
    pictures = model.generator(torch.randn(2, model.latent), LABELS[:2])
    assert pictures.shape == (2, 3, 16, 16)
    assert model.critic(pictures, LABELS[:2]).shape == (2,)
