"""Picture data sets: no row in two splits, hidden labels, plans that are pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from hlml.data.images import UNKNOWN, ImageRows, Images, Pictures, stratified
from hlml.data.mnist5k import MNIST5k, read_digits
from hlml.data.module import to_device
from hlml.errors import UserError


class Shapes(Images):
    """30 pictures with labels of 3 classes, 50 without, 9 and 9 to validate and test."""

    def __init__(self, **options: Any) -> None:
        super().__init__(batch_size=8, seed=5, **options)
        numbers = torch.arange(98)
        source = numbers.view(-1, 1, 1, 1).expand(-1, 2, 4, 4).to(torch.uint8).contiguous()
        self.class_names = ["a", "b", "c"]
        train, rest, valid, test = ((rows, rows % 3) for rows in numbers.split([30, 50, 9, 9]))
        self.fill(source, train, rest, valid, test)


def brighter(pictures: Tensor, keys: Tensor) -> Tensor:
    return pictures.float() + (keys % 7).view(-1, 1, 1, 1)


def test_the_labels_of_unlabelled_rows_are_nowhere() -> None:
    data = Shapes(unlabelled_ratio=2)
    batch = data.splits["train"].batch(torch.arange(80), 0)
    assert (batch.labels[:30] >= 0).all()
    assert (batch.labels[30:] == UNKNOWN).all()


def test_statistics_are_of_the_training_split_alone() -> None:
    data = Shapes()
    train = torch.arange(80).double()
    assert data.mean == pytest.approx([train.mean().item()] * 2)
    assert data.std == pytest.approx([train.std(correction=0).item()] * 2)


def test_each_batch_has_its_share_of_rows_without_labels() -> None:
    data = Shapes(unlabelled_ratio=2)
    for epoch in (0, 1):
        plan = data.plan(epoch)
        assert [len(rows) for rows in plan] == [24, 24, 24, 18]
        for rows in plan:
            assert int((rows < 30).sum()) * 3 == len(rows)
        labelled = torch.cat(plan)
        assert sorted(labelled[labelled < 30].tolist()) == list(range(30))


def test_rows_without_labels_are_read_evenly_across_epochs() -> None:
    """60 of 50 rows an epoch: after 5 epochs each was read 6 times."""
    data = Shapes(unlabelled_ratio=2)
    rows = torch.cat([torch.cat(data.plan(epoch)) for epoch in range(5)])
    seen = Counter(rows[rows >= 30].tolist())
    assert set(seen.values()) == {6}
    assert len(seen) == 50


def test_an_epoch_without_unlabelled_rows_reads_the_labelled_once() -> None:
    plan = Shapes().plan(3)
    assert sorted(torch.cat(plan).tolist()) == list(range(30))
    assert not torch.equal(torch.cat(plan), torch.cat(Shapes().plan(4)))


def test_a_picture_is_augmented_by_seed_epoch_and_row_alone() -> None:
    rows = Shapes(augment=brighter, strong_view=brighter).splits["train"]
    together = rows.batch(torch.tensor([4, 9, 60]), 2)
    alone = rows.batch(torch.tensor([9]), 2)
    assert torch.equal(together.pictures[1], alone.pictures[0])
    assert together.strong is not None
    assert alone.strong is not None
    assert torch.equal(together.strong[1], alone.strong[0])
    later = [rows.batch(torch.arange(80), epoch).pictures for epoch in (2, 3)]
    assert not torch.equal(*later)


def test_validation_and_test_are_seen_as_they_are() -> None:
    data = Shapes(augment=brighter)
    for split, first in (("valid", 80), ("test", 89)):
        batch = next(data.evaluation(split))  # type: ignore[arg-type]
        assert batch.pictures.dtype == torch.uint8
        assert batch.pictures[:, 0, 0, 0].tolist() == list(range(first, first + 8))


def test_mixed_pictures_are_mixed_with_labelled_ones_in_the_labels_proportion() -> None:
    class Mixing:
        mixup = 0.5

        def __call__(self, pictures: Tensor, keys: Tensor) -> Tensor:
            return pictures

    batch = Shapes(augment=Mixing(), unlabelled_ratio=1).splits["train"].batch(torch.arange(30), 0)
    assert batch.labels.shape == (30, 3)
    assert torch.allclose(batch.labels.sum(1), torch.ones(30))
    assert (batch.pictures < 30).all()  # no partner came from the unlabelled
    mixed = batch.labels.max(1).values < 1
    assert mixed.any()
    # a picture is its number: two pictures a and b in shares w and 1 - w show w a + (1 - w) b
    for row in mixed.nonzero().flatten().tolist():
        own = batch.labels[row, row % 3].item()
        value = batch.pictures[row, 0, 0, 0].item()
        other = (value - own * row) / (1 - own)
        assert other == pytest.approx(round(other), abs=1e-3 / (1 - own))


def test_a_split_moved_to_a_device_reads_the_same() -> None:
    rows = Shapes(augment=brighter).splits["train"]
    some = torch.tensor([3, 70, 5])
    moved = rows.to(torch.device("cpu")).batch(some, 1)
    for before, after in zip(rows.batch(some, 1), moved, strict=True):
        assert (before is None and after is None) or torch.equal(before, after)


def test_a_batch_stays_a_batch_on_its_way_to_a_device() -> None:
    batch = Pictures(torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.zeros(1))
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved, Pictures)
    assert moved.pictures.device.type == "meta"
    assert moved.strong is None


@pytest.mark.parametrize("counts", [[30, 20, 10], [7, 11, 42]])
def test_every_class_has_its_share_of_every_part(counts: list[int]) -> None:
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    parts = stratified(labels, counts, seed=1)
    assert [len(part) for part in parts] == counts
    assert len(set(torch.cat(parts).tolist())) == sum(counts)
    for part, count in zip(parts, counts, strict=True):
        shares = torch.bincount(labels[part], minlength=3)
        assert (shares - torch.tensor([30, 20, 10]) * count / 60).abs().max() <= 1


def test_unlabelled_rows_must_be_there_to_be_read() -> None:
    with pytest.raises(UserError, match="unlabelled_ratio"):
        MNIST5k(64, labelled=3600, unlabelled_ratio=1)


def test_mnist5k_is_split_as_the_readme_says() -> None:
    data = MNIST5k(64)
    assert data.labelled == 400
    assert [len(data.splits[s]) for s in ("train", "valid", "test")] == [3600, 400, 1000]  # type: ignore[index]
    for split, each in (("valid", 40), ("test", 100)):
        assert torch.bincount(data.splits[split].labels).tolist() == [each] * 10  # type: ignore[index]
    indices = torch.cat([rows.index for rows in data.splits.values()])
    assert len(indices.unique()) == 5000
    pictures, labels = read_digits()
    assert data.hidden_labels is not None
    assert torch.equal(data.hidden_labels, labels[data.splits["train"].index[400:]])
    assert torch.equal(data.source[7], pictures[7])  # type: ignore[index]


def test_digits_are_framed_in_black() -> None:
    plain, padded = MNIST5k(64), MNIST5k(64, pad=2)
    assert padded.size == 32
    picture = padded.splits["test"].read(torch.tensor([0]))
    assert torch.equal(picture[..., 2:-2, 2:-2], plain.splits["test"].read(torch.tensor([0])))
    assert int(picture.sum()) == int(picture[..., 2:-2, 2:-2].sum())


def test_more_labels_never_move_a_picture_into_another_split() -> None:
    few, many = MNIST5k(64, labelled=100), MNIST5k(64, labelled=2000)
    for split in ("valid", "test"):
        assert torch.equal(few.splits[split].index, many.splits[split].index)  # type: ignore[index]
    own, others = (set(d.splits["train"].index[: d.labelled].tolist()) for d in (few, many))
    assert own < others


def test_a_class_of_rows_without_augmentation_has_no_second_view() -> None:
    rows = ImageRows(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2), torch.arange(2))
    assert rows.batch(torch.arange(2), 0).strong is None
