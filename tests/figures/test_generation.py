"""A generator's pictures: pixels stay as they were, walks keep their distance, copies are named."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hlml.figures.generation import COPY, grid, neighbours, real_beside_fake, walk


@settings(max_examples=20)
@given(
    st.integers(1, 13), st.integers(1, 6), st.sampled_from([1, 3]), st.sampled_from([4, 32, 300])
)
def test_a_grid_shows_every_pixel_as_a_square(
    number: int, columns: int, channels: int, size: int
) -> None:
    random = torch.Generator().manual_seed(number)
    pictures = torch.randint(0, 255, (number, channels, size, size), generator=random).byte()
    pixels = grid(pictures, columns)
    factor = max(1, 960 // (columns * size))
    side = factor * size
    for place in range(number):
        top, left = place // columns * (side + 2), place % columns * (side + 2)
        shown = pixels[top : top + side, left : left + side]
        small = pictures[place].expand(3, -1, -1).permute(1, 2, 0).numpy()
        assert (shown == small.repeat(factor, 0).repeat(factor, 1)).all()
    assert pixels.dtype == np.uint8
    assert (pixels[side : side + 2] == 255).all()  # what is between them is white


@settings(max_examples=20)
@given(st.integers(2, 20), st.integers(0, 99))
def test_a_walk_goes_from_noise_to_noise_in_equal_steps_at_their_distance_from_0(
    steps: int, seed: int
) -> None:
    noise = torch.randn(3, 50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise = noise / noise.norm(dim=1, keepdim=True)
    path = walk(noise, steps).unflatten(0, (2, steps))
    torch.testing.assert_close(path[:, 0], noise[:-1])
    torch.testing.assert_close(path[:, -1], noise[1:])
    torch.testing.assert_close(path.norm(dim=2), torch.ones(2, steps, dtype=torch.float64))
    turns = (path[:, 1:] * path[:, :-1]).sum(2).arccos()
    torch.testing.assert_close(turns, turns[:, :1].expand_as(turns), rtol=1e-4, atol=1e-5)


def test_a_walk_between_equal_or_opposite_noise_is_finite() -> None:
    one = torch.ones(1, 4)
    assert walk(torch.cat([one, one]), 5).isfinite().all()
    assert walk(torch.cat([one, -one]), 5).isfinite().all()


@pytest.mark.parametrize("number", [1, 4, 7, 8])
def test_each_fake_has_its_neighbours_and_a_copy_is_called_one(number: int) -> None:
    fakes = torch.zeros(number, 1, 4, 4, dtype=torch.uint8)
    near = torch.full((number, 3, 1, 4, 4), 200, dtype=torch.uint8)
    distances = torch.linspace(0, 2 * number * 3, number * 3).reshape(number, 3)
    figure = neighbours(fakes, near, distances, usual=2.0)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels.count("fake") == number
    wanted = [f"{d / 2:.1f} ×" + " a copy" * (d / 2 < COPY) for d in distances.flatten().tolist()]
    assert [label for label in labels if label != "fake"] == wanted
    assert labels[1] == "0.0 × a copy"
    assert sum("copy" in label for label in labels) == sum(
        d / 2 < COPY for d in distances.flatten()
    )
    shown = [axes.images[0].get_array().max() for axes in figure.axes]
    assert shown == [0 if label == "fake" else 200 for label in labels]


def test_real_and_fake_are_side_by_side() -> None:
    real, fakes = torch.zeros(16, 3, 4, 4).byte(), torch.full((16, 3, 4, 4), 200).byte()
    left, right = real_beside_fake(real, fakes).axes
    assert (left.get_title("left"), right.get_title("left")) == ("Training pictures", "Fakes")
    for axes, value in ((left, 0), (right, 200)):
        assert value in np.unique(axes.images[0].get_array())
        assert set(np.unique(axes.images[0].get_array())) <= {value, 255}
    assert math.isclose(left.images[0].get_array().shape[1], 960, rel_tol=0.05)
