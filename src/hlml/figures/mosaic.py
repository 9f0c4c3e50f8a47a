"""Many pictures as one: TensorBoard and matplotlib are slow with hundreds of small ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def mosaic(pictures: Tensor, columns: int, gap: int = 1) -> NDArray[np.uint8]:
    """(N, C, S, S) in 0..255, one channel or three -> (H, W, 3) in rows of `columns`, on white."""
    number, _, height, width = pictures.shape
    colour = pictures.detach().cpu().clamp(0, 255).byte().expand(-1, 3, -1, -1)
    rows, y, x = -(-number // columns), height + gap, width + gap
    canvas = np.full((rows * y - gap, columns * x - gap, 3), 255, dtype=np.uint8)
    for place, picture in enumerate(colour.permute(0, 2, 3, 1).numpy()):
        top, left = place // columns * y, place % columns * x
        canvas[top : top + height, left : left + width] = picture
    return canvas
