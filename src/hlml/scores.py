"""How near generated pictures are to real ones, in a fixed feature space.

Fréchet distance (Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule"): between the
Gaussians with the two sets' means m, n and covariances A, B: |m - n|² + tr(A + B - 2 (AB)^½).
Density and coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative
Models"): around each real picture lies the ball that just holds its k nearest real neighbours.
Density counts the balls a fake lies in, as a share of k; coverage, the balls that any fake lies
in, as a share of all. Fakes that look like nothing lower the first, a forgotten mode the second.

N real pictures, M fakes, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hlml.errors import UserError
from hlml.features import FeatureSpace

CHUNK = 500  # pictures at once: 500 x 2,000 distances are 8 MB


class Score:
    """Scores fakes against `real_pictures` (N, C, S, S) uint8 in the feature space named `space`.

    The Gaussian is fitted to all real pictures, the balls to `most` of them at most (the same ones
    each time). Coverage grows with the number of fakes: of the real distribution itself, as many
    fakes as there are balls cover about 1 - 2^-neighbours of these, half as many (2/3)^neighbours
    less than all.
    """

    def __init__(
        self, space: str, real_pictures: Tensor, neighbours: int = 5, most: int = 2000
    ) -> None:
        self.space, self.neighbours = FeatureSpace(space), neighbours
        if len(real_pictures) <= neighbours:
            raise UserError(
                f"score: {len(real_pictures)} real pictures are too few: a ball reaches to the "
                f"{neighbours}th nearest of the others; use more pictures or fewer neighbours"
            )
        self.real = real = self.space.of(real_pictures)
        self.mean, self.covariance = gaussian(*moments(real))
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:most]
        self.centres = real[order.to(real.device)]
        reach = min(neighbours, len(self.centres) - 1) + 1  # the nearest of all is itself
        distances = nearest(self.centres, self.centres, reach)[0]
        self.radii = distances[:, -1]
        self.usual = float(distances[:, 1].median())  # from one real picture to the nearest other

    def statistics(self, fakes: Tensor) -> dict[str, Tensor]:
        """What `metrics` needs of fakes (M, C, S, S) uint8; adds up over batches and processes."""
        features = self.space.of(fakes)
        self.centres, self.radii = (t.to(features.device) for t in (self.centres, self.radii))
        inside = [
            (_distances(some, self.centres) <= self.radii).sum(0) for some in _chunks(features)
        ]
        count, total, products = moments(features)
        return {
            "fakes": count,
            "features": total,
            "products": products,
            "inside": torch.stack(inside).sum(0).double(),  # for each ball, the fakes in it
        }

    def neighbours_of(self, fakes: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Distances (M, count) of fakes to the nearest real pictures, and these ones' numbers."""
        features = self.space.of(fakes)
        return nearest(features, self.real.to(features.device), count)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """frechet (0: the same Gaussian), density (1: as the real ones), coverage (0 to 1)."""
        mean, covariance = gaussian(totals["fakes"], totals["features"], totals["products"])
        inside = totals["inside"]
        balls = self.neighbours * float(totals["fakes"])
        return {
            "frechet": frechet(self.mean, self.covariance, mean, covariance),
            "density": float(inside.sum()) / balls,
            "coverage": float((inside > 0).double().mean()),
        }


def gaussian(count: Tensor, total: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of `count` vectors, from their sum and that of x xᵀ."""
    count, total, products = count.cpu(), total.cpu(), products.cpu()
    mean = total / count
    # of one picture, the covariance is 0 and not 0 / 0
    return mean, (products - count * mean.outer(mean)) / (count - 1).clamp(min=1)


def frechet(mean: Tensor, covariance: Tensor, other_mean: Tensor, other: Tensor) -> float:
    """Between two Gaussians, in float64; never negative, and defined for singular covariances.

    tr (AB)^½ is the sum of the square roots of the eigenvalues of A^½ B A^½, which is symmetric:
    its eigenvalues are real, and what rounding makes of the zeros among them can be cut off.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    values = torch.linalg.eigvalsh(root @ other.double() @ root)
    cross = values.clamp(min=0).sqrt().sum()
    apart = (mean.double() - other_mean.double()).square().sum()
    return max(0.0, float(apart + covariance.trace() + other.trace() - 2 * cross))


def nearest(queries: Tensor, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and row numbers (N, count) of the `count` points nearest to each query (N, D)."""
    found = [_distances(some, points).topk(count, largest=False) for some in _chunks(queries)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def _distances(some: Tensor, points: Tensor) -> Tensor:
    """By differences: |x|² + |y|² - 2xy would find a point away from itself."""
    return torch.cdist(some, points, compute_mode="donot_use_mm_for_euclid_dist")


def moments(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many, their sum (D,) and that of their products (D, D): these add up over batches."""
    count = torch.tensor(len(features), dtype=torch.float64, device=features.device)
    return count, features.sum(0), features.T @ features


def _chunks(features: Tensor) -> tuple[Tensor, ...]:
    chunks: tuple[Tensor, ...] = features.split(CHUNK)
    return chunks
