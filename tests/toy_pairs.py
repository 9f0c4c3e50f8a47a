"""Tiny pairs that train in a second: words to write backwards, and a model with one look back."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlml.data.module import Split
from hlml.data.pairs import PairData
from hlml.data.vocabulary import Vocabulary
from hlml.models.copying import Copying
from hlml.models.encoder_decoder import Embedding, EncoderDecoder, Written
from hlml.tokens import PAD

LETTERS, NAMES = "a b c d e f", "Ann Bob Cleo Dan"  # nobody knows the names
COUNTS: dict[Split, int] = {"train": 40, "valid": 13, "test": 6}
PLACES = 16  # the longest source and target


@functools.cache
def vocabulary(letters: str) -> Vocabulary:
    return Vocabulary.learn([letters] * 20, "words", 100, normalise=False)


class Words(PairData):
    """Sources of 2 to 7 letters with blanks between them, the targets the same from the end.

    `turned` false: as they are; `names`: among the letters are words that are in no vocabulary;
    `joint`: one vocabulary, or else one for each side, in capitals there; `several`: a second
    reference of every other row.
    """

    def __init__(
        self,
        batch_size: int = 8,
        seed: int = 0,
        budget: int = 0,
        scoring: Literal["bleu", "errors"] = "errors",
        turned: bool = True,
        names: bool = False,
        joint: bool = True,
        several: bool = False,
    ) -> None:
        super().__init__(batch_size, seed, 0, budget)
        self.scoring, self.several = scoring, several
        self.source_vocabulary = vocabulary(LETTERS)
        self.target_vocabulary = self.source_vocabulary if joint else vocabulary(LETTERS.upper())
        draw = random.Random(5)
        known = LETTERS.split() + (NAMES.split() if names else [])
        words = [draw.choices(known, k=draw.randint(2, 7)) for _ in range(sum(COUNTS.values()))]
        self.sources = [" ".join(word) for word in words]
        self.targets = [" ".join(word[::-1] if turned else word) for word in words]
        if not joint:
            self.targets = [text.upper() for text in self.targets]
        parts = torch.arange(len(words)).split(list(COUNTS.values()))
        self.fill(
            self.source_vocabulary.encode(self.sources),
            self.target_vocabulary.encode(self.targets),
            dict(zip(COUNTS, parts, strict=True)),
        )

    def source_text(self, split: Split, row: int) -> str:
        return self.sources[int(self.splits[split].index[row])]

    def references(self, split: Split, row: int) -> list[str]:
        text = self.targets[int(self.splits[split].index[row])]
        return [text, text.replace("a", "b")] if self.several and row % 2 else [text]

    def write_answers(self, answers: list[Any], path: Path) -> None:
        path.write_text("".join(f"{answer}\n" for answer in answers))


class Glance(EncoderDecoder):
    """Looks at the source once for each token, by its place and the token before; what was written
    earlier is forgotten."""

    def __init__(
        self,
        source_size: int,
        target_size: int,
        width: int = 16,
        dropout: float = 0.0,
        copying: bool = False,
    ) -> None:
        super().__init__()
        self.source_embedding = Embedding(source_size, width)
        self.target_embedding = Embedding(target_size, width)
        self.source_places, self.target_places = (nn.Embedding(PLACES, width) for _ in range(2))
        self.output = nn.Linear(2 * width, target_size)
        self.dropout = nn.Dropout(dropout)
        self.copies = copying
        self.copying = Copying(2 * width, target_size) if copying else None

    def read(self, source: Tensor) -> dict[str, Tensor]:
        """source (B, S) -> itself, its vectors (B, S, D), and how much has been written (B,)"""
        places = torch.arange(source.shape[1], device=source.device)
        vectors = self.source_embedding(source) + self.source_places(places)
        return {"source": source, "vectors": vectors, "place": torch.zeros_like(source[:, 0])}

    def write(self, state: Any, target: Tensor, looking: bool = False) -> Written:
        places = state["place"][:, None] + torch.arange(target.shape[1], device=target.device)
        x = self.target_embedding(target) + self.target_places(places % PLACES)
        vectors, source = state["vectors"], state["source"]
        scores = (x @ vectors.transpose(1, 2)).masked_fill((source == PAD)[:, None], -torch.inf)
        looks = scores.softmax(2)
        hidden = self.dropout(F.relu(torch.cat([x, looks @ vectors], 2)))
        out = self.output(hidden)
        if self.copying is not None:
            out = self.copying(hidden, looks, out, source)
        return Written(out, looks if looking else None)

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        written = self.write(state, token[:, None])
        return written.scores[:, 0], {**state, "place": state["place"] + 1}


def glance(data: Words, **options: Any) -> Glance:
    torch.manual_seed(0)
    return Glance(**data.sizes(), **options)


def course_files(root: Path) -> None:
    """The files of TED2020 as the course has them, and two files of a line a translation."""
    english = [f"Talk {n}, about cat-like {chr(97 + n % 26)} things." for n in range(120)]
    chinese = [f"演講{n}，關於貓{chr(0x4E00 + n % 40)}的事。" for n in range(120)]
    files = {"raw.en": english, "raw.zh": chinese, "test.en": english[:9]}
    files |= {"bitext.en": english, "bitext.zh": chinese}
    for name, lines in files.items():
        (root / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
