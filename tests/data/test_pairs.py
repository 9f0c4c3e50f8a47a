"""Batches of pairs: each row once, no padding beyond the budget, and all of it a function of the
seed and the epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hlml import distributed
from hlml.data.module import Split
from hlml.data.pairs import Packed, PairData
from hlml.data.vocabulary_choice import VocabularyChoice
from hlml.errors import UserError
from hlml.tokens import BEGIN, END, PAD

SEQUENCES = st.lists(st.integers(4, 99), max_size=9)
PAIRS = st.lists(st.tuples(SEQUENCES, SEQUENCES), min_size=2, max_size=60)
WORDS = VocabularyChoice("words", 100, joint=False, normalise=False)


class Given(PairData):
    """Pairs of numbers, of which every fifth is for validation."""

    def __init__(
        self, pairs: list[tuple[list[int], list[int]]], budget: int, seed: int = 0
    ) -> None:
        super().__init__(4, seed, budget=budget)
        self.pairs = pairs
        rows = torch.arange(len(pairs))
        held_out = rows % 5 == 1
        splits: dict[Split, Tensor] = {"train": rows[~held_out], "valid": rows[held_out]}
        self.fill([pair[0] for pair in pairs], [pair[1] for pair in pairs], splits)

    def longest(self, split: Split, row: int) -> int:
        """Tokens of the row's longer side, with the signs around it."""
        source, target = self.pairs[int(self.splits[split].index[row])]
        return max(len(source) + 1, len(target) + 2)


def padded(sequences: list[list[int]]) -> list[list[int]]:
    longest = max(map(len, sequences))
    return [one + [PAD] * (longest - len(one)) for one in sequences]


@settings(max_examples=40)
@given(pairs=PAIRS, budget=st.integers(0, 60), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_reads_every_row_once_within_the_budget(
    pairs: list[tuple[list[int], list[int]]], budget: int, seed: int, epoch: int
) -> None:
    data = Given(pairs, budget, seed)
    plan = data.plan(epoch)
    assert sorted(torch.cat(plan).tolist()) == list(range(len(data.rows("train"))))
    assert len(plan) == len(data.plan(epoch + 1)) == data.steps_per_epoch(1)
    for rows in plan:
        most = budget // max(data.longest("train", row) for row in rows.tolist())
        assert len(rows) <= (max(1, most) if budget else 4)
    again = Given(pairs, budget, seed)
    again.plan(epoch + 7)
    assert all(map(torch.equal, plan, again.plan(epoch)))


def test_another_epoch_and_another_seed_have_another_order() -> None:
    pairs = [([4] * (row % 9), [5] * (row % 7)) for row in range(200)]
    orders = [torch.cat(Given(pairs, 50, seed).plan(epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


@settings(max_examples=40)
@given(pairs=PAIRS, budget=st.integers(0, 60), split=st.sampled_from(["train", "valid"]))
def test_evaluation_reads_every_row_once_from_short_to_long(
    pairs: list[tuple[list[int], list[int]]], budget: int, split: Split
) -> None:
    data = Given(pairs, budget)
    reading = data.reading(split)
    order = torch.cat(reading) if reading else torch.empty(0, dtype=torch.int64)
    assert sorted(order.tolist()) == list(range(len(data.rows(split))))
    lengths = data.splits[split].lengths()[0][order]
    assert torch.equal(lengths, lengths.sort().values)
    for rows in reading:
        most = budget // max(data.longest(split, row) for row in rows.tolist())
        assert 0 < len(rows) <= (max(1, most) if budget else 4)


@settings(max_examples=40)
@given(pairs=PAIRS, budget=st.integers(0, 60))
def test_batches_hold_the_pairs_with_their_signs_and_padding(
    pairs: list[tuple[list[int], list[int]]], budget: int
) -> None:
    data = Given(pairs, budget)
    for rows in data.plan(0):
        batch = data.rows("train").batch(rows, 0)
        chosen = [pairs[int(data.splits["train"].index[row])] for row in rows.tolist()]
        assert batch.source.tolist() == padded([[*source, END] for source, _ in chosen])
        assert batch.target.tolist() == padded([[BEGIN, *target, END] for _, target in chosen])
        assert batch.rows.tolist() == rows.tolist()


def test_processes_all_have_a_part_of_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [([4] * (row % 9), [5] * (row % 7)) for row in range(50)]
    monkeypatch.setattr(distributed, "world", lambda: 3)
    plan = Given(pairs, 12).plan(0)
    assert sum(len(rows) >= 3 for rows in plan) >= len(plan) - 1


@settings(max_examples=40)
@given(st.lists(SEQUENCES.filter(len), min_size=1, max_size=20))
def test_packed_sequences_are_read_as_they_were(sequences: list[list[int]]) -> None:
    packed = Packed.of(iter(sequences))
    assert packed.read(torch.arange(len(sequences))).tolist() == padded(sequences)
    assert packed.bytes() == 4 * sum(map(len, sequences))


class Texts(PairData):
    def __init__(self, reverse: bool, choice: VocabularyChoice = WORDS) -> None:
        super().__init__(2, reverse=reverse)
        texts = ["a b", "c", "a c c", "d"], ["A B", "C", "A C C", "D"]
        splits: dict[Split, Tensor] = {
            **{"train": torch.tensor([0, 1]), "valid": torch.tensor([2]), "test": torch.tensor([3])}
        }
        self.fill_texts(texts, splits, choice)


def test_reversed_data_reads_what_was_written_with_the_vocabularies_exchanged() -> None:
    forward, backward = Texts(False), Texts(True)
    assert forward.source_vocabulary.model == backward.target_vocabulary.model
    assert forward.target_vocabulary.model == backward.source_vocabulary.model
    for split in forward.splits:
        for row in range(len(forward.splits[split])):
            assert backward.references(split, row) == [forward.source_text(split, row)]
            assert forward.references(split, row) == [backward.source_text(split, row)]
            batches = [
                data.splits[split].batch(torch.tensor([row]), 0) for data in (forward, backward)
            ]
            assert torch.equal(batches[0].source, batches[1].target[:, 1:])
            assert torch.equal(batches[1].source, batches[0].target[:, 1:])


def test_vocabularies_are_made_of_what_is_trained_on() -> None:
    data = Texts(False)
    pieces = data.source_vocabulary.pieces(range(4, len(data.source_vocabulary)))
    assert sorted(pieces) == ["▁a", "▁b", "▁c"]
    test = data.splits["test"].batch(torch.tensor([0]), 0)
    assert test.source.tolist() == [[len(data.source_vocabulary), END]]


@pytest.mark.parametrize("reverse", [False, True])
def test_saved_vocabularies_are_of_what_is_read_and_what_is_written(
    reverse: bool, tmp_path: Path
) -> None:
    run = Texts(reverse)
    source, target = str(tmp_path / "s"), str(tmp_path / "t")
    run.source_vocabulary.save(Path(source))
    run.target_vocabulary.save(Path(target))
    saved = VocabularyChoice("subwords", 5, False, True, source, target)
    again = Texts(reverse, saved)
    assert again.source_vocabulary.model == run.source_vocabulary.model
    assert again.target_vocabulary.model == run.target_vocabulary.model
    assert torch.equal(again.splits["train"].source.tokens, run.splits["train"].source.tokens)


def test_a_joint_vocabulary_is_one_object_and_the_same_in_both_directions(tmp_path: Path) -> None:
    joint = VocabularyChoice("words", 100, True, False)
    forward, backward = Texts(False, joint), Texts(True, joint)
    assert forward.source_vocabulary is forward.target_vocabulary
    assert forward.source_vocabulary.model == backward.source_vocabulary.model
    with pytest.raises(UserError, match=r"data\.target_vocabulary=x: with data\.joint=true"):
        Texts(False, VocabularyChoice("words", 100, True, False, target="x"))


def test_learned_vocabularies_are_kept_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    cached = VocabularyChoice("words", 100, False, False, cache=tmp_path / "cache")
    wanted = Texts(False).source_vocabulary.model
    assert Texts(False, cached).source_vocabulary.model == wanted
    files = sorted((tmp_path / "cache").iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    assert Texts(False, cached).source_vocabulary.model == wanted
    other = VocabularyChoice("words", 6, False, False, cache=tmp_path / "cache")
    assert len(Texts(False, other).source_vocabulary) == 6
    assert set(files) < set((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_written_is_said_and_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    cached = VocabularyChoice("words", 100, True, False, cache=tmp_path / "cache")
    assert len(Texts(False, cached).source_vocabulary) == 4 + 6
    assert "cannot be kept in" in capsys.readouterr().err


def test_answers_are_a_line_each_whatever_is_in_them(tmp_path: Path) -> None:
    answers = ["one", "", "three\u2028\x0b\r and more", "  four"]
    Texts(False).write_answers(answers, tmp_path / "prediction.txt")
    assert (tmp_path / "prediction.txt").read_bytes().decode().split("\n") == [*answers, ""]


def test_a_budget_below_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.budget=-1"):
        Given([([4], [4])] * 3, -1)
