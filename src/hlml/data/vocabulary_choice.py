"""The vocabularies of a data set of texts: learned from its pairs, or saved ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hlml.data.picture_source import say
from hlml.data.vocabulary import Kind, Vocabulary
from hlml.errors import UserError

VERSION = 1  # of what is learned
LONG = 5_000_000  # characters to learn from, from where it takes many seconds


@dataclass(frozen=True)
class VocabularyChoice:
    """Options that data sets of texts have in common.

    `kind` and the number of `pieces`, at most; `joint`: one vocabulary for both sides; `normalise`:
    as the course does. `source` and `target`: saved models to use instead, of what is read (and
    written, where joint) and of what is written. `cache`: a folder in which learned ones are kept.
    """

    kind: Kind
    pieces: int
    joint: bool
    normalise: bool
    source: str | None = None
    target: str | None = None
    cache: Path | None = None

    def vocabularies(
        self, first: Sequence[str], second: Sequence[str], reverse: bool = False
    ) -> tuple[Vocabulary, Vocabulary]:
        """Of what is read and what is written: the first and the second, or with `reverse` the
        other way round. A joint one is the same in both directions."""
        if self.joint:
            if self.target is not None:
                raise UserError(
                    f"data.target_vocabulary={self.target}: with data.joint=true there is one "
                    "vocabulary, data.vocabulary; leave it out, or set data.joint=false"
                )
            one = self._saved(self.source) or self._learned([*first, *second])
            return one, one
        read, written = (second, first) if reverse else (first, second)
        return (
            self._saved(self.source) or self._learned(read),
            self._saved(self.target) or self._learned(written),
        )

    def _saved(self, path: str | None) -> Vocabulary | None:
        return None if path is None else Vocabulary.load(Path(path).expanduser())

    def _learned(self, texts: Sequence[str]) -> Vocabulary:
        """From the cache, or learned and kept there."""
        if self.cache is None:
            return self._learn(texts)
        digest = hashlib.sha256(
            json.dumps([VERSION, self.kind, self.pieces, self.normalise]).encode()
        )
        for text in texts:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
        path = self.cache / f"vocabulary_{digest.hexdigest()[:20]}.model"
        with suppress(UserError):
            return Vocabulary.load(path)
        vocabulary = self._learn(texts)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            vocabulary.save(temporary)
            temporary.replace(path)
        except OSError as error:
            say(f"the vocabulary cannot be kept in {self.cache} ({error.strerror})")
        return vocabulary

    def _learn(self, texts: Sequence[str]) -> Vocabulary:
        if (size := sum(map(len, texts))) > LONG:
            say(f"learning a vocabulary from {len(texts):,} texts of {size:,} characters, once")
        return Vocabulary.learn(texts, self.kind, self.pieces, self.normalise)
