"""What a classifier of pictures sees, confuses, looks at and has learnt.

N pictures, C channels, S side, K classes, F filters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hlml.figures.mosaic import mosaic
from hlml.figures.style import BLUE, INK, axes, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READABLE = 12  # classes, up to which a matrix of numbers can be read
MOST_NAMES = 40  # along an axis


def confusion_matrix(
    counts: Tensor, names: list[str], things: str = "pictures", title: str = "Confusion matrix"
) -> Figure:
    """counts (K, K) of `things`: true class by row, predicted by column."""
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    accuracy = float(counts.diagonal().sum() / counts.sum().clamp(min=1))
    canvas = figure(12.4, 5.8)
    left, right = canvas.subplots(1, 2)
    few = len(names) <= READABLE
    _matrix(left, shares, names, [[f"{n:.0f}" for n in row] for row in counts.tolist()] * few)
    title += ", counts" * few
    axes(left, f"{title} (accuracy {accuracy:.4g})", "predicted", "true")
    if few:
        percent = [[f"{100 * n:.0f}" if n else "" for n in row] for row in shares.tolist()]
        _matrix(right, shares, names, percent)
        axes(right, "Per cent of each true class", "predicted", "true")
    else:
        _confused_pairs(right, counts, names, things)
    for one in (left, right)[: 1 + few]:
        one.grid(visible=False)
        one.tick_params(labelsize=9 if few else 6)
    return canvas


def _matrix(place: Axes, shares: Tensor, names: list[str], cells: list[list[str]]) -> None:
    # square root: a confusion of one in a hundred should be seen
    place.imshow(shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=1)
    every = -(-len(names) // MOST_NAMES)
    ticks = list(range(0, len(names), every))
    short = [names[tick] if len(names[tick]) <= 18 else f"{names[tick][:17]}…" for tick in ticks]
    turned = 0 if max(map(len, short)) <= 2 else 90
    place.set_xticks(ticks, short, rotation=turned)
    place.set_yticks(ticks, short)
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            colour = "white" if shares[row, column] > 0.3 else INK
            place.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _confused_pairs(
    place: Axes, counts: Tensor, names: list[str], things: str, most: int = 15
) -> None:
    """What a matrix too large for numbers hides: the mistakes made most often."""
    mistakes = counts - counts.diagonal().diag()
    numbers, cells = mistakes.flatten().topk(most)
    pairs = [divmod(cell, len(names)) for cell in cells[numbers > 0].tolist()]
    labels = [f"{names[true][:17]} taken for {names[taken][:17]}" for true, taken in pairs]
    place.barh(range(len(pairs)), numbers[numbers > 0].tolist(), color=BLUE)
    place.set_yticks(range(len(pairs)), labels)
    place.invert_yaxis()
    axes(place, "Most frequent mistakes", things, "")


def what_the_model_sees(views: dict[str, Tensor], labels: list[str], plain: Tensor) -> Figure:
    """Each picture as it is, and below it as each of the `views` (N, C, S, S) shows it."""
    stacked = {"as it is": plain, **views}
    columns = min(8, len(plain))
    rows = -(-len(plain) // columns)
    order = [
        picture[row * columns : (row + 1) * columns]
        for row in range(rows)
        for picture in stacked.values()
    ]
    # a last row that is not full would move the pictures below it out of their columns
    padded = [
        torch.cat([o.float(), o.new_full((columns - len(o), *o.shape[1:]), 255).float()])
        for o in order
    ]
    size, gap = plain.shape[-1], 2
    canvas = figure(9.6, 1.2 * len(order) + 0.8)
    place = canvas.add_subplot()
    place.imshow(mosaic(torch.cat(padded), columns, gap))
    titles = [name for _ in range(rows) for name in stacked]
    place.set_yticks([(size + gap) * n + size / 2 for n in range(len(order))], titles)
    place.set_xticks([])
    for number, label in enumerate(labels):
        row, column = divmod(number, columns)
        x, y = column * (size + gap) + 1, row * len(stacked) * (size + gap) + 1
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
        place.text(x, y, label[:14], va="top", fontsize=7, color=INK, bbox=box)
    _frameless(place, "What the model really sees")
    return canvas


def worst_mistakes(
    pictures: Tensor, true: list[str], predicted: list[str], confidence: list[float]
) -> Figure:
    """Pictures (N, C, S, S) that the model was most sure of, and wrong."""
    titles = [
        f"{answer[:16]} ({100 * sure:.1f} %)\ntrue: {truth[:16]}"
        for answer, truth, sure in zip(predicted, true, confidence, strict=True)
    ]
    return _page("Worst mistakes: most confident, and wrong", [(pictures, titles)], columns=6)


def filters(weights: Tensor, name: str) -> Figure:
    """The weights (F, C, h, w) of a convolution that sees the picture; red, green, blue as such."""
    shown = weights if weights.shape[1] == 3 else weights.mean(1, keepdim=True)
    reach = shown.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    pixels = mosaic(127.5 + 127.5 * shown / reach, columns=8, gap=1)
    canvas = figure(6.4, 0.75 * -(-len(weights) // 8) + 0.9)
    place = canvas.add_subplot()
    place.imshow(pixels)
    _bare(place)
    _frameless(place, f"The {len(weights)} filters of {name}; grey is 0")
    return canvas


def feature_maps(picture: Tensor, maps: dict[str, Tensor], most: int = 8) -> Figure:
    """A picture (C, S, S), and what some layers make of it: by name, (F, h, w)."""
    canvas = figure(9.6, 1.25 * len(maps) + 0.7)
    grid = canvas.subplots(len(maps), most + 1, squeeze=False)
    for row, (name, layer) in enumerate(maps.items()):
        _show(grid[row][0], picture)
        grid[row][0].set_ylabel(f"{name}\n{tuple(layer.shape)}", fontsize=7, color=INK)
        # the liveliest: many maps are blank
        chosen = layer.flatten(1).std(1, correction=0).topk(min(most, len(layer))).indices
        for column, number in enumerate(chosen.sort().values.tolist(), start=1):
            grid[row][column].imshow(layer[number].numpy(), cmap="viridis")
            grid[row][column].set_title(str(number), fontsize=7, color=INK)
        for place in grid[row]:
            _bare(place)
    _headline(canvas, "Feature maps, from the picture on")
    return canvas


def saliency(pictures: Tensor, maps: Tensor, titles: list[str]) -> Figure:
    """Pictures (N, C, S, S) over maps (N, S, S): how much each pixel moves the answer's score."""
    heat = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    rows = [(pictures, titles), (heat[:, None], [""] * len(maps))]
    return _page("Saliency: the pixels that move the answer's score", rows, columns=len(pictures))


def _page(title: str, rows: list[tuple[Tensor, list[str]]], columns: int) -> Figure:
    """Groups of pictures with titles, each group beginning a line."""
    lines = [-(-len(pictures) // columns) for pictures, _ in rows]
    canvas = figure(1.45 * columns + 0.4, 1.75 * sum(lines) + 0.6)
    grid = canvas.subplots(sum(lines), columns, squeeze=False)
    for place in grid.flat:
        _bare(place)
    start = 0
    for (pictures, titles), count in zip(rows, lines, strict=True):
        places = grid[start : start + count].flat
        for place, picture, text in zip(places, pictures, titles, strict=False):
            _show(place, picture)
            place.set_title(text, fontsize=7.5, color=INK)
        start += count
    _headline(canvas, title)
    return canvas


def _show(place: Any, picture: Tensor) -> None:
    """(C, S, S): integers as 0..255, one channel in grey; floats as a heat map."""
    if picture.is_floating_point():
        place.imshow(picture[0].numpy(), cmap="magma", vmin=0, vmax=1)
    else:
        place.imshow(mosaic(picture[None], 1))


def _bare(place: Any) -> None:
    place.set_xticks([])
    place.set_yticks([])
    for spine in place.spines.values():
        spine.set_visible(False)


def _frameless(place: Axes, title: str) -> None:
    axes(place, title, "", "")
    place.grid(visible=False)
    place.spines[["left", "bottom"]].set_visible(False)
    place.tick_params(length=0)


def _headline(canvas: Figure, title: str) -> None:
    canvas.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
