"""The real FID: a Fréchet distance in the features of the Inception network everybody uses.

torch-fidelity (the extra `fid`) has the network as the published numbers are computed with, and
its weights are a file of 90 MB that is never downloaded here. Compare a FID with others of as many
fakes only: few of them make it larger (Chong & Forsyth 2020, "Effectively Unbiased FID").
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from hlml.errors import UserError
from hlml.scores import frechet, gaussian, moments

if TYPE_CHECKING:
    from torch import nn

FILE = "weights-inception-2015-12-05-6726825d.pth"
CHUNK = 32  # pictures at once: they are enlarged to 299 x 299


def find_weights(place: str) -> Path:
    """The weights' file: `place`, or where torch-fidelity would look for them (auto)."""
    if importlib.util.find_spec("torch_fidelity") is None:
        raise UserError(
            "task.fid: torch-fidelity is not installed: pip install 'hlml[fid]', or leave the FID "
            "out with task.fid=null"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE if place == "auto" else Path(place)
    if not path.expanduser().is_file():
        raise UserError(
            f"task.fid: no file {path}; {FILE} is on torch-fidelity's page of releases (v0.2.0): "
            "put it there, or say where it is with task.fid=PATH"
        )
    return path.expanduser()


def fid(real: Tensor, fakes: Tensor, weights: Path) -> float:
    """Of two sets of pictures (N, C, S, S) uint8, of one channel or three, on their device."""
    network = _inception(weights).to(real.device)
    (mean, covariance), (other_mean, other) = (
        _statistics(network, pictures, title)
        for pictures, title in ((real, "FID: real pictures"), (fakes, "FID: fakes"))
    )
    return frechet(mean, covariance, other_mean, other)


@torch.no_grad()
def _statistics(network: nn.Module, pictures: Tensor, title: str) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the 2048 features."""
    sums: list[Tensor] = []
    with torch.autocast(pictures.device.type, enabled=False):
        for some in tqdm(pictures.split(CHUNK), title, disable=None, leave=False):
            (features,) = network(some.expand(-1, 3, -1, -1))
            parts = moments(features.double())
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
    return gaussian(*sums)


def _inception(weights: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity reads the file as a pickle, which may run code: only tensors get that far
        torch.load(weights, weights_only=True, map_location="cpu")
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception", ["2048"], feature_extractor_weights_path=str(weights)
        )
    except Exception as error:
        raise UserError(
            f"task.fid: {weights} does not hold the weights of torch-fidelity's Inception "
            f"({' '.join(str(error).split())[:120]}); fetch {FILE} again"
        ) from error
    return network
