"""Sequence to sequence: the loss of each token whatever the batch, and what is made of answers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import toys
from hlml import checkpoint
from hlml.data.pairs import Pairs
from hlml.decoding import beam_search
from hlml.errors import UserError
from hlml.evaluation import evaluate, predict
from hlml.models.copying import answers_for
from hlml.models.encoder_decoder import EncoderDecoder, Written
from hlml.models.rnn_seq2seq import RNNSeq2Seq
from hlml.models.transformer import Transformer
from hlml.task import Progress
from hlml.tasks.guided_attention import off_diagonal
from hlml.tasks.sequence_to_sequence import SequenceToSequence
from hlml.tokens import PAD, UNKNOWN
from toy_pairs import Glance, Words, glance

BEGINNING, END_OF_RUN = Progress(0, 10), Progress(10, 10)


def task_of(data: Words, model: dict[str, Any] | None = None, **options: Any) -> SequenceToSequence:
    return SequenceToSequence(glance(data, **model or {}), data, **options).double().eval()


def whole(data: Words, split: Any = "valid") -> Pairs:
    return data.rows(split).batch(torch.arange(len(data.rows(split))), 0)


def padded(batch: Pairs, more: int) -> Pairs:
    padded = F.pad(batch.source, (0, more)), F.pad(batch.target, (0, more))
    return Pairs(*padded, batch.rows, batch.split)


def loss_of(task: SequenceToSequence, batch: Pairs, at: Progress = BEGINNING) -> Tensor:
    return task.training_step(batch, "main", at)


class Echo(EncoderDecoder):
    """Says the source again, whatever the words; of names it can say where they stand."""

    copies = True

    def __init__(self, source_size: int, target_size: int) -> None:
        super().__init__()
        self.size = target_size
        self.weight = nn.Parameter(torch.zeros(()))

    def read(self, source: Tensor) -> Any:
        return {"source": source, "place": torch.zeros_like(source[:, 0])}

    def write(self, state: Any, target: Tensor, looking: bool = False) -> Written:
        source = state["source"]
        places = state["place"][:, None] + torch.arange(target.shape[1])
        words = answers_for(source, self.size).gather(1, places.clamp(max=source.shape[1] - 1))
        sure = F.one_hot(words, self.size + source.shape[1]).double()
        return Written((sure + 1e-9).log() + self.weight, None)

    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        scores = self.write(state, token[:, None]).scores[:, 0]
        return scores, {**state, "place": state["place"] + 1}


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("names", [False, True])
def test_the_loss_is_torchs_over_the_tokens_that_are_written(
    label_smoothing: float, names: bool
) -> None:
    data = Words(names=names)
    task = task_of(data, label_smoothing=label_smoothing)
    batch = whole(data, "train")
    scores, labels = task.model(batch.source, batch.target[:, :-1]), batch.target[:, 1:]
    real, unknown = labels != PAD, labels >= len(data.target_vocabulary)
    assert bool(unknown.any()) == names
    labels = torch.where(unknown, UNKNOWN, labels)
    expected = F.cross_entropy(scores[real], labels[real], label_smoothing=label_smoothing)
    torch.testing.assert_close(loss_of(task, batch), expected)
    assert task.items(batch) == int(real.sum())
    parts = [
        task.validation_step(data.rows("valid").batch(n, 0)) for n in torch.arange(13)[:, None]
    ]
    tokens = sum(len(text.split()) + 1 for text in data.targets[40:53])
    assert torch.stack([part["loss"] for part in parts]).sum(0)[1] == tokens


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_what_can_be_copied_is_a_label_and_no_word_that_smoothing_reaches(
    label_smoothing: float,
) -> None:
    data = Words(names=True)
    task = task_of(data, {"copying": True}, label_smoothing=label_smoothing)
    batch, words = whole(data, "train"), len(data.target_vocabulary)
    likely = task.model(batch.source, batch.target[:, :-1])
    losses, copied = [], 0
    for source, target, row in zip(batch.source, batch.target[:, 1:], likely, strict=True):
        for word, scores in zip(target.tolist(), row, strict=True):
            if word == PAD:
                continue
            if word >= words:
                word, copied = words + source.tolist().index(word), copied + 1
            spread = scores[:words].sum() / words
            losses.append(-(1 - label_smoothing) * scores[word] - label_smoothing * spread)
    assert copied > 20
    torch.testing.assert_close(loss_of(task, batch), torch.stack(losses).mean())


@settings(max_examples=8)
@given(st.integers(2, 13), st.booleans(), st.sampled_from(["errors", "bleu"]))
def test_neither_batches_nor_padding_change_the_numbers(
    size: int, copying: bool, scoring: Any
) -> None:
    data = Words(names=copying, scoring=scoring, several=True)
    task = task_of(data, {"copying": copying}, label_smoothing=0.1, guided=0.3)
    batch = whole(data)
    with torch.no_grad():
        parts = [data.rows("valid").batch(rows, 0) for rows in torch.arange(13).split(size)]
        sums = [task.validation_step(part) for part in parts]
        totals = {name: torch.stack([one[name] for one in sums]).sum(0) for name in sums[0]}
        at_once, more = task.validation_step(batch), task.validation_step(padded(batch, 4))
        shares = [loss_of(task, part) * task.items(part) for part in parts]
        torch.testing.assert_close(sum(shares) / task.items(batch), loss_of(task, batch))
        assert task.answers(padded(batch, 3), 1) == task.predict_step(batch)
    for name, value in at_once.items():
        assert value.dtype == torch.float64
        torch.testing.assert_close(totals[name], value)
        torch.testing.assert_close(more[name], value)
    found = task.metrics(totals)
    assert list(found) == list(task.directions)


def test_padding_changes_no_gradient() -> None:
    data = Words()
    task = task_of(data, label_smoothing=0.1, guided=0.5)
    gradients = []
    for batch in (whole(data), padded(whole(data), 4)):
        task.zero_grad()
        loss_of(task, batch).backward()
        gradients.append([weight.grad for weight in task.parameters()])
    torch.testing.assert_close(*gradients)


def test_the_data_say_what_is_measured() -> None:
    errors, text = task_of(Words(scoring="errors")), task_of(Words(scoring="bleu"))
    assert list(errors.directions.items()) == [("per", "min"), ("wer", "min"), ("loss", "min")]
    assert list(text.directions.items()) == [("bleu", "max"), ("chrf", "max"), ("loss", "min")]


@pytest.mark.parametrize("split", ["valid", "test", "train"])
@pytest.mark.parametrize("scoring", ["errors", "bleu"])
def test_who_repeats_all_words_makes_no_mistake_with_names(split: Any, scoring: Any) -> None:
    """In each split, against its own references."""
    data = Words(scoring=scoring, turned=False, names=True, several=True, budget=40)
    task = SequenceToSequence(Echo(**data.sizes()), data).eval()
    found = evaluate(task, data, split)
    assert found is not None
    best = {"per": 0, "wer": 0} if scoring == "errors" else {"bleu": 100, "chrf": 100}
    assert found == pytest.approx({**best, "loss": 0}, abs=1e-6)
    assert predict(task, data, split) == [
        data.source_text(split, row) for row in range(len(data.rows(split)))
    ]


@pytest.mark.parametrize("beam", [1, 3])
def test_answers_are_in_order_and_their_own_whatever_the_batches(beam: int) -> None:
    data = Words(budget=24, names=True)
    task = task_of(data, {"copying": True}, beam=beam, length_penalty=0.7)
    answers = predict(task, data, "valid")
    batch = whole(data)
    with torch.no_grad():
        alone = [task.answers(data.rows("valid").batch(n, 0), beam)[0] for n in torch.arange(13)[:, None]]  # fmt: skip # noqa: E501
        assert answers == alone
        written = task.write(batch, beam)
        lengths = [int(1.2 * (row != PAD).sum() - 1.2 + 10.0001) for row in batch.source]
        assert task.longest(batch.source).tolist() == lengths
        if beam > 1:
            longest = torch.tensor(lengths)
            assert written == beam_search(task.model, batch.source, longest, beam, 0.7)
    numbers = task.copied(written, batch.source)
    assert answers == [data.target_vocabulary.decode(row) for row in numbers]


class Plain(nn.Module):
    """A student's own: scores of (source, target), and nothing else."""

    def __init__(self, inner: Glance, wrong: str = "") -> None:
        super().__init__()
        self.inner, self.wrong = inner, wrong

    def forward(self, source: Tensor, target: Tensor) -> Any:
        scores = self.inner(source, target)
        return scores.transpose(1, 2) if self.wrong == "turned" else None if self.wrong else scores


def test_a_model_that_only_has_scores_can_write() -> None:
    data = Words()
    known, own = task_of(data), SequenceToSequence(Plain(glance(data)), data).double().eval()
    batch = whole(data)
    with torch.no_grad():
        assert own.predict_step(batch) == known.predict_step(batch)
        assert own.answers(batch, 4) == known.answers(batch, 4)
        assert torch.equal(loss_of(own, batch), loss_of(known, batch))


class Counted(Glance):
    """Remembers what it was shown."""

    def write(self, state: Any, target: Tensor, looking: bool = False) -> Written:
        self.shown = [*getattr(self, "shown", []), target]
        return super().write(state, target, looking)


def sampled(data: Words, sampling: float, at: Progress) -> tuple[Tensor, list[Tensor], Any]:
    torch.manual_seed(0)
    model = Counted(**data.sizes(), dropout=0.2)
    task = SequenceToSequence(model, data, sampling=sampling)
    torch.manual_seed(1)
    loss = loss_of(task, whole(data, "train"), at)
    return loss, model.shown, model


@pytest.mark.parametrize(("sampling", "at"), [(0.0, END_OF_RUN), (1.0, BEGINNING)])
def test_sampling_with_probability_0_is_teacher_forcing(sampling: float, at: Progress) -> None:
    """To the last bit, dropout included, and in one pass."""
    data = Words()
    expected, _, _ = sampled(data, 0, BEGINNING)
    loss, shown, _ = sampled(data, sampling, at)
    assert torch.equal(loss, expected)
    assert len(shown) == 1
    assert torch.equal(shown[0], whole(data, "train").target[:, :-1])


def test_sampling_with_probability_1_shows_the_models_guesses() -> None:
    data = Words()
    task = task_of(data, sampling=1.0)
    batch, total, count = whole(data, "train"), 0.0, 0
    for source, target in zip(batch.source, batch.target, strict=True):
        shown = target[:-1].clone()
        scores = task.model(source[None], target[None, :-1])[0]
        for place in range(1, len(shown)):
            guess = int(scores[place - 1].argmax())
            if shown[place] != PAD and guess != PAD:
                shown[place] = guess
        likely = task.model(source[None], shown[None])[0].log_softmax(1)
        for place, label in enumerate(target[1:].tolist()):
            if label != PAD:
                total, count = total - likely[place, label].item(), count + 1
    assert loss_of(task, batch, END_OF_RUN).item() == pytest.approx(total / count)


@pytest.mark.parametrize("make", [Transformer, RNNSeq2Seq])
def test_both_passes_of_sampling_begin_with_what_was_read(make: Any) -> None:
    """The first leaves nothing behind in it: as if each had read for itself."""
    torch.manual_seed(0)
    data = Words()
    model = make(**data.sizes(), width=16)
    task = SequenceToSequence(model, data, sampling=1.0, guided=0.5).double().eval()
    batch = whole(data)
    shown = batch.target[:, :-1].clone()
    guesses = model(batch.source, shown).argmax(2)[:, :-1]
    real = (shown[:, 1:] != PAD) & (guesses != PAD)
    shown[:, 1:] = torch.where(real, guesses, shown[:, 1:])
    labels = batch.target[:, 1:]
    written = model.write(model.read(batch.source), shown, looking=True)
    far = off_diagonal(written.looks, batch.source, labels, 0.2).sum() / task.items(batch)
    expected = F.cross_entropy(written.scores.flatten(0, 1), labels.flatten(), ignore_index=PAD)
    torch.testing.assert_close(loss_of(task, batch, END_OF_RUN), expected + 0.5 * far)


@pytest.mark.parametrize("step", [3, 9])
def test_sampling_grows_with_the_steps(step: int) -> None:
    data = Words()
    _, (first, second), model = sampled(data, 0.8, Progress(step, 10))
    guesses = model.eval()(whole(data, "train").source, first).argmax(2)[:, :-1]
    assert torch.equal(first[:, 0], second[:, 0])
    real = first[:, 1:] != PAD
    assert torch.equal(first[:, 1:][~real], second[:, 1:][~real])
    changed = (first != second)[:, 1:][real]
    different = (guesses != first[:, 1:])[real]  # dropout moves few of an untrained model's guesses
    share = float(changed.double().mean() / different.double().mean())
    assert share == pytest.approx(0.08 * step, abs=0.12)


def test_sampling_leaves_every_gradient_in_half_precision() -> None:
    """The first pass casts the weights without gradients, and the second must not use those."""
    data = Words()
    task = SequenceToSequence(glance(data), data, sampling=1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(task, whole(data, "train"), END_OF_RUN)
    loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in task.parameters())


def test_the_penalty_on_what_is_off_the_diagonal() -> None:
    """As in the paper, place by place."""
    data = Words()
    batch, width = whole(data), 0.3
    labels = batch.target[:, 1:]
    looks = torch.rand(*labels.shape, batch.source.shape[1], dtype=torch.float64)
    found = off_diagonal(looks, batch.source, labels, width)
    for row, (source, label) in enumerate(zip(batch.source, labels, strict=True)):
        read, written = int((source != PAD).sum()), int((label != PAD).sum())
        for t in range(labels.shape[1]):
            expected = 0.0
            for s in range(read if t < written else 0):
                far = 1 - math.exp(-((t / written - s / read) ** 2) / (2 * width**2))
                expected += float(looks[row, t, s]) * far
            assert float(found[row, t]) == pytest.approx(expected, abs=1e-6)
    task, plain = task_of(data, guided=0.7, guided_width=width), task_of(data)
    state = task.model.read(batch.source)
    looks = task.model.write(state, batch.target[:, :-1], looking=True).looks
    assert looks is not None
    far = off_diagonal(looks, batch.source, labels, width).sum() / task.items(batch)
    torch.testing.assert_close(loss_of(task, batch), loss_of(plain, batch) + 0.7 * far)


def test_guided_attention_looks_along_the_diagonal() -> None:
    """The mean distance from it, in shares of the length, of pairs that were not trained on."""
    data, distances = Words(turned=False), []
    for guided in (0.0, 2.0):
        task = SequenceToSequence(glance(data), data, guided=guided)
        toys.seed()
        toys.fit(None, task, data, toys.one_phase(), epochs=20, validate_every=1000)
        batch = whole(data)
        with torch.no_grad():
            state = task.model.read(batch.source)
            looks = task.model.write(state, batch.target[:, :-1], looking=True).looks
        assert looks is not None
        total = tokens = 0.0
        for row, source, target in zip(looks, batch.source, batch.target[:, 1:], strict=True):
            read, written = int((source != PAD).sum()), int((target != PAD).sum())
            along, down = torch.arange(read) / read, torch.arange(written) / written
            apart = (down[:, None] - along).abs()
            total += float((row[:written, :read] * apart).sum())
            tokens += written
        distances.append(total / tokens)
    assert distances[1] < 0.8 * distances[0]


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    """Guesses and dropout are drawn on from where they stopped, and batches are by tokens."""

    def start() -> tuple[SequenceToSequence, Words]:
        toys.seed()
        data = Words(budget=40)
        model = glance(data, dropout=0.2)
        task = SequenceToSequence(model, data, 0.1, sampling=0.5, guided=0.1)
        task._pictured = True  # there is nothing to see here
        return task, data

    options: Any = {"epochs": 2, "validate_every": 7}
    one = toys.fit(tmp_path / "one", *start(), toys.one_phase(), **options)
    toys.fit(tmp_path / "half", *start(), toys.one_phase(), at=one.total_steps // 2, **options)
    state, _ = checkpoint.load_newest(tmp_path / "half" / "last.pt")
    fresh = start()
    toys.seed(99)
    toys.fit(tmp_path / "half", *fresh, toys.one_phase(), state=state, **options)
    ends = [checkpoint.load(tmp_path / name / "last.pt") for name in ("one", "half")]
    assert all(torch.equal(ends[0]["task"][key], ends[1]["task"][key]) for key in ends[0]["task"])


@pytest.mark.parametrize(
    ("wrong", "found"), [("turned", r"shape \(13, 10, 8\)"), ("nothing", "NoneType")]
)
def test_a_wrong_shape_is_an_error_at_the_line_of_forward(wrong: str, found: str) -> None:
    data = Words()
    place = rf"{Path(__file__).name}, line {Plain.forward.__code__.co_firstlineno}: Plain.forward"
    with pytest.raises(UserError, match=rf"{place} returned {found} for 13.*\(13, 8, 10\)"):
        loss_of(SequenceToSequence(Plain(glance(data), wrong), data), whole(data))


def test_a_model_of_another_vocabulary_is_refused() -> None:
    data = Words()
    task = SequenceToSequence(Glance(10, 12), data)
    with pytest.raises(UserError, match=re.escape("(13, 8, 12) for 13 rows") + ".*Glance.write"):
        loss_of(task, whole(data))


def test_what_cannot_work_is_refused() -> None:
    data, two = Words(), Words(joint=False)
    with pytest.raises(UserError, match=r"data\.joint=true"):
        SequenceToSequence(glance(two, copying=True), two)
    with pytest.raises(UserError, match=r"task\.beam=0"):
        SequenceToSequence(glance(data), data, beam=0)
    with pytest.raises(UserError, match=r"task\.sampling=1\.5"):
        SequenceToSequence(glance(data), data, sampling=1.5)
    with pytest.raises(UserError, match="pairs of sequences, and data is of Points"):
        SequenceToSequence(glance(data), toys.Points())  # type: ignore[arg-type]
    blind = SequenceToSequence(Plain(glance(data)), data, guided=1.0)
    with pytest.raises(UserError, match=r"task\.guided: Plain does not say"):
        loss_of(blind, whole(data))
