"""From text to numbers and back: subwords, characters or words, by SentencePiece.

Kudo 2018, "Subword regularization" (the unigram model of subwords); Kudo & Richardson 2018,
"SentencePiece".
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from hlml.errors import UserError
from hlml.tokens import BEGIN, END, PAD, UNKNOWN

Kind = Literal["subwords", "characters", "words"]
TYPES = {"subwords": "unigram", "characters": "char", "words": "word"}
BLANK = "\u2581"  # a low line, SentencePiece's sign for a blank
WORDS = re.compile(f"{BLANK}?[^{BLANK}]+|{BLANK}", re.DOTALL)


class Vocabulary:
    """The pieces that texts are made of, numbered.

    What is in a text and no piece gets a number behind the last piece's, another one for each, so
    that a model can copy what it cannot know.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)
        self._size = int(self._processor.get_piece_size())
        self.unknown: list[str] = []  # the pieces of numbers len(self), len(self) + 1, ...
        self._numbers: dict[str, int] = {}

    @classmethod
    def learn(
        cls, texts: Iterable[str], kind: Kind, size: int = 8000, normalise: bool = True
    ) -> Vocabulary:
        """At most `size` pieces, fewer where the texts have no more to give. `normalise`: as the
        course does, compatibility forms and case folded (nmt_nfkc_cf).

        UserError: `size` has no room for the texts' characters, or there is nothing in them.
        """
        if kind not in TYPES:
            raise UserError(f"data.kind={kind}: of what? {', '.join(TYPES)}")
        library, out = _sentencepiece(), io.BytesIO()
        library.set_random_generator_seed(0)  # of more texts than input_sentence_size, which
        try:
            library.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_writer=out,
                model_type=TYPES[kind],
                vocab_size=size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="nmt_nfkc_cf" if normalise else "identity",
                add_dummy_prefix=kind != "characters",  # a word's low line tells where it begins
                input_sentence_size=1_000_000,
                shuffle_input_sentence=True,
                pad_id=PAD,
                bos_id=BEGIN,
                eos_id=END,
                unk_id=UNKNOWN,
                num_threads=1,  # sums in another order would choose other pieces
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise _refused(kind, size, str(error)) from error
        return cls(out.getvalue())

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """UserError: there is none at `path`, or one that numbers PAD, BEGIN, END and UNKNOWN
        otherwise, as SentencePiece does when nobody asks for more."""
        try:
            one = cls(path.read_bytes() or b"-")  # nothing would pass for a model
            library = one._processor
            signs = library.pad_id(), library.bos_id(), library.eos_id(), library.unk_id()
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path}: is not a SentencePiece model that can be read") from error
        if signs != (PAD, BEGIN, END, UNKNOWN):
            raise UserError(
                f"{path}: numbers PAD, BEGIN, END and UNKNOWN {signs}, not "
                f"{(PAD, BEGIN, END, UNKNOWN)}: take one that a run has saved"
            )
        return one

    def save(self, path: Path) -> None:
        path.write_bytes(self.model)

    def __len__(self) -> int:
        return self._size

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text its numbers, without BEGIN and END."""
        encoded: list[list[int]] = self._processor.encode(list(texts))
        strange = [place for place, numbers in enumerate(encoded) if UNKNOWN in numbers]
        pieces = self._processor.encode([texts[place] for place in strange], out_type=str)
        for place, parts in zip(strange, pieces, strict=True):
            numbers: list[int] = []
            for number, piece in zip(encoded[place], parts, strict=True):
                # words in a row that are all unknown come as one piece
                known = [number] if number != UNKNOWN else map(self._number, WORDS.findall(piece))
                numbers += known
            encoded[place] = numbers
        return encoded

    def normalised(self, text: str) -> str:
        """What is left of a text when it has been encoded and decoded again."""
        out: str = self._processor.normalize(text)
        return out.replace(BLANK, " ").strip(" ")

    def pieces(self, numbers: Iterable[int]) -> list[str]:
        """What each number stands for; a piece that begins a word begins with a low line."""
        return [self._piece(number) for number in numbers if number not in (PAD, BEGIN, END)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text, as far as its blanks can be told from its pieces."""
        return "".join(self.pieces(numbers)).replace(BLANK, " ").strip(" ")

    def _piece(self, number: int) -> str:
        if number >= self._size:
            return self.unknown[number - self._size]
        return str(self._processor.id_to_piece(number))

    def _number(self, piece: str) -> int:
        if piece not in self._numbers:
            self._numbers[piece] = self._size + len(self.unknown)
            self.unknown.append(piece)
        return self._numbers[piece]


def _refused(kind: Kind, size: int, error: str) -> UserError:
    if needed := re.search(r"required_chars\. \d+ vs (\d+)", error):
        return UserError(
            f"data.pieces={size}: the texts have {needed[1]} different characters and the four "
            "signs PAD, BEGIN, END and UNKNOWN, all of which need a place: choose more pieces"
        )
    return UserError(
        f"data.pieces={size}: SentencePiece makes no vocabulary of {kind} of these texts ({error})"
    )


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise UserError("data: needs SentencePiece; pip install 'hlml[text]'") from error
    return sentencepiece
