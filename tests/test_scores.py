"""The scores: against scipy, against closed forms, and against themselves counted another way."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from hlml.errors import UserError
from hlml.features import FeatureSpace
from hlml.scores import Score, frechet, gaussian, nearest


def pictures(number: int, seed: int, low: int = 0, high: int = 256) -> Tensor:
    """(N, 1, 8, 8) uint8"""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (number, 1, 8, 8), generator=random).byte()


class Pixels(FeatureSpace):
    """Four sums of pixels as features: nothing is known about them but what we compute here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def of(self, pictures: Tensor) -> Tensor:
        return pictures.double().flatten(1).unflatten(1, (4, -1)).mean(2)


@pytest.fixture(autouse=True)
def pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hlml.scores.FeatureSpace", Pixels)


def scored(score: Score, *batches: Tensor) -> dict[str, float]:
    """The metrics of some batches, added up as evaluation does."""
    parts = [score.statistics(batch) for batch in batches]
    return score.metrics({key: sum(part[key] for part in parts) for key in parts[0]})  # type: ignore[misc]


def random_gaussian(size: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    half = torch.randn(size, rank, generator=random, dtype=torch.float64)
    return torch.randn(size, generator=random, dtype=torch.float64), half @ half.T


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(0, 99))
def test_frechet_is_that_of_scipys_matrix_root(size: int, seed: int) -> None:
    (m, a), (n, b) = (random_gaussian(size, size + 2, s) for s in (seed, seed + 100))
    cross = np.trace(sqrtm((a @ b).numpy()).real)
    expected = float((m - n).square().sum() + a.trace() + b.trace()) - 2 * cross
    assert frechet(m, a, n, b) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_frechet_of_gaussians_with_a_closed_form() -> None:
    mean = torch.tensor([1.0, 2.0, 3.0])
    diagonal, other = torch.tensor([4.0, 9.0, 0.0]), torch.tensor([1.0, 1.0, 16.0])
    apart = (diagonal.sqrt() - other.sqrt()).square().sum()  # commuting: (A^½ - B^½)²
    found = frechet(mean, diagonal.diag(), torch.zeros(3), other.diag())
    assert found == pytest.approx(float(14 + apart))
    assert frechet(mean, torch.zeros(3, 3), torch.zeros(3), torch.zeros(3, 3)) == 14.0


@settings(max_examples=20)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_frechet_is_symmetric_zero_to_itself_and_defined_where_singular(
    rank: int, other_rank: int, seed: int
) -> None:
    (m, a), (n, b) = random_gaussian(12, rank, seed), random_gaussian(12, other_rank, seed + 100)
    scale = float(a.trace())
    assert 0 <= frechet(m, a, m, a) < 1e-6 * scale
    assert frechet(m, a, n, b) == pytest.approx(frechet(n, b, m, a), rel=1e-6)
    turn = torch.linalg.qr(random_gaussian(12, 12, seed)[1]).Q  # rotating both changes nothing
    rotated = frechet(turn @ m, turn @ a @ turn.T, turn @ n, turn @ b @ turn.T)
    assert rotated == pytest.approx(frechet(m, a, n, b), rel=1e-6)


def test_the_gaussian_of_sums_is_numpys() -> None:
    x = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 100
    mean, covariance = gaussian(torch.tensor(50.0), x.sum(0), x.T @ x)
    np.testing.assert_allclose(mean, x.mean(0))
    np.testing.assert_allclose(covariance, np.cov(x.numpy().T), rtol=1e-6)


def test_few_fakes_have_finite_scores() -> None:
    score = Score("any", pictures(60, 0))
    for number in (1, 2, 3):
        found = scored(score, pictures(number, 1))
        assert all(math.isfinite(value) and value >= 0 for value in found.values())


def brute_force(real: Tensor, fakes: Tensor, k: int) -> tuple[float, float]:
    """Density and coverage as their definitions say, one pair at a time."""
    of = Pixels("").of
    real_features, fake_features = of(real).tolist(), of(fakes).tolist()
    inside = []
    for place, centre in enumerate(real_features):
        others = [math.dist(centre, r) for i, r in enumerate(real_features) if i != place]
        radius = sorted(others)[k - 1]
        inside.append([math.dist(centre, fake) <= radius for fake in fake_features])
    density = sum(map(sum, inside)) / (k * len(fake_features))
    return density, sum(any(row) for row in inside) / len(inside)


@settings(max_examples=15)
@given(st.integers(7, 40), st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_density_and_coverage_are_what_counting_finds(
    reals: int, number: int, k: int, seed: int
) -> None:
    real, fakes = pictures(reals, seed), pictures(number, seed + 100, high=250)
    found = scored(Score("any", real, neighbours=k), fakes)
    density, coverage = brute_force(real, fakes, k)
    assert found["density"] == pytest.approx(density)
    assert found["coverage"] == pytest.approx(coverage)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 39), max_size=5, unique=True))
def test_scores_do_not_depend_on_the_batches(cuts: list[int]) -> None:
    score, fakes = Score("any", pictures(50, 0)), pictures(40, 1)
    ends = [0, *sorted(cuts), 40]
    batches = [fakes[a:b] for a, b in pairwise(ends)]
    assert scored(score, *batches) == pytest.approx(scored(score, fakes))


def test_known_sets_have_known_scores() -> None:
    real = torch.cat([pictures(100, 0, 0, 60), pictures(100, 1, 200, 255)])  # two modes
    score = Score("any", real)
    same, one_mode = scored(score, real), scored(score, real[:100], real[:100])
    far = scored(score, torch.full((50, 1, 8, 8), 128, dtype=torch.uint8))
    assert same["coverage"] == 1.0
    assert same["frechet"] == pytest.approx(0, abs=1e-6)
    assert same["density"] == pytest.approx((5 + 1) / 5)  # its own k neighbours, and itself
    assert one_mode["coverage"] == 0.5
    assert one_mode["density"] == pytest.approx(same["density"], rel=0.05)
    assert one_mode["frechet"] > 1000
    assert far["density"] == far["coverage"] == 0.0


def test_duplicates_lie_in_their_own_ball_of_radius_0() -> None:
    real = pictures(1, 0).repeat(20, 1, 1, 1)
    assert scored(Score("any", real), real[:1])["coverage"] == 1.0


def test_balls_are_a_fixed_choice_of_real_pictures() -> None:
    real = pictures(80, 0)
    score, again = Score("any", real, most=30), Score("any", real, most=30)
    assert len(score.centres) == 30
    assert torch.equal(score.centres, again.centres)
    everything = Score("any", real)
    assert torch.equal(score.mean, everything.mean)  # the Gaussian is that of all of them


def test_the_nearest_real_pictures_are_found_with_their_distance() -> None:
    real = pictures(80, 0)
    score = Score("any", real)
    distances, rows = score.neighbours_of(real[[3, 71]], 2)
    assert rows[:, 0].tolist() == [3, 71]
    assert distances[:, 0].tolist() == [0.0, 0.0]
    closest = torch.cdist(Pixels("").of(real), Pixels("").of(real)).topk(2, largest=False).values
    assert distances[0, 1] == pytest.approx(float(closest[3, 1]))
    assert score.usual == pytest.approx(float(closest[:, 1].median()))


def test_nearest_in_chunks_is_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.randn(300, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = nearest(points, points, 4)
    monkeypatch.setattr("hlml.scores.CHUNK", 7)
    for one, other in zip(whole, nearest(points, points, 4), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole[0][:, 0], torch.zeros(300, dtype=torch.float64))


def test_too_few_real_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="5 real pictures are too few"):
        Score("any", pictures(5, 0))
