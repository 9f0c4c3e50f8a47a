"""The real FID: torch-fidelity's own number, where it is installed; and what is said where not."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from hlml import fid
from hlml.errors import UserError
from hlml.scores import frechet, gaussian, moments

INSTALLED = importlib.util.find_spec("torch_fidelity") is not None
installed = pytest.mark.skipif(not INSTALLED, reason="the extra `fid` is not installed")


def pictures(number: int, channels: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, channels, 16, 16), generator=random).byte()


class Means(nn.Module):
    """Stands in for the Inception network: a picture's mean in each channel and half."""

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        assert pictures.shape[1] == 3
        assert len(pictures) <= fid.CHUNK
        return (pictures.float().unflatten(2, (2, -1)).mean((3, 4)).flatten(1),)


@pytest.mark.parametrize("channels", [1, 3])
def test_chunks_add_up_to_the_whole(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fid, "_inception", lambda weights: Means())
    real, fakes = pictures(70, channels, 0), pictures(50, channels, 1) // 2
    found = fid.fid(real, fakes, Path())
    monkeypatch.setattr(fid, "CHUNK", 1000)
    wholes = [Means()(x.expand(-1, 3, -1, -1))[0].double() for x in (real, fakes)]
    (m, a), (n, b) = (gaussian(*moments(features)) for features in wholes)
    assert found == pytest.approx(frechet(m, a, n, b))
    assert found > 100


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fid.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed: pip install 'hlml\[fid\]'"):
        fid.find_weights("auto")
    monkeypatch.setattr(fid.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=rf"no file {tmp_path}.*{fid.FILE}.*task\.fid=PATH"):
        fid.find_weights("auto")
    with pytest.raises(UserError, match="no file nowhere"):
        fid.find_weights("nowhere")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / fid.FILE).touch()
    assert fid.find_weights("auto") == tmp_path / "checkpoints" / fid.FILE


class Runs:
    """What a hostile file would hold: unpickling it calls a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@installed
@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, Runs(), None])
def test_other_files_are_refused_and_run_nothing(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "weights.pth"
    weights.touch() if content is None else torch.save(content, weights)
    with pytest.raises(UserError, match=r"does not hold the weights .* fetch"):
        fid.fid(pictures(2, 3, 0), pictures(2, 3, 1), weights)
    assert not (tmp_path / "ran").exists()


class Rows(Dataset[Tensor]):
    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> Tensor:
        return self.pictures[row]


@installed
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_it_is_torch_fidelitys_number(tmp_path: Path) -> None:
    from torch_fidelity import calculate_metrics
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    weights = tmp_path / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:  # random weights of the right shapes
        patch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = inception.FeatureExtractorInceptionV3("inception", ["2048"])
        torch.save(network.state_dict(), weights)
    real, fakes = pictures(8, 3, 0), pictures(6, 3, 1) // 2
    options = {"fid": True, "cuda": False, "verbose": False, "cache": False, "batch_size": 8}
    theirs = calculate_metrics(
        input1=Rows(real),
        input2=Rows(fakes),
        feature_extractor_weights_path=str(weights),
        **options,
    )
    assert fid.fid(real, fakes, weights) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-4
    )
