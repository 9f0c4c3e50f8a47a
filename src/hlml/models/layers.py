"""What the models of pictures share: the step from numbers per layer to layers, and first weights.

He et al. 2015, "Delving deep into rectifiers": a ReLU keeps half of the variance, so weights of
variance 2 / fan-in keep that of the signal through any number of layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from hlml.errors import UserError

WITH_WEIGHTS = (nn.Linear, nn.Conv2d)


def initialise(model: nn.Module, gain: float = 2.0) -> None:
    """Weights N(0, gain / fan-in), the last layer's N(0, 1 / fan-in), for no ReLU follows it;
    biases 0; norms as torch has them (1 and 0)."""
    layers = [layer for layer in model.modules() if isinstance(layer, WITH_WEIGHTS)]
    if not layers[-1].weight.numel():
        raise UserError("model: these pictures have no classes to tell apart; choose other data")
    for layer in layers:
        variance = (1 if layer is layers[-1] else gain) / layer.weight[0].numel()
        nn.init.normal_(layer.weight, std=math.sqrt(variance))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def fully_connected(inputs: int, widths: Sequence[int], dropout: float) -> list[nn.Module]:
    """A linear layer, a ReLU and (where there is any) dropout for each width."""
    layers: list[nn.Module] = []
    for before, after in zip([inputs, *widths], widths, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return layers
