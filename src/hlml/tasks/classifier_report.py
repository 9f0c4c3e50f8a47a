"""A classifier's pictures: drawn through hooks, so that they work for a student's own model too.

Filters and feature maps: Krizhevsky et al. 2012, Zeiler and Fergus 2014. Saliency: Simonyan et al.
2014, "Deep Inside Convolutional Networks".
N pictures, C channels, S side, K classes, F filters, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hlml.data.images import UNKNOWN, Images
from hlml.data.module import to_device
from hlml.figures import classification as figures

if TYPE_CHECKING:
    from hlml.logbook import Logbook
    from hlml.tasks.classifier import Classifier

SEEN, MISTAKES, POINTS, SALIENT, LAYERS = 16, 24, 1000, 8, 4  # how many of each are shown
FILTERS = 64


def what_the_model_sees(book: Logbook, data: Images) -> None:
    """The first batch of training, as it is and as augmented: labelled pictures and others."""
    rows = data.rows_of(0, 1)[0]
    half = SEEN // 2 if data.unlabelled_ratio else SEEN
    have = rows[rows < data.labelled]
    rows = torch.cat([have[:half], rows[rows >= data.labelled][: SEEN - half]])
    split = data.splits["train"]
    batch = split.batch(rows, 0)
    names = [_label(label, data.class_names) for label in batch.labels]
    views = {"augmented": batch.pictures}
    if batch.strong is not None:
        views["strong view"] = batch.strong
    figure = figures.what_the_model_sees(views, names, split.read(rows))
    book.figure("what_the_model_sees", figure)


def what_it_has_learnt(task: Classifier, book: Logbook, data: Images) -> None:
    """Where it is wrong on the validation split, and what it looks at."""
    if not data.has_labels("valid"):
        return
    found = [(task.probabilities(b), b.labels) for b in data.evaluation("valid")]
    probabilities = torch.cat([one for one, _ in found]).float().cpu()
    labels = torch.cat([one for _, one in found]).cpu()
    known = labels != UNKNOWN
    counts = confusion(labels[known], probabilities[known].argmax(1), task.classes)
    book.figure("confusion_matrix", figures.confusion_matrix(counts, data.class_names))
    _worst_mistakes(book, data, probabilities, labels)
    if (first := first_convolution(task.model)) is not None:
        name, weights = first
        book.figure("filters", figures.filters(weights[:FILTERS], name))
    pictures = data.splits["valid"].read(_one_of_each(labels))
    maps = feature_maps(task, to_device(pictures[:1], data.device))
    if maps:
        book.figure("feature_maps", figures.feature_maps(pictures[0], maps))
    heat, answers = saliency(task, to_device(pictures, data.device))
    names = [data.class_names[answer] for answer in answers]
    book.figure("saliency", figures.saliency(pictures, heat, names))
    _embedding(task, book, data, labels)


def confusion(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts (K, K) float64: true class by row, predicted by column."""
    cells = torch.bincount(true * classes + predicted, minlength=classes**2)
    return cells.reshape(classes, classes).double()


def saliency(task: Classifier, pictures: Tensor) -> tuple[Tensor, list[int]]:
    """How much each pixel moves the score of the model's answer: (N, S, S), and the answers."""
    with torch.enable_grad():  # a report runs without
        pictures = pictures.float().requires_grad_()
        scores, answers = task.scores(pictures).max(1)
        (gradient,) = torch.autograd.grad(scores.sum(), pictures)
    return gradient.abs().amax(1).cpu(), answers.tolist()


def first_convolution(model: nn.Module) -> tuple[str, Tensor] | None:
    """Name and weights (F, C, h, w) of the first nn.Conv2d, if there is one larger than a pixel."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.weight[0, 0].numel() > 1:
            return name, layer.weight.detach().float().cpu()
    return None


def feature_maps(task: Classifier, picture: Tensor) -> dict[str, Tensor]:
    """What a few convolutions, spread over the depth, make of a picture (1, C, S, S)."""
    maps: dict[str, Tensor] = {}

    def keep(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            maps[name] = output[0].detach().float().cpu()

    with _watched(task.model, nn.Conv2d, keep):
        task.scores(picture)
    names = list(maps)
    count = min(LAYERS, len(names))
    chosen = [names[place * (len(names) - 1) // max(1, count - 1)] for place in range(count)]
    return {name: maps[name] for name in chosen}


def last_features(task: Classifier, pictures: Tensor) -> Tensor | None:
    """What the last nn.Linear to be called is given: (N, D); None where there is none."""
    given: list[Tensor] = []

    def keep(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        given[:] = [inputs[0].detach()]

    with _watched(task.model, nn.Linear, keep):
        task.scores(pictures)
    return given[0].flatten(1).float().cpu() if given and len(given[0]) == len(pictures) else None


@contextmanager
def _watched(
    model: nn.Module, kind: type[nn.Module], keep: Callable[[str, Any, Any], None]
) -> Iterator[None]:
    """Call `keep` with name, inputs and output of each layer of a kind, as it is called."""

    def hook(name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: keep(name, inputs, output)

    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kind)]
    hooks = [layer.register_forward_hook(hook(name)) for name, layer in layers]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def _worst_mistakes(book: Logbook, data: Images, probabilities: Tensor, labels: Tensor) -> None:
    sure, answers = probabilities.max(1)
    wrong = ((answers != labels) & (labels != UNKNOWN)).nonzero().flatten()
    worst = wrong[sure[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    if not len(worst):
        return
    names = data.class_names
    true, predicted = ([names[n] for n in some[worst].tolist()] for some in (labels, answers))
    pictures = data.splits["valid"].read(worst)
    figure = figures.worst_mistakes(pictures, true, predicted, sure[worst].tolist())
    book.figure("worst_mistakes", figure)


def _embedding(task: Classifier, book: Logbook, data: Images, labels: Tensor) -> None:
    """The last features of valid pictures, for TensorBoard's projector."""
    # evenly spread: files often lie sorted by class
    rows = torch.linspace(0, len(labels) - 1, min(POINTS, len(labels))).round().long()
    features, pictures = [], []
    for some in rows.split(data.batch_size):
        pictures.append(data.splits["valid"].read(some))
        found = last_features(task, to_device(pictures[-1], data.device))
        if found is None:
            return
        features.append(found)
    names = [_label(label, data.class_names) for label in labels[rows]]
    book.embedding("features", torch.cat(features), names, torch.cat(pictures))


def _one_of_each(labels: Tensor) -> Tensor:
    """Rows of pictures of different classes, as far as there are."""
    first = [(labels == label).nonzero()[0, 0] for label in labels.unique() if label != UNKNOWN]
    rows = torch.stack(first[:SALIENT])
    more = torch.arange(len(labels))
    more = more[~torch.isin(more, rows)]
    return torch.cat([rows, more[: SALIENT - len(rows)]])


def _label(label: Tensor, names: list[str]) -> str:
    """A class's name, the two names of a mixture, or nothing where nobody says."""
    if label.dim() == 0:
        return "" if label == UNKNOWN else names[int(label)]
    shares, classes = label.topk(min(2, len(label)))
    parts = [(share, names[n]) for share, n in zip(shares.tolist(), classes.tolist(), strict=True)]
    return " + ".join(f"{share:.1f} {name}" for share, name in parts if share > 0.05)
