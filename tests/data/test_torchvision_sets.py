"""Published sets: read in their official formats, and one line when they cannot be had."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from hlml.data import torchvision_sets
from hlml.data.images import UNKNOWN
from hlml.data.torchvision_sets import CIFAR10, MNIST, FashionMNIST, read_idx
from hlml.errors import UserError

RNG = np.random.default_rng(0)
PIXELS = {
    "train": RNG.integers(0, 256, (100, 28, 28), "u1"),
    "t10k": RNG.integers(0, 256, (20, 28, 28), "u1"),
}
LABELS = {"train": np.arange(100, dtype="u1") % 10, "t10k": np.arange(20, dtype="u1") % 10}


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
    return head + array.tobytes()


def write_idx(folder: Path, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", PIXELS[part]), ("labels-idx1", LABELS[part])):
            content = gzip.compress(idx(array)) if packed else idx(array)
            ending = ".gz" if packed else ""
            (folder / f"{part}-{name}-ubyte{ending}").write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torchvision_sets, "DEBIAN", Path("nowhere"))


def test_mnist_is_read_as_torchvision_left_it(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST/raw")
    reference = datasets.MNIST(tmp_path)
    data = MNIST(8, root=str(tmp_path), labelled=30)
    assert data.sizes() == {"channels": 1, "size": 28, "classes": 10}
    assert torch.equal(data.source[:100, 0], reference.data)
    for split, count in (("valid", 10), ("train", 90), ("test", 20)):
        assert len(data.splits[split]) == count  # type: ignore[index]
    train = data.splits["train"]
    assert train.labels[:30].bincount().tolist() == [3] * 10
    assert set(train.labels[30:].tolist()) == {UNKNOWN}
    assert torch.equal(data.hidden_labels, reference.targets[train.index[30:]])
    assert torch.equal(train.labels[:30], reference.targets[train.index[:30]])
    together = torch.cat([train.index, data.splits["valid"].index]).sort().values
    assert torch.equal(together, torch.arange(100))
    tested = data.splits["test"].read(torch.arange(20))
    assert np.array_equal(tested[:, 0].numpy(), PIXELS["t10k"])


def test_debians_package_serves_fashion_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_sets, "DEBIAN", write_idx(tmp_path / "debian", packed=True))
    data = FashionMNIST(8, root=str(tmp_path / "data"), pad=2)
    assert data.size == 32
    assert np.array_equal(data.source[:100, 0, 2:-2, 2:-2].numpy(), PIXELS["train"])
    assert data.source.sum().item() == sum(int(part.sum()) for part in PIXELS.values())
    assert data.class_names[9] == "ankle boot"


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A tiny CIFAR-10 in the official format, with its checksums as those torchvision wants."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(1).integers(0, 256, (60, 3072), "u1")
    parts = {f"data_batch_{n + 1}": slice(10 * n, 10 * n + 10) for n in range(5)}
    parts["test_batch"] = slice(50, 60)
    sums = {}
    for name, rows in parts.items():
        content = pickle.dumps({"data": pixels[rows], "labels": list(range(10))})
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": [f"class {n}" for n in range(10)]})
    (folder / "batches.meta").write_bytes(meta)
    wanted = [[name, sums[name]] for name in parts]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", wanted[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", wanted[5:])
    about = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(datasets.CIFAR10, "meta", about)
    return pixels.reshape(-1, 3, 32, 32)


def test_cifar10_is_read_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_cifar(tmp_path, monkeypatch)
    data = CIFAR10(8, root=str(tmp_path), valid=0.2, labelled=10, unlabelled_ratio=2)
    assert np.array_equal(data.source.numpy(), pixels)
    assert data.class_names == [f"class {n}" for n in range(10)]
    assert data.splits["valid"].labels.bincount().tolist() == [1] * 10
    assert (
        data.splits["train"].labels[:10].tolist()
        == data.splits["train"].index[:10].remainder(10).tolist()
    )


def test_a_pickle_that_is_not_the_published_one_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"CIFAR-10 is not \(whole\) in .*cifar-10-batches-py"):
        CIFAR10(8, root=str(tmp_path))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kind", [CIFAR10, MNIST, FashionMNIST])
def test_offline_is_one_line(kind: type[MNIST], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"could not be downloaded \(.*no network.*data\.root="
    ) as e:
        kind(8, root=str(tmp_path / "data"))
    assert "\n" not in str(e.value)
    assert kind.__name__ in str(e.value).replace("-", "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        idx(PIXELS["train"])[:1000],
        idx(PIXELS["train"]) + b"more",
        b"\0\0\x0d" + idx(PIXELS["train"])[3:],
        b"<!DOCTYPE html>",
        b"\0\0\x08\xff",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = write_idx(tmp_path / "MNIST/raw") / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is damaged: .*delete it"):
        MNIST(8, root=str(tmp_path))


def test_a_damaged_gz_and_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "MNIST/raw", packed=True) / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        MNIST(8, root=str(tmp_path))
    path.write_bytes(gzip.compress(idx(PIXELS["t10k"])))
    with pytest.raises(UserError, match="do not fit together"):
        MNIST(8, root=str(tmp_path))


def test_an_idx_file_is_what_torchvision_reads(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "FashionMNIST/raw")
    reference = datasets.FashionMNIST(tmp_path, train=False)
    assert torch.equal(read_idx(folder / "t10k-images-idx3-ubyte"), reference.data)


@pytest.mark.parametrize(
    "options", [{"labelled": 5}, {"labelled": 91}, {"valid": 0.0}, {"valid": 1.0}]
)
def test_a_split_that_cannot_be_is_refused(tmp_path: Path, options: dict[str, float]) -> None:
    write_idx(tmp_path / "MNIST/raw")
    with pytest.raises(UserError, match=r"data\.valid=.* data\.labelled=.* of 100 pictures"):
        MNIST(8, root=str(tmp_path), **options)  # type: ignore[arg-type]
