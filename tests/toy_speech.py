"""Tiny utterances that train in a second: each frame's vector says its phone, or all say who
speaks, and noise hides it."""

from __future__ import annotations

import json
import wave as wave_file
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hlml.data import generator
from hlml.data.sequences import UNKNOWN, Corpus, SequenceData
from hlml.models.tagger import Tagger

PHONES, FEATURES = 4, 5


class Utterances(SequenceData):
    """24 utterances to train, 9 to validate, 5 to test, of 3 to 20 frames; a phone lasts for 1 to
    4. `one_label`: who speaks is the sum of what is said. `unknown`: that share of the labels."""

    def __init__(
        self,
        batch_size: int = 6,
        seed: int = 0,
        unit: Literal["utterance", "frame"] = "utterance",
        context: int = 0,
        one_label: bool = False,
        unknown: float = 0.0,
        audible: bool = False,
        noise: float = 1.0,
        valid: int = 9,
    ) -> None:
        super().__init__(batch_size, seed, 0, unit, context)
        draw = generator(11)
        counts = [24, valid, 5]
        lengths = torch.randint(3, 21, (sum(counts),), generator=draw)
        runs = torch.randint(1, 5, (int(lengths.sum()),), generator=draw)
        phones = torch.randint(PHONES, (len(runs),), generator=draw)
        labels = phones.repeat_interleave(runs)[: int(lengths.sum())]
        means = 3 * torch.randn(PHONES, FEATURES, generator=draw) + 7
        frames = means[labels] + noise * torch.randn(len(labels), FEATURES, generator=draw)
        if one_label:
            labels = torch.randint(PHONES, (len(lengths),), generator=draw)
            frames = frames + labels.repeat_interleave(lengths)[:, None]
        labels[torch.rand(len(labels), generator=draw) < unknown] = UNKNOWN
        corpus = Corpus(frames, lengths.cumsum(0) - lengths, lengths, labels)
        self.class_names = ["sil", "aa", "sh", "m"]
        self.audible = audible
        self.fill(corpus, *torch.arange(len(lengths)).split(counts))

    def sound(self, row: int) -> tuple[Tensor, int] | None:
        samples = 80 * int(self.splits["valid"].lengths[row])
        return (torch.randn(samples).clamp(-1, 1), 8000) if self.audible else None


class Small(nn.Module):
    """Each frame by itself, or with all of them mixed in by `attention`; a student's own make."""

    def __init__(
        self, inputs: int = FEATURES, one_label: bool = False, attention: bool = False,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.one_label, self.attention = one_label, attention
        self.first = nn.Linear(inputs, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, PHONES)
        if attention:
            self.attention_maps = self.maps

    def maps(self, frames: Tensor, mask: Tensor) -> list[Tensor]:
        scores = (frames @ frames.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf)
        return [scores.softmax(2)[:, None]]

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        if self.attention:
            frames = frames + self.maps(frames, mask)[0][:, 0] @ frames
        hidden = self.dropout(self.first(frames).relu())
        if self.one_label:
            hidden = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        scores: Tensor = self.head(hidden)
        return scores


class Known(Tagger):
    """Its vectors are its own."""

    def __init__(self, inputs: int = FEATURES, dropout: float = 0.0, **head: Any) -> None:
        super().__init__(8, PHONES, **{"one_label": True, **head})
        self.first, self.dropout = nn.Linear(inputs, 8), nn.Dropout(dropout)

    def encode(self, frames: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(self.first(frames).relu())
        return hidden


def course_files(root: Path) -> None:
    """Files in the formats of TIMIT and VoxCeleb as the course has them, and a folder of
    recordings, each of noise: enough of them for a step of every level."""
    draw = np.random.default_rng(0)
    folder = root / "timit_11"
    folder.mkdir()
    for name, count in (("train", 900), ("test", 300)):
        rows = draw.normal(size=(count, 429)).astype(np.float32)
        np.save(folder / f"{name}_11.npy", rows)
    np.save(folder / "train_label_11.npy", draw.integers(0, 39, 900).astype(str))

    folder = root / "Dataset"
    folder.mkdir()
    said: dict[str, list[dict[str, Any]]] = {}
    for number in range(64):
        length = int(draw.integers(100, 200))
        entry = {"feature_path": f"uttr-{number:032x}.pt", "mel_len": length}
        said.setdefault(f"id{number % 4}" if number < 60 else "test", []).append(entry)
        torch.save(torch.randn(length, 40), folder / str(entry["feature_path"]))
    test = said.pop("test")
    numbers = {name: number for number, name in enumerate(said)}
    names = {str(number): name for name, number in numbers.items()}
    lists = {
        "mapping": {"speaker2id": numbers, "id2speaker": names},
        "metadata": {"n_mels": 40, "speakers": said},
        "testdata": {"n_mels": 40, "utterances": test},
    }
    for name, content in lists.items():
        (folder / f"{name}.json").write_text(json.dumps(content))

    for speaker in range(3):
        (root / "speakers" / f"speaker{speaker}").mkdir(parents=True)
        for take in range(12):
            wave = (draw.normal(size=12_000) * 3000).astype(np.int16)
            with wave_file.open(f"{root}/speakers/speaker{speaker}/{take}.wav", "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(wave.tobytes())
