"""What the tasks of hw2 and hw4 have in common: a model is shown standardised frames.

SpecAugment: Park et al. 2019, "A Simple Data Augmentation Method for Automatic Speech Recognition".
B batch, T frames, F numbers a frame, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hlml.data.module import DataModule
from hlml.data.sequences import SequenceData, Sequences
from hlml.task import Task
from hlml.tasks import sequence_report
from hlml.tasks.outputs import checked

if TYPE_CHECKING:
    from hlml.logbook import Logbook

MASKS = 2  # of each kind in an utterance, as in the paper
MOST_HIDDEN = 0.2  # of an utterance's frames, by one mask


class SequenceTask(Task, ABC):
    """`label_smoothing` is the share of a label that all classes get alike. Of each training
    utterance, twice up to `time_mask` neighbouring frames and twice up to `feature_mask`
    neighbouring features are hidden, other ones each time."""

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: nn.Module,
        data: SequenceData,
        label_smoothing: float = 0.0,
        time_mask: int = 0,
        feature_mask: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.classes = model, len(data.class_names)
        self.label_smoothing = label_smoothing
        self.time_mask, self.feature_mask = time_mask, feature_mask
        self.features = len(data.mean) // (2 * data.context + 1)  # without the neighbours'
        # buffers: a checkpoint answers in the units it was trained in
        self.register_buffer("scale", 1 / data.std)
        self.register_buffer("shift", -data.mean / data.std)
        self._pictured = False

    def shown(self, batch: Sequences, training: bool) -> Tensor:
        """What the model is given: (B, T, F) standardised, 0 where nothing is or all is hidden."""
        frames, mask = batch.frames, batch.mask
        x = torch.addcmul(self.shift, frames, self.scale)  # (frames - mean) / std, in one pass
        seen = mask[..., None] if frames.shape[1] > 1 else None  # one frame is always a real one
        if training and (self.time_mask or self.feature_mask):
            spared = self._spared(mask, frames.shape[2])
            seen = spared if seen is None else seen & spared
        return x if seen is None else x * seen

    def scores(self, batch: Sequences) -> Tensor:
        """(B, T, K), or (B, K) where the whole has one label."""
        scores = self.model(self.shown(batch, self.training), batch.mask)
        return checked(self.model, scores, (*batch.labels.shape, self.classes))

    def report(self, book: Logbook, data: DataModule, final: bool) -> None:
        """What the model sees, once; what it has learnt, at the end."""
        if not isinstance(data, SequenceData):
            return
        if not self._pictured:
            sequence_report.what_the_model_sees(self, book, data)
            self._pictured = True
        if final:
            self.what_it_has_learnt(book, data)

    @abstractmethod
    def what_it_has_learnt(self, book: Logbook, data: SequenceData) -> None:
        """The last report's pictures."""

    def _spared(self, mask: Tensor, width: int) -> Tensor:
        """(B, T, F) bool: what no mask hides."""
        lengths = mask.sum(1)
        widest = (lengths * MOST_HIDDEN).clamp(max=self.time_mask)
        times = _hidden(torch.arange(mask.shape[1], device=mask.device), lengths, widest)
        # a frame's neighbours are joined to it: a feature is hidden in all of them
        places = torch.arange(width, device=mask.device) % self.features
        sizes = torch.full_like(lengths, self.features)
        features = _hidden(places, sizes, sizes.clamp(max=self.feature_mask))
        return ~(times[:, :, None] | features[:, None])


def _hidden(places: Tensor, lengths: Tensor, widest: Tensor) -> Tensor:
    """(B, P) bool: which of P places lie in one of MASKS stretches within `lengths` (B,), each of
    any width up to `widest` (B,) with equal chance."""
    draws = torch.rand(2, MASKS, len(lengths), device=places.device)
    widths = (draws[0] * (widest.floor() + 1)).floor()
    first = (draws[1] * (lengths - widths + 1)).floor()
    inside = (places >= first[..., None]) & (places < (first + widths)[..., None])
    return inside.any(0)
