"""Sequences of vectors: what an epoch reads, and that neither context nor padding makes it up."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import toys
from hlml import checkpoint
from hlml.compose import CONFIGS
from hlml.data import generator
from hlml.data.sequences import UNKNOWN, Corpus, SequenceData, Sequences
from hlml.errors import UserError
from hlml.task import Progress, Task

WIDTH = 3
LENGTHS = [5, 1, 12, 7, 30, 7, 2, 12, 9, 4, 17, 3, 8, 21, 6, 11]
SPLITS = ("train", "valid", "test")


class Toy(SequenceData):
    """Utterances of given lengths, with gaps between them that nobody may read: frame n is
    (n, n + 0.25, n + 0.5), and its label n % 4; or an utterance's label is its number % 4."""

    def __init__(
        self,
        lengths: list[int] = LENGTHS,
        one_label: bool = False,
        held_out: int = 3,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> None:
        super().__init__(**{"batch_size": 4, "seed": 1} | options)
        every = torch.tensor(lengths)
        starts = (every + 2).cumsum(0) - every
        count = int(starts[-1] + every[-1]) + 2
        frames = torch.arange(count)[:, None] + torch.tensor([0, 0.25, 0.5])
        real = torch.zeros(count, dtype=torch.bool)
        for start, length in zip(starts, every, strict=True):
            real[start : start + length] = True
        frames[~real] = torch.nan
        labels = torch.arange(len(lengths) if one_label else count) % 4
        self.class_names = list("abcd")
        # utterances are in the splits in another order than in the corpus
        order = torch.randperm(len(lengths), generator=generator(3))
        parts = order.split([len(lengths) - 2 * held_out, held_out, held_out])
        self.fill(Corpus(frames.to(dtype), starts, every, labels), *parts)


lengths_of = st.lists(st.integers(1, 40), min_size=3, max_size=30)


def slowly(data: Toy, split: str, row: int, context: int) -> list[list[float]]:
    """An utterance's frames, each joined with its neighbours by hand."""
    corpus = data.corpus
    number = int(data.splits[split].index[row])  # type: ignore[index]
    start, length = int(corpus.starts[number]), int(corpus.lengths[number])
    whole = corpus.frames[start : start + length].tolist()
    joined = []
    for place in range(length):
        joined.append([])
        for other in range(place - context, place + context + 1):
            joined[-1] += whole[min(max(other, 0), length - 1)]
    return joined


# --- plans


@settings(max_examples=40)
@given(lengths_of, st.integers(1, 100), st.integers(0, 3), st.integers(0, 20))
def test_a_budget_reads_every_row_once_and_no_more_frames_than_it_allows(
    lengths: list[int], budget: int, seed: int, segment: int
) -> None:
    data = Toy(lengths, held_out=1, budget=budget, seed=seed, segment=segment)
    plans = [data.plan(epoch) for epoch in range(4)]
    assert len({len(plan) for plan in plans}) == 1
    for plan in plans:
        assert sorted(torch.cat(plan).tolist()) == list(range(len(lengths) - 2))
        for rows in plan:
            batch = data.rows("train").batch(rows, 0)
            assert batch.mask.numel() <= budget or len(rows) == 1
            assert batch.mask.any(0).all()  # no longer than the longest


def test_several_processes_read_every_utterance_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of which the budget would allow one, which they could not share."""
    monkeypatch.setattr("hlml.distributed._world", 2)
    data = Toy(LENGTHS, budget=20)
    read = [torch.cat(data.rows_of(step, 1)) for step in range(data.steps_per_epoch(1))]
    assert sorted(torch.cat(read).tolist()) == list(range(len(LENGTHS) - 6))


def test_epochs_differ_and_the_same_epoch_does_not() -> None:
    data, again = Toy(budget=40), Toy(budget=40)

    def plain(plan: list[Tensor]) -> list[list[int]]:
        return [rows.tolist() for rows in plan]

    assert plain(data.plan(3)) == plain(again.plan(3))
    assert plain(data.plan(3)) != plain(data.plan(4))
    assert plain(Toy(budget=40, seed=2).plan(3)) != plain(data.plan(3))


def test_pools_leave_little_padding() -> None:
    """Of batches of any length half is padding, of batches from pools a tenth."""
    draw = generator(0)
    lengths = (torch.rand(2000, generator=draw).square() * 400 + 20).long().tolist()
    data = Toy(lengths, budget=4000)

    def real_share(plan: list[Tensor]) -> float:
        every = data.splits["train"].lengths
        batches = [every[rows] for rows in plan]
        whole = sum(int(one.max()) * len(one) for one in batches)
        return int(every.sum()) / whole

    shuffled = torch.randperm(1994, generator=draw).split(25)
    assert real_share(data.plan(0)) > 0.85 > 0.6 > real_share(list(shuffled))


@settings(max_examples=40)
@given(lengths_of, st.integers(0, 100), st.sampled_from(["frame", "utterance"]))
def test_reading_keeps_the_order(lengths: list[int], budget: int, unit: str) -> None:
    data = Toy(lengths, held_out=1, budget=budget, unit=unit)
    for split in SPLITS:
        rows = data.rows(split)  # type: ignore[arg-type]
        batches = data.reading(split)  # type: ignore[arg-type]
        assert torch.cat(batches).tolist() == list(range(len(rows)))
        for some in batches:
            size = rows.batch(some, 0).mask.numel()
            assert len(some) == 1 or not budget or size <= max(budget, data.batch_size)


def test_frames_are_read_once_an_epoch_and_validated_in_whole_utterances() -> None:
    data = Toy(unit="frame", context=1, batch_size=10)
    assert sorted(torch.cat(data.plan(0)).tolist()) == list(range(len(data.rows("train"))))
    assert len(data.rows("train")) == int(data.splits["train"].lengths.sum())
    batch = next(data.evaluation("valid"))
    assert batch.mask.sum(1).tolist() == data.splits["valid"].lengths.tolist()


# --- what a batch holds


@settings(max_examples=40)
@given(lengths_of, st.integers(0, 6))
def test_context_is_what_a_slow_loop_joins_and_never_another_utterances(
    lengths: list[int], context: int
) -> None:
    """What lies between utterances is NaN here, so a single frame too far would show."""
    data = Toy(lengths, held_out=1, context=context)
    assert data.sizes() == {"inputs": WIDTH * (2 * context + 1), "classes": 4}
    for split in SPLITS:
        rows = torch.arange(len(data.splits[split]))  # type: ignore[index]
        batch = data.splits[split].batch(rows, 0)  # type: ignore[index]
        assert batch.frames.dtype == torch.float32
        for row, (frames, mask) in enumerate(zip(batch.frames, batch.mask, strict=True)):
            assert frames[mask].tolist() == slowly(data, split, row, context)


def test_after_its_end_an_utterance_is_zero_masked_and_without_label() -> None:
    data = Toy(context=2)
    rows = torch.tensor([4, 0, 7])
    batch = data.splits["train"].batch(rows, 0)
    lengths = data.splits["train"].lengths[rows]
    assert batch.rows.tolist() == rows.tolist()
    assert batch.mask.shape == (3, int(lengths.max())) == batch.labels.shape
    assert batch.mask.sum(1).tolist() == lengths.tolist()
    assert not (batch.mask[:, 1:] & ~batch.mask[:, :-1]).any()  # real frames come first
    assert (batch.frames[~batch.mask] == 0).all()
    assert (batch.labels[~batch.mask] == UNKNOWN).all()
    middle = batch.frames[..., 2 * WIDTH][batch.mask].long()  # a frame's number in the corpus
    assert batch.labels[batch.mask].tolist() == (middle % 4).tolist()


def test_an_utterances_frames_do_not_depend_on_its_batch() -> None:
    data = Toy(context=1, segment=6)
    whole = data.splits["train"].batch(torch.arange(len(data.splits["train"])), 5)
    for row in range(len(data.splits["train"])):
        alone = data.splits["train"].batch(torch.tensor([row]), 5)
        assert torch.equal(alone.frames[0], whole.frames[row][whole.mask[row]])
        assert torch.equal(alone.labels[0], whole.labels[row][whole.mask[row]])


def test_one_label_belongs_to_the_whole() -> None:
    data = Toy(one_label=True)
    assert data.sizes() == {"inputs": WIDTH, "classes": 4, "one_label": True}
    index = data.splits["valid"].index
    batch = data.splits["valid"].batch(torch.tensor([2, 0]), 0)
    assert batch.labels.tolist() == [int(index[2]) % 4, int(index[0]) % 4]
    with pytest.raises(UserError, match=r"data\.unit=frame: here whole utterances have labels"):
        Toy(one_label=True, unit="frame")


def segments(data: Toy, epoch: int) -> list[list[int]]:
    """The numbers of the frames that each training row is in an epoch."""
    batch = data.splits["train"].batch(torch.arange(len(data.splits["train"])), epoch)
    pairs = zip(batch.frames, batch.mask, strict=True)
    return [frames[mask][:, data.context * WIDTH].long().tolist() for frames, mask in pairs]


@settings(max_examples=40)
@given(lengths_of, st.integers(1, 50), st.integers(0, 2), st.integers(0, 3))
def test_a_segment_is_a_stretch_of_its_utterance(
    lengths: list[int], segment: int, context: int, epoch: int
) -> None:
    data = Toy(lengths, held_out=1, segment=segment, context=context)
    train = data.splits["train"]
    batch = train.batch(torch.arange(len(train)), epoch)
    for row, numbers in enumerate(segments(data, epoch)):
        number = int(train.index[row])
        first, length = int(data.corpus.starts[number]), int(data.corpus.lengths[number])
        assert len(numbers) == min(length, segment)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert first <= numbers[0] <= numbers[-1] < first + length
        # its context is the utterance's, also from outside of the segment
        whole = slowly(data, "train", row, context)
        at = numbers[0] - first
        assert batch.frames[row][batch.mask[row]].tolist() == whole[at : at + len(numbers)]


def test_segments_are_a_function_of_seed_epoch_and_row_and_reach_every_place() -> None:
    data = Toy([20] * 300, segment=16)
    assert segments(data, 2) == segments(Toy([20] * 300, segment=16), 2)
    assert segments(data, 2) != segments(data, 3)
    assert segments(data, 2) != segments(Toy([20] * 300, segment=16, seed=9), 2)
    starts = data.corpus.starts[data.splits["train"].index].tolist()
    found = [
        numbers[0] - start
        for epoch in range(20)
        for numbers, start in zip(segments(data, epoch), starts, strict=True)
    ]
    counts = torch.tensor(found).bincount(minlength=5)
    expected = len(found) / 5
    assert len(counts) == 5
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.5  # chi-square: 1 in 1,000


def test_only_training_reads_segments() -> None:
    data = Toy(segment=3)
    for split in ("valid", "test"):
        rows = data.splits[split]  # type: ignore[index]
        batch = rows.batch(torch.arange(len(rows)), 0)
        assert batch.mask.sum(1).tolist() == rows.lengths.tolist()


@settings(max_examples=40)
@given(lengths_of, st.integers(0, 6))
def test_windows_are_the_frames_of_whole_utterances(lengths: list[int], context: int) -> None:
    data = Toy(lengths, held_out=1, context=context, unit="frame")
    windows, whole = data.rows("train"), data.splits["train"]
    order = torch.randperm(len(windows), generator=generator(2))
    single = windows.batch(order, 0)
    assert single.frames.shape == (len(windows), 1, WIDTH * (2 * context + 1))
    assert single.mask.all()
    utterances = whole.batch(torch.arange(len(whole)), 0)
    assert torch.equal(single.frames[:, 0], utterances.frames[utterances.mask][order])
    assert torch.equal(single.labels[:, 0], utterances.labels[utterances.mask][order])


def test_statistics_are_those_of_the_training_frames() -> None:
    data = Toy(context=1)
    train = data.splits["train"]
    batch = train.batch(torch.arange(len(train)), 0)
    frames = batch.frames[batch.mask][:, WIDTH : 2 * WIDTH].double()
    mean, std = frames.mean(0).repeat(3), frames.std(0, correction=0).repeat(3)
    assert (data.mean - mean).abs().max() < 1e-4
    assert (data.std - std).abs().max() < 1e-4


# --- corpora of other kinds and places


def batches(data: Toy) -> list[Sequences]:
    plan = [data.rows("train").batch(rows, 1) for rows in data.plan(1)]
    return [*plan, *data.evaluation("valid"), *data.evaluation("test")]


@pytest.mark.parametrize("unit", ["utterance", "frame"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_mapped_corpus_is_the_one_in_memory(
    unit: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    options = {"budget": 50, "context": 2, "unit": unit, "dtype": dtype}
    data, mapped = Toy(**options), Toy(**options)
    frames = data.corpus.frames
    (tmp_path / "frames").write_bytes(frames.numpy().tobytes())
    mapped.corpus.frames = torch.from_file(
        str(tmp_path / "frames"), False, frames.numel(), dtype=dtype
    ).view(frames.shape)
    for one, other in zip(batches(data), batches(mapped), strict=True):
        for left, right in zip(one, other, strict=True):
            assert torch.equal(left, right)
            assert left.dtype == right.dtype


@pytest.mark.parametrize("unit", ["utterance", "frame"])
def test_rows_moved_to_a_device_are_the_same_and_share_one_corpus(unit: str) -> None:
    data = Toy(context=1, segment=4, unit=unit)
    device = torch.device("cpu")
    moved = [data.rows(split).to(device) for split in SPLITS]  # type: ignore[attr-defined,arg-type]
    assert len({id(rows.corpus) for rows in moved}) == 1
    for split, rows in zip(SPLITS, moved, strict=True):
        some = torch.arange(len(rows)).flip(0)
        wanted = data.rows(split).batch(some, 3)  # type: ignore[arg-type]
        for left, right in zip(rows.batch(some, 3), wanted, strict=True):
            assert torch.equal(left, right)


def anonymous_memory() -> int:
    """Bytes that are this process's own, and no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts it")
def test_an_epoch_of_a_mapped_corpus_takes_no_memory_for_it(tmp_path: Path) -> None:
    utterances, length, width = 4000, 100, 40
    count = utterances * length * width
    with (tmp_path / "frames").open("wb") as file:
        file.truncate(4 * count)
    frames = torch.from_file(str(tmp_path / "frames"), False, count).view(-1, width)
    every = torch.full((utterances,), length)
    labels = torch.zeros(utterances, dtype=torch.int64)
    data = Toy([3] * 9, budget=5000, context=1)
    rows = torch.arange(utterances)
    data.fill(Corpus(frames, every.cumsum(0) - every, every, labels), *rows.split([3900, 50, 50]))
    before = anonymous_memory()
    for number in data.plan(0):
        data.rows("train").batch(number, 0)
    assert anonymous_memory() - before < 4 * count / 4


# --- a training


class Tagger(Task):
    """A linear layer and dropout on each frame."""

    directions: ClassVar = {"accuracy": "max"}

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(0.3), nn.Linear(inputs, 4))

    def training_step(self, batch: Any, phase: str, progress: Progress) -> Tensor:
        scores = self.model(batch.frames / 200)
        return F.cross_entropy(scores.flatten(0, 1), batch.labels.flatten(), ignore_index=UNKNOWN)

    def validation_step(self, batch: Any) -> dict[str, Tensor]:
        right = (self.model(batch.frames / 200).argmax(2) == batch.labels) & batch.mask
        return {"right": right.sum(), "frames": batch.mask.sum()}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"accuracy": float(totals["right"] / totals["frames"])}

    def predict_step(self, batch: Any) -> list[Any]:
        return []


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 20, "segment": 8, "context": 1},
        {"budget": 20, "segment": 8, "context": 1, "workers": 1},
        {"unit": "frame", "context": 1, "batch_size": 30},
    ],
    ids=["segments", "a worker", "frames"],
)
def test_a_resumed_run_is_the_uninterrupted_one(options: dict[str, Any], tmp_path: Path) -> None:
    def start() -> tuple[Tagger, Toy]:
        toys.seed()
        data = Toy(**options)
        return Tagger(data.sizes()["inputs"]), data

    whole = toys.fit(tmp_path / "whole", *start(), toys.one_phase(), epochs=2)
    end = checkpoint.load(tmp_path / "whole/last.pt")["task"]
    assert whole.total_steps > 7
    stops = [5] if "workers" in options else [1, whole.total_steps // 2, whole.total_steps - 1]
    for stop in stops:
        folder = tmp_path / str(stop)
        toys.fit(folder, *start(), toys.one_phase(), at=stop, epochs=2)
        state = checkpoint.load(folder / "last.pt")
        assert state["step"] == stop
        toys.fit(folder, *start(), toys.one_phase(), state=state, epochs=2)
        resumed = checkpoint.load(folder / "last.pt")["task"]
        assert all(torch.equal(end[name], resumed[name]) for name in end)


# --- configs


@pytest.mark.parametrize(
    "name", ["spoken_phonemes", "timit", "spoken_speakers", "voxceleb", "speaker_folder"]
)
def test_a_config_repeats_its_data_sets_defaults(name: str) -> None:
    """But for the seed, which is the run's, and the batch's size, which has none."""
    listed = yaml.safe_load((CONFIGS / "data" / f"{name}.yaml").read_text())
    module, _, kind = listed.pop("_target_").rpartition(".")
    known = inspect.signature(getattr(importlib.import_module(module), kind)).parameters
    assert listed.pop("seed") == "${seed}"
    assert listed.pop("batch_size")
    assert listed == {option: known[option].default for option in listed}
