"""The feature spaces: frozen files, any size and type of picture, and worse is worse."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hlml import features
from hlml.errors import UserError
from hlml.features import SPACES, FeatureSpace
from hlml.scores import Score

WEIGHTS = Path(features.__file__).parent / "weights"


def digits() -> Tensor:
    """(400, 1, 28, 28) uint8: 40 handwritten ones of each kind, from scikit-learn's 8 x 8."""
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images[:400]).float()[:, None] * (255 / 16)
    large = F.interpolate(small, size=(24, 24), mode="bicubic").clamp(0, 255)
    return F.pad(large, (2, 2, 2, 2)).byte()


def blurred(pictures: Tensor, times: int) -> Tensor:
    x = pictures.float()
    for _ in range(times):
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)
    return x.byte()


def noisy(pictures: Tensor, level: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return (pictures + level * torch.randn(pictures.shape, generator=random)).clamp(0, 255).byte()


def mixed(pictures: Tensor, share: int) -> Tensor:
    strangers = pictures.transpose(2, 3)  # no digits any more
    return torch.where(
        torch.arange(len(pictures))[:, None, None, None] % 10 < share, strangers, pictures
    )


def without(pictures: Tensor, kinds: int) -> Tensor:
    """The pictures of some kinds only: scikit-learn's come in turn, 0 to 9."""
    from sklearn.datasets import load_digits

    return pictures[torch.from_numpy(load_digits().target[:400]) < 10 - kinds]


@pytest.mark.parametrize(
    ("full_name", "digest"), [("digits-1", "3f2ad08ae20c522c"), ("faces-1", "0d1760116e9b6727")]
)
def test_a_space_never_changes_under_its_name(full_name: str, digest: str) -> None:
    content = (WEIGHTS / f"{full_name}.pt").read_bytes()
    assert hashlib.sha256(content).hexdigest()[:16] == digest, "a new space gets a new number"
    assert len(content) < 150_000
    loaded = torch.load(io.BytesIO(content), weights_only=True)
    assert all(w.dtype in (torch.float16, torch.int64) for w in loaded.values())


@pytest.mark.parametrize("worse", [blurred, noisy, mixed, without])
def test_the_distance_grows_with_the_damage(worse: Callable[[Tensor, int], Tensor]) -> None:
    real = digits()
    score = Score("digits", real)
    steps = {blurred: (0, 1, 2, 4), noisy: (0, 10, 25, 50), mixed: (0, 1, 3, 6)}
    found = [
        score.metrics(score.statistics(worse(real, amount)))["frechet"]
        for amount in steps.get(worse, (0, 2, 5, 8))  # type: ignore[call-overload]
    ]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0, abs=1e-4)
    assert found[-1] > 5


@pytest.mark.parametrize("name", SPACES)
def test_features_do_not_depend_on_neighbours_or_chunks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = FeatureSpace(name)
    some = torch.randint(0, 256, (20, space.channels, 32, 32)).byte()
    whole = space.of(some)
    assert whole.shape == (20, features.FEATURES)
    assert whole.dtype == torch.float64
    monkeypatch.setattr(features, "CHUNK", 7)
    torch.testing.assert_close(space.of(some), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(space.of(some.flip(0)).flip(0), whole, rtol=1e-5, atol=1e-5)


def test_28_is_padded_and_other_sizes_are_resized() -> None:
    space = FeatureSpace("digits")
    small = digits()[:5]
    framed = F.pad(small, (2, 2, 2, 2))
    assert torch.equal(space.of(small), space.of(framed))
    double = framed.repeat_interleave(2, 2).repeat_interleave(2, 3)  # the same picture at 64 x 64
    away = (space.of(double) - space.of(framed)).norm(dim=1)
    apart = (space.of(framed)[:, None] - space.of(framed)).norm(dim=2).median()
    assert away.max() < 0.35 * apart
    for size in (1, 16, 96):
        assert space.of(torch.zeros(2, 1, size, size, dtype=torch.uint8)).isfinite().all()


def test_grey_pictures_are_faces_without_colour_and_the_other_way_is_refused() -> None:
    grey = torch.randint(0, 256, (3, 1, 32, 32)).byte()
    space = FeatureSpace("faces")
    assert torch.equal(space.of(grey), space.of(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(UserError, match=r"digits-1.*1 channel.*have 3"):
        FeatureSpace("digits").of(grey.repeat(1, 3, 1, 1))


def test_precision_is_that_of_float32_under_autocast() -> None:
    space, some = FeatureSpace("digits"), digits()[:5]
    exact = space.of(some)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(space.of(some), exact)


def test_nothing_can_learn_and_an_unknown_name_is_told_the_nearest() -> None:
    space = FeatureSpace("digits")
    assert not space.of(digits()[:2]).requires_grad
    assert not any(weight.requires_grad for weight in space.net.parameters())
    with pytest.raises(UserError, match="did you mean digits"):
        FeatureSpace("digit")
