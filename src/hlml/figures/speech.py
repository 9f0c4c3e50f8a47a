"""Speech: what a model sees of it, hears in it and looks at.

T frames, F features, H attention heads, K classes, P pairs of utterances.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hlml.figures import style
from hlml.figures.style import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEARD = 8000  # Hz: above lies little of speech
QUIET = 60  # dB below the loudest, from where on nothing is drawn
PALE, PALE_BLUE, PALE_ORANGE, DARK_ORANGE = "#e9ebee", "#cfe0f3", "#f7d3b5", "#a8500d"
NARROW = 0.011  # of an axis: a shorter run has no room for its name


class Ground(NamedTuple):
    """What lies under a time axis: a spectrogram, or the features themselves."""

    image: Tensor  # (rows, columns), the lowest row first
    seconds: float
    top: float  # of its y axis, which begins at 0
    name: str  # of its y axis
    kind: str


class Speech(NamedTuple):
    """A stretch of an utterance, and for each of its frames the true and the predicted label."""

    ground: Ground
    hop: float  # seconds from one frame to the next
    true: list[str]
    predicted: list[str]


def spectrogram(wave: Tensor, rate: int) -> Ground:
    """Of a wave (samples,): the energy of windows of about 25 ms, in dB."""
    size = 2 ** round(torch.tensor(rate * 0.025).log2().item())
    wave = torch.nn.functional.pad(wave.float(), (0, max(0, size - len(wave))))
    parts = torch.stft(wave, size, size // 8, window=torch.hann_window(size), return_complex=True)
    decibels = 10 * parts.abs().square().clamp(min=1e-12).log10()
    rows = int(len(decibels) * min(1.0, 2 * HEARD / rate))
    shown = (decibels[:rows] - decibels.max()).clamp(min=-QUIET)
    top = rows / len(decibels) * rate / 2000
    return Ground(shown, len(wave) / rate, top, "frequency (kHz)", "spectrogram")


def features(frames: Tensor, hop: float) -> Ground:
    """Of standardised frames (T, F), where nobody has kept the sound."""
    image = frames.T.float().clamp(-3, 3)
    return Ground(image, len(frames) * hop, float(len(image)), "feature", "features")


def labelled(speech: Speech) -> Figure:
    """What was said and what was heard, under the picture of the sound."""
    canvas = style.figure(11, 4.6)
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=[5, 1.1])
    right = [a == b for a, b in zip(speech.true, speech.predicted, strict=True)]
    share = sum(right) / max(1, len(right))
    _ground(above, speech.ground)
    style.axes(above, f"Heard right: {share:.0%} of these frames", "", speech.ground.name)
    above.grid(visible=False)
    _labels(below, speech)
    below.set_xlabel("time (s)", color=INK)
    return canvas


def attention(speech: Speech, maps: Tensor, name: str) -> Figure:
    """Maps (H, T, T): how much each frame (by row) looks at each other one (by column)."""
    canvas = style.figure(11.5, 8.2)
    few = min(4, len(maps)) if len(maps) > 1 else 0
    grid = canvas.add_gridspec(6, 2 if few else 1, width_ratios=[4.2, 1] if few else None)
    above = canvas.add_subplot(grid[:2, 0])
    below = canvas.add_subplot(grid[2, 0], sharex=above)
    place = canvas.add_subplot(grid[3:, 0], sharex=above)
    _ground(above, speech.ground)
    style.axes(above, f"Where the frames look: {name}", "", speech.ground.name)
    _labels(below, speech)
    _map(place, maps.mean(0), speech)
    style.axes(place, "Mean of all heads", "looked at: time (s)", "looking: time (s)")
    for one in (above, place):
        one.grid(visible=False)
    inner = grid[:, 1].subgridspec(few, 1) if few else None
    for number in range(few):
        assert inner is not None
        small = canvas.add_subplot(inner[number])
        _map(small, maps[number], speech)
        style.axes(small, "", "", "").grid(visible=False)
        small.set_title(f"head {number + 1} of {len(maps)}", fontsize=9, color=INK)
        small.tick_params(labelsize=7)
    return canvas


def class_recall(counts: Tensor, names: list[str]) -> Figure:
    """counts (K, K): true class by row, predicted by column."""
    rows = counts.sum(1)
    recall = counts.diagonal() / rows.clamp(min=1)
    known = (rows > 0).nonzero().flatten()
    mean = float(recall[known].mean())
    canvas = style.figure(11, 4.2)
    title = f"Recall of each class; the line is their mean, {mean:.3f}"
    place = style.axes(canvas.add_subplot(), title, "", "answered right")
    place.bar(known.tolist(), recall[known].tolist(), color=BLUE, width=0.75)
    place.axhline(mean, color=ORANGE, lw=1.5)
    every = -(-len(names) // 50)
    ticks = list(range(0, len(names), every))
    short = [f"{names[n][:12]}\n{100 * float(rows[n] / rows.sum()):.1f}" for n in ticks]
    place.set_xticks(ticks, short)
    place.tick_params(axis="x", labelsize=7.5, length=0)
    place.set(xlim=(-0.7, len(names) - 0.3), ylim=(0, 1))
    place.set_xlabel("class, and its share of all frames in per cent", color=INK)
    place.grid(visible=False, axis="x")
    return canvas


def training_batch(frames: Tensor, mask: Tensor, labels: list[list[str]], rows: int) -> Figure:
    """A few utterances as the model gets them: frames (N, T, F) standardised, mask (N, T), and a
    label for each frame or one for all; `rows` the whole batch has."""
    number, longest, width = frames.shape
    one = all(len(some) == 1 for some in labels)
    canvas = style.figure(11, (1.6 if one else 2.1) * number + 1)
    ratios = [4.0] if one else [4.0, 0.9]
    grid = canvas.subplots(len(ratios) * number, 1, squeeze=False, height_ratios=ratios * number)
    places = [axes[0] for axes in grid]
    for image, real, names in zip(frames, mask, labels, strict=True):
        place, length = places.pop(0), int(real.sum())
        shown = image.masked_fill(~real[:, None], torch.nan).T.float()
        options: Any = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
        place.imshow(shown.numpy(), vmin=-3, vmax=3, cmap="viridis", **options)
        place.set_facecolor(PALE)
        title = f"{names[0]}: {length} frames" if one else f"{length} frames"
        style.axes(place, "", "", f"{width} features").set_title(
            title, loc="left", fontsize=9, color=INK
        )
        place.grid(visible=False)
        if length < 0.9 * longest:
            middle = (length + longest) / 2
            place.text(middle, width / 2, "padding", ha="center", va="center", color=GREY)
        if not one:
            place.set_xticks([])
            _runs(below := places.pop(0), 0, names[:length], names[:length], 1.0, longest)
            below.set(xlim=(-0.5, longest - 0.5), ylim=(0, 1), yticks=[])
            below.tick_params(colors=INK, labelsize=9)
            below.spines[:].set_visible(False)
    canvas.axes[-1].set_xlabel("frame", color=INK)
    title = f"What the model really sees: {number} of the first batch's {rows} utterances"
    canvas.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    return canvas


def training_frames(windows: Tensor, labels: list[str], rows: int) -> Figure:
    """Single frames with their neighbours: windows (N, frames, F) standardised."""
    number, reach, width = windows.shape
    columns = min(8, number)
    lines = -(-number // columns)
    canvas = style.figure(10.5, 2.2 * lines + 0.9)
    gap = max(1, reach // 4)
    grid = canvas.subplots(lines, 1, squeeze=False)
    for line, (place,) in enumerate(grid):
        some = slice(line * columns, (line + 1) * columns)
        image = torch.full((width, columns * (reach + gap) - gap), torch.nan)
        for column, (window, label) in enumerate(zip(windows[some], labels[some], strict=True)):
            left = column * (reach + gap)
            image[:, left : left + reach] = window.T
            middle = left + reach // 2
            place.axvspan(middle - 0.5, middle + 0.5, fill=False, ec="white", lw=1)
            options: Any = {"ha": "center", "fontweight": "bold", "color": INK}
            place.text(middle, width + 0.02 * width, label, **options)
        options = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
        place.imshow(image.numpy(), vmin=-3, vmax=3, cmap="viridis", **options)
        style.axes(place, "", "", f"{width} features").grid(visible=False)
        place.spines[["left", "bottom"]].set_visible(False)
        place.set_xticks([])
    title = f"What the model really sees: {number} of the first batch's {rows} frames"
    canvas.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    around = f", with {reach // 2} frames before it and {reach // 2} after it" * (reach > 1)
    canvas.supxlabel(f"each picture one frame{around}", color=INK, fontsize=10)
    return canvas


def pair_scores(scores: Tensor, same: Tensor, threshold: float, rate: float) -> Figure:
    """scores and same (P,): how alike two utterances are, of one speaker and of two."""
    canvas = style.figure(7.6, 4.2)
    title = f"Pairs of utterances: equal error rate {rate:.2%}"
    place = style.axes(canvas.add_subplot(), title, "cosine of the two vectors", "density")
    bins = torch.linspace(float(scores.min()), float(scores.max()) + 1e-6, 61)
    for which, colour, name in ((~same, ORANGE, "two speakers"), (same, BLUE, "one speaker")):
        label = f"{name}: {int(which.sum()):,} pairs"
        values, edges = scores[which].numpy(), bins.tolist()
        place.hist(values, edges, density=True, color=colour, alpha=0.6, label=label)
    place.axvline(threshold, color=INK, lw=1.5, ls="--", label=f"accepted from {threshold:.3f} on")
    style.legend(place)
    return canvas


def listening(ground: Ground, hop: float, weights: dict[str, Tensor], title: str) -> Figure:
    """What of an utterance counts: by name, weights (T,) of its frames with a sum of 1; drawn as
    multiples of an even share."""
    canvas = style.figure(11, 3.2 + 1.3 * len(weights))
    ratios = [3.0] + [1.4] * len(weights)
    above, *below = canvas.subplots(1 + len(weights), 1, sharex=True, height_ratios=ratios)
    _ground(above, ground)
    style.axes(above, title, "", ground.name).grid(visible=False)
    for place, (name, curve) in zip(below, weights.items(), strict=True):
        times = ((torch.arange(len(curve)) + 0.5) * hop).tolist()
        heights = (curve * len(curve)).tolist()
        place.fill_between(times, heights, color=BLUE, alpha=0.35, lw=0)
        place.plot(times, heights, color=BLUE, lw=1.2)
        place.axhline(1, color=ORANGE, lw=1)
        place.set_xlim(0, len(curve) * hop)
        style.axes(place, "", "", "").set_title(name, loc="left", fontsize=9, color=INK)
        place.set_ylim(0, max(1.0, *heights) * 1.08)
    canvas.axes[-1].set_xlabel("time (s); the line is each frame's even share", color=INK)
    return canvas


def runs(names: list[str]) -> Iterator[tuple[int, int, str]]:
    """Where equal neighbours begin and end, and what they are."""
    start = 0
    for place in range(1, len(names) + 1):
        if place == len(names) or names[place] != names[start]:
            yield start, place, names[start]
            start = place


def _ground(place: Axes, ground: Ground) -> None:
    extent = (0.0, ground.seconds, 0.0, ground.top)
    colours = "magma" if ground.kind == "spectrogram" else "viridis"
    image = ground.image.numpy()
    place.imshow(image, origin="lower", aspect="auto", extent=extent, cmap=colours)
    place.tick_params(labelbottom=False)


def _map(place: Axes, weights: Tensor, speech: Speech) -> None:
    # the square root: what is looked at a little should be seen too
    end = len(weights) * speech.hop
    image = weights.float().sqrt().numpy()
    place.imshow(image, origin="lower", aspect="auto", extent=(0, end, 0, end), cmap="Blues")


def _labels(place: Axes, speech: Speech) -> None:
    """Two rows of names, the predicted below; what is wrong is orange."""
    seconds = len(speech.true) * speech.hop
    _runs(place, 1, speech.true, speech.true, speech.hop, seconds)
    _runs(place, 0, speech.predicted, speech.true, speech.hop, seconds)
    place.set(ylim=(0, 2), xlim=(0, seconds))
    place.set_yticks([0.5, 1.5], ["predicted", "true"])
    place.tick_params(colors=INK, labelsize=9)
    place.tick_params(axis="y", length=0)
    place.spines[:].set_visible(False)


def _runs(
    place: Axes, row: int, names: list[str], true: list[str], hop: float, width: float
) -> None:
    """A box for each run of equal names, and its name where there is room for it."""
    offset = -0.5 if hop == 1 else 0.0  # pixels of an image begin half a pixel before their number
    right = [name == truth for name, truth in zip(names, true, strict=True)]
    boxes: dict[str, list[tuple[float, float]]] = {"True": [], "False": []}
    for start, end, verdict in runs([str(one) for one in right]):
        boxes[verdict].append((start * hop + offset, (end - start) * hop))
    for verdict, colour in (("True", PALE_BLUE), ("False", PALE_ORANGE)):
        place.broken_barh(boxes[verdict], (row + 0.06, 0.88), facecolors=colour, lw=0)
    borders = [start * hop + offset for start, _, _ in runs(names)]
    place.vlines(borders, row + 0.06, row + 0.94, color="white", lw=0.8)
    for start, end, name in runs(names):
        if (end - start) * hop >= NARROW * width:
            colour = INK if 2 * sum(right[start:end]) >= end - start else DARK_ORANGE
            options: Any = {"ha": "center", "va": "center", "fontsize": 7, "clip_on": True}
            middle = (start + end) / 2 * hop + offset
            place.text(middle, row + 0.5, name[:8], color=colour, **options)
