"""The course's lists and tensors: all of them packed, none of them believed."""

from __future__ import annotations

import io
import itertools
import json
import os
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hlml.data import generator
from hlml.data.sequences import UNKNOWN
from hlml.data.voxceleb import VoxCeleb
from hlml.errors import UserError

SPEAKERS = ["id10473", "id10001", "id10900"]  # not in the order of their names
SPLITS = ("train", "valid", "test")


def utterance(number: int) -> Tensor:
    """(T, 40) like log-mels, T 5 to 24."""
    draw = generator(number)
    return torch.randn(5 + number * 7 % 20, 40, generator=draw) * 3 - 8


def name(number: int) -> str:
    return f"uttr-{number:032x}.pt"


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


class Dataset:
    """Twenty utterances of each speaker, and six to answer for, which tests may change."""

    def __init__(self) -> None:
        self.mapping: Any = {
            "speaker2id": {speaker: number for number, speaker in enumerate(SPEAKERS)},
            "id2speaker": {str(number): speaker for number, speaker in enumerate(SPEAKERS)},
        }
        said = {
            speaker: [self.entry(20 * number + index) for index in range(20)]
            for number, speaker in enumerate(SPEAKERS)
        }
        self.metadata: Any = {"n_mels": 40, "speakers": said}
        self.testdata: Any = {
            "n_mels": 40,
            "utterances": [self.entry(n) for n in range(65, 59, -1)],
        }
        self.files = {name(number): saved(utterance(number)) for number in range(66)}

    @staticmethod
    def entry(number: int) -> dict[str, Any]:
        return {"feature_path": name(number), "mel_len": len(utterance(number))}

    def contents(self) -> dict[str, bytes]:
        lists = {"mapping": self.mapping, "metadata": self.metadata, "testdata": self.testdata}
        as_bytes = {
            f"{key}.json": table if isinstance(table, bytes) else json.dumps(table).encode()
            for key, table in lists.items()
            if table is not None
        }
        return self.files | as_bytes

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in self.contents().items():
            (folder / file).write_bytes(content)
        return folder


@pytest.fixture
def dataset() -> Dataset:
    return Dataset()


def read(root: Path, **options: Any) -> VoxCeleb:
    return VoxCeleb(4, root=str(root), **options)


def numbers(data: VoxCeleb, split: str) -> list[int]:
    """Which utterances a split has, in order; the corpus has all as they are listed."""
    order = [*range(60), *range(65, 59, -1)]
    return [order[row] for row in data.splits[split].index.tolist()]  # type: ignore[index]


def check_contents(data: VoxCeleb) -> None:
    for split in SPLITS:
        rows = data.splits[split]  # type: ignore[index]
        for row, number in enumerate(numbers(data, split)):
            first, length = (
                int(x[rows.index[row]]) for x in (data.corpus.starts, rows.corpus.lengths)
            )
            found = data.corpus.frames[first : first + length]
            assert torch.equal(found, utterance(number).half())


def test_every_utterance_is_in_one_split_with_its_speaker(tmp_path: Path, dataset: Dataset) -> None:
    dataset.write(tmp_path / "Dataset")
    data = read(tmp_path, valid=0.2)
    assert data.sizes() == {"inputs": 40, "classes": 3, "one_label": True}
    assert data.class_names == SPEAKERS
    assert sorted(numbers(data, "train") + numbers(data, "valid")) == list(range(60))
    assert numbers(data, "test") == list(range(65, 59, -1))  # as testdata.json has them
    labels = {
        split: data.splits[split].batch(torch.arange(len(data.splits[split])), 0).labels
        for split in SPLITS
    }  # type: ignore[index]
    assert labels["valid"].bincount().tolist() == [4, 4, 4]  # of each speaker in its share
    for split in SPLITS[:2]:
        assert labels[split].tolist() == [number // 20 for number in numbers(data, split)]
    assert labels["test"].tolist() == [UNKNOWN] * 6
    assert [data.has_labels(split) for split in SPLITS] == [True, True, False]  # type: ignore[arg-type]
    check_contents(data)


def test_float16_is_true_to_a_thousandth_of_what_log_mels_vary(
    tmp_path: Path, dataset: Dataset
) -> None:
    data = read(dataset.write(tmp_path))
    whole = torch.cat([utterance(number) for number in range(60)])
    rounding = (data.corpus.frames[: len(whole)].float() - whole).abs().mean(0)
    assert (rounding < whole.std(0) / 1000).all()


def test_the_split_depends_on_its_own_seed_alone(tmp_path: Path, dataset: Dataset) -> None:
    root = dataset.write(tmp_path)
    first = numbers(read(root), "valid")
    assert numbers(read(root, seed=5), "valid") == first
    assert numbers(read(root, split_seed=5), "valid") != first
    for share, message in ((0, "data.valid=0 of 60 utterances"), (1, "data.valid=1 of 60")):
        with pytest.raises(UserError, match=message):
            read(root, valid=share)


@pytest.mark.parametrize("prefix", ["", "Dataset/", "a/Dataset/"])
def test_an_archive_is_the_same_and_nothing_of_it_is_unpacked(
    prefix: str, tmp_path: Path, dataset: Dataset
) -> None:
    with zipfile.ZipFile(tmp_path / "Dataset.zip", "w") as archive:
        for file, content in dataset.contents().items():
            archive.writestr(prefix + file, content)
        archive.writestr("__MACOSX/._metadata.json", b"shadow")
    check_contents(read(tmp_path))
    check_contents(read(tmp_path / "Dataset.zip"))
    assert {path.name for path in tmp_path.iterdir()} == {"Dataset.zip", "cache"}


def test_the_order_within_an_archive_does_not_matter(tmp_path: Path, dataset: Dataset) -> None:
    """A tar is read in its own order."""
    with tarfile.open(tmp_path / "Dataset.tar.gz", "w:gz") as archive:
        for file, content in sorted(dataset.contents().items(), reverse=True):
            member = tarfile.TarInfo(f"Dataset/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    check_contents(read(tmp_path / "Dataset.tar.gz"))


def test_packed_once_without_the_tensors_and_anew_when_a_list_changes(
    tmp_path: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    root = dataset.write(tmp_path)
    read(root)
    assert "packing 66 utterances" in capsys.readouterr().err
    for path in root.glob("*.pt"):
        path.rename(path.with_suffix(".away"))
    check_contents(read(root, segment=0, split_seed=3))
    assert capsys.readouterr().err == ""
    for path in root.glob("*.away"):
        path.rename(path.with_suffix(".pt"))
    dataset.testdata["utterances"].pop()
    dataset.write(root)
    assert len(read(root).splits["test"]) == 5


def test_answers_are_the_speakers_names_in_the_lists_order(
    tmp_path: Path, dataset: Dataset
) -> None:
    data = read(dataset.write(tmp_path), budget=30)
    lengths = [int(n) for batch in data.evaluation("test") for n in batch.mask.sum(1)]
    assert lengths == [len(utterance(number)) for number in range(65, 59, -1)]
    data.write_answers([2, 0, 1, 1, 0, 2], tmp_path / data.answers_name)
    speakers = [SPEAKERS[answer] for answer in (2, 0, 1, 1, 0, 2)]
    lines = [f"{name(65 - row)},{speaker}\n" for row, speaker in enumerate(speakers)]
    assert (tmp_path / "output.csv").read_text() == "Id,Category\n" + "".join(lines)


@pytest.mark.parametrize(
    "content",
    [
        saved(utterance(3), _use_new_zipfile_serialization=False),
        saved(utterance(3).T.contiguous().T),
        saved(torch.cat([utterance(3), utterance(4)])[: len(utterance(3))]),
        saved(utterance(3).double()),
        saved(utterance(3).requires_grad_()),
    ],
    ids=["an old torch", "by columns", "a part of a tensor", "float64", "a gradient"],
)
def test_tensors_are_stored_in_many_ways(content: bytes, tmp_path: Path, dataset: Dataset) -> None:
    dataset.files[name(3)] = content
    check_contents(read(dataset.write(tmp_path)))


def test_lengths_need_not_be_listed(tmp_path: Path, dataset: Dataset) -> None:
    for entry in itertools.chain(*dataset.metadata["speakers"].values()):
        del entry["mel_len"]
    dataset.testdata = {"utterances": [{"feature_path": name(n)} for n in range(65, 59, -1)]}
    check_contents(read(dataset.write(tmp_path)))


# --- files that cannot be used


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


GOOD = saved(utterance(3))
NAN = utterance(3)
NAN[1, 2] = torch.nan
BAD_FILES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "empty or unreadable"),
    "text": (b"<!doctype html>" * 9, "damaged"),
    "cut off": (GOOD[: len(GOOD) // 2], "damaged"),
    "no tensor": (saved([1, 2]), "no tensor"),
    "sparse": (saved(utterance(3).to_sparse()), "no tensor"),
    "whole numbers": (saved(utterance(3).long()), r"torch\.int64, no floats"),
    "nowhere": (saved(utterance(3).to("meta")), r"torch\.float32, no floats"),
    "80 mels": (saved(torch.zeros(6, 80)), "6x80, and not frames x 40"),
    "one dimension": (saved(torch.zeros(240)), "240, and not frames x 40"),
    "no frames": (saved(torch.zeros(0, 40)), "0x40, and not frames x 40"),
    "other length": (saved(utterance(2)), "19 frames, and 6 are listed"),
    "NaN": (saved(NAN), "numbers that are none to compute with"),
    "too large for float16": (saved(utterance(3) * 1e6), "numbers that are none to compute with"),
}


@pytest.mark.parametrize("packing", ["folder", "zip"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_the_reason(
    case: str, packing: str, tmp_path: Path, dataset: Dataset
) -> None:
    dataset.files[name(3)], reason = BAD_FILES[case]
    if packing == "folder":
        dataset.write(tmp_path / "Dataset")
    else:
        with zipfile.ZipFile(tmp_path / "Dataset.zip", "w") as archive:
            for file, content in dataset.contents().items():
                archive.writestr(f"Dataset/{file}", content)
    message = rf"Dataset(\.zip/Dataset)?: cannot be used: {name(3)} \({reason}\): fetch it again$"
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.bin"))


@pytest.mark.parametrize("form", ["torch", "old torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(form: str, tmp_path: Path, dataset: Dataset) -> None:
    payload = Payload(tmp_path / "run")
    dataset.files[name(60)] = {
        "torch": lambda: saved(payload),
        "old torch": lambda: saved(payload, _use_new_zipfile_serialization=False),
        "pickle": lambda: pickle.dumps(payload),
    }[form]()
    with pytest.raises(UserError, match=rf"{name(60)} \((it holds code, and is refused|damaged)\)"):
        read(dataset.write(tmp_path))
    assert not (tmp_path / "run").exists()
    pickle.loads(pickle.dumps(payload))  # it would have worked
    assert (tmp_path / "run").exists()


def test_one_number_that_claims_to_be_a_million_is_refused(
    tmp_path: Path, dataset: Dataset
) -> None:
    entry = dataset.metadata["speakers"][SPEAKERS[0]][3]
    entry["mel_len"] = 10**9
    dataset.files[name(3)] = saved(torch.zeros(1).expand(10**9, 40))
    with pytest.raises(UserError, match="less in it than its shape says"):
        read(dataset.write(tmp_path))


def test_many_bad_files_are_one_line(tmp_path: Path, dataset: Dataset) -> None:
    for number in range(60):
        dataset.files[name(number)] = b"text"
    with pytest.raises(
        UserError, match=r"Dataset: cannot be used: (uttr-\w+.pt \(damaged\), ){5}\.\.\.: fetch"
    ):
        read(dataset.write(tmp_path / "Dataset"))


@pytest.mark.parametrize("count", [1, 40])
def test_missing_files_are_counted_before_anything_is_read(
    count: int, tmp_path: Path, dataset: Dataset
) -> None:
    for number in range(count):
        del dataset.files[name(number)]
    message = rf"{count} of 66 files are missing: {name(0)}.*: unpack or fetch all of it again"
    with pytest.raises(UserError, match=message):
        read(dataset.write(tmp_path))


@pytest.mark.parametrize("path", ["../secret.pt", "/secret.pt", "", "uttr\n.pt"])
def test_a_name_that_leads_elsewhere_is_a_missing_file(
    path: str, tmp_path: Path, dataset: Dataset
) -> None:
    (tmp_path / "secret.pt").write_bytes(GOOD)
    entry = dataset.metadata["speakers"][SPEAKERS[0]][3]
    entry["feature_path"] = str(tmp_path / "secret.pt") if path[:1] == "/" else path
    with pytest.raises(UserError, match="1 of 66 files are missing: ") as caught:
        read(dataset.write(tmp_path / "Dataset"))
    assert "\n" not in str(caught.value)


# --- lists that cannot be used


def change(table: Any, *keys: Any) -> Any:
    """Set the last but one of the keys, within the others, to the last; or delete it."""
    *path, key, value = keys
    for step in path:
        table = table[step]
    if value is None:
        del table[key]
    else:
        table[key] = value


FIRST = ("speakers", SPEAKERS[0], 0)
BAD_LISTS: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "no mels": ("metadata", ("n_mels", None), "metadata.json: n_mels is missing, empty or no int"),
    "mels in text": ("metadata", ("n_mels", "40"), "metadata.json: n_mels is missing, empty or no"),
    "negative mels": ("metadata", ("n_mels", -40), "metadata.json: n_mels is -40"),
    "no speakers": ("metadata", ("speakers", None), "metadata.json: speakers is missing, empty"),
    "empty speakers": ("metadata", ("speakers", {}), "metadata.json: speakers is missing, empty"),
    "silent speaker": ("metadata", (*FIRST[:2], []), "metadata.json: id10473 is missing, empty"),
    "no entry": ("metadata", (*FIRST, "text"), "metadata.json: feature_path is missing, empty"),
    "no path": ("metadata", (*FIRST, {"mel_len": 5}), "metadata.json: feature_path is missing"),
    "path 7": ("metadata", (*FIRST, "feature_path", 7), "metadata.json: feature_path is missing"),
    "length 0": ("metadata", (*FIRST, "mel_len", 0), "metadata.json: a mel_len is 0"),
    "length text": ("metadata", (*FIRST, "mel_len", "x\n"), r"metadata.json: a mel_len is x\\x0a"),
    "one more": (
        "metadata",
        ("speakers", "id7", [{"feature_path": name(0)}]),
        "metadata.json: it has 4 speakers and mapping.json has 3; only one of them has id7",
    ),
    "one less": ("metadata", ("speakers", SPEAKERS[1], None), "only one of them has id10001"),
    "twice": ("metadata", (*FIRST, "feature_path", name(1)), f"have {name(1)} more than once"),
    "in both": ("testdata", ("utterances", 0, {"feature_path": name(1)}), "more than once"),
    "no tests": ("testdata", ("utterances", None), "testdata.json: utterances is missing, empty"),
    "no numbers": ("mapping", ("speaker2id", None), "mapping.json: speaker2id is missing, empty"),
    "a gap": (
        "mapping",
        ("speaker2id", SPEAKERS[1], 7),
        "mapping.json: speaker2id does not number",
    ),
    "number twice": ("mapping", ("speaker2id", SPEAKERS[1], 0), "speaker2id does not number"),
    "number in text": ("mapping", ("speaker2id", SPEAKERS[1], "1"), "speaker2id does not number"),
    "other inverse": ("mapping", ("id2speaker", "0", SPEAKERS[1]), "id2speaker is not the inverse"),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_lists_that_contradict_are_one_line(case: str, tmp_path: Path, dataset: Dataset) -> None:
    table, keys, message = BAD_LISTS[case]
    change(getattr(dataset, table), *keys)
    with pytest.raises(UserError, match=message) as caught:
        read(dataset.write(tmp_path))
    assert str(caught.value).endswith(": use the files as they were downloaded")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["mapping", "metadata", "testdata"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"it is no JSON \(Expecting value"),
        (b'{"a": 1', "it is no JSON"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[1, 2]", "is missing, empty or no"),
        (b"null", "is missing, empty or no"),
        (b"7" * 5000, "it is no JSON"),
    ],
)
def test_what_is_no_json_is_one_line(
    table: str, content: bytes, message: str, tmp_path: Path, dataset: Dataset
) -> None:
    setattr(dataset, table, content)
    with pytest.raises(UserError, match=rf"{table}\.json: .*{message}") as caught:
        read(dataset.write(tmp_path))
    assert "\n" not in str(caught.value)


def test_missing_lists_and_missing_folders_are_named(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(
        UserError, match=r"Dataset/ or Dataset\.zip not found in .*ml2021spring-hw4"
    ):
        read(tmp_path)
    dataset.testdata = None
    root = dataset.write(tmp_path / "Dataset")
    with pytest.raises(
        UserError, match=re.escape(f"{root}: 1 of 3 files are missing: testdata.json")
    ):
        read(tmp_path)
    (tmp_path / "page.zip").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UserError, match="is a web page, not an archive"):
        read(tmp_path / "page.zip")
