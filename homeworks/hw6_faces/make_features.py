"""Makes src/hlml/weights/*.pt, the feature spaces that fakes are scored in. Minutes on one core:

    OMP_NUM_THREADS=1 python -m homeworks.hw6_faces.make_features FOLDER

The same versions of torch and of the packages that draw give the same numbers. The files in the
repository are frozen: whoever trains others gives them a new number, in SPACES of features.py.
"""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.augment import Augment, Augmentation
from hlml.data.cartoon_faces import COLOURS, STYLES, VALID, faces
from hlml.data.images import Images
from hlml.data.mnist5k import MNIST5k
from hlml.data.randomness import uniform
from hlml.features import FEATURES, SPACES, FeatureNet
from hlml.logbook import Logbook
from hlml.phase import Phase
from hlml.schedules import WarmupCosine
from hlml.tasks.classification import Classification
from hlml.train import seed_all
from hlml.trainer import Trainer

TEST = 1000  # the faces of data=cartoon_faces' test split: no feature has seen them
STYLE = "adventurer"


class Smudged(Augmentation):
    """Moved and repainted, then blurred and made noisy, each picture by another amount.

    Without it the features tell a drawing from the same drawing half a pixel aside better than one
    hair from another: density and coverage are then 0 for whatever a generator draws.
    """

    mixup = 0.0

    def __init__(self, **changes: float) -> None:
        self.changes = Augment(shift=2, rotation=10.0, zoom=0.1, shear=0.2, **changes)

    def __call__(self, pictures: Tensor, keys: Tensor) -> Tensor:
        pictures = self.changes(pictures, keys).float()
        blur, noise = uniform(~keys, 2).T.reshape(2, -1, 1, 1, 1)
        soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="reflect"), 3, 1)
        return torch.lerp(pictures, soft, blur) + 12 * noise * torch.randn(pictures.shape)


class HairAndColour(Images):
    """Cartoon faces with a class for each pair of hair and colour: 100.

    Hair alone can be told without a look at colours, and a feature space that is blind to them
    would let a generator that draws nothing but red hair pass.
    """

    def __init__(self, batch_size: int, augment: Augmentation, root: Path) -> None:
        super().__init__(batch_size, augment=augment)
        number = torch.arange(5000)
        pair = number % 100
        self.class_names = [f"{hair} {colour}" for colour in COLOURS for hair in STYLES[STYLE].hair]
        _, valid, train = number.split([TEST, VALID, len(number) - TEST - VALID])
        source = faces(root, STYLE, 32, len(number))
        self.fill(source, (train, pair[train]), None, (valid, pair[valid]), (valid, pair[valid]))


class Named(nn.Module):
    """The features, and a linear layer that names the classes: left behind after training."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.net = FeatureNet(channels)
        self.scores = nn.Linear(FEATURES, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.net(pictures))
        return scores


def train(data: Images, epochs: int, folder: Path, name: str) -> None:
    """A classifier of `data`; its features, with what standardises pictures, become a file."""
    seed_all(0)
    model = Named(data.channels, len(data.class_names))
    task = Classification(model, data)
    phase = Phase(partial(torch.optim.Adam, lr=0.004), WarmupCosine(100))
    Trainer({"main": phase}, epochs, threads=1, device="cpu").fit(task, data, Logbook(None))
    weights = dict(model.net.state_dict())
    for key, values in (("mean", data.mean), ("std", data.std)):
        weights[key] = torch.tensor(values).reshape(1, -1, 1, 1)
    half = {key: w.half() if w.is_floating_point() else w for key, w in weights.items()}
    packed = io.BytesIO()  # a path would leave its name in the file
    torch.save(half, packed)
    (folder / f"{name}.pt").write_bytes(packed.getvalue())


def main(folder: Path) -> None:
    digits = MNIST5k(64, augment=Smudged(), labelled=3600, pad=2)
    train(digits, 14, folder, SPACES["digits"][0])
    drawn = Smudged(brightness=0.2, contrast=0.2, saturation=0.2, cutout=0.3)
    train(HairAndColour(64, drawn, Path("data")), 14, folder, SPACES["faces"][0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
