"""What holds for every model of sequences, first of all: padding is nothing."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from command import Command
from hlml import signature
from hlml.errors import UserError
from hlml.models.attention import SelfAttention
from hlml.models.conformer import Conformer
from hlml.models.convolution_1d import Convolution1d
from hlml.models.frame_layers import FrameConvolution, FrameNorm
from hlml.models.pooling import Pool
from hlml.models.recurrent import Recurrent
from hlml.models.self_attention import SelfAttentionTagger
from hlml.models.tagger import Tagger
from hlml.models.windows import MLP, Linear

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
Build = Callable[..., Tagger]
Pooling = Literal["mean", "max", "attention"]

small = {"width": 8, "layers": 2, "heads": 2, "inner": 12, "dropout": 0.0}
SelfAttend = functools.partial(SelfAttentionTagger, **small)  # type: ignore[arg-type]
Conform = functools.partial(Conformer, kernel=3, **small)  # type: ignore[arg-type]
Convolve = functools.partial(Convolution1d, width=8, kernel=3, dilations=[1, 2], dropout=0.0)
Perceive = functools.partial(MLP, widths=[8, 8], activation="tanh")
MODELS: dict[str, Build] = {
    "self_attention": SelfAttend,
    "sinusoidal_post": functools.partial(SelfAttend, positions="sinusoidal", norm="post"),
    "learned_window": functools.partial(SelfAttend, positions="learned", longest=9, window=2),
    "no_positions": functools.partial(SelfAttend, positions="none"),
    "conformer": Conform,
    "conformer_layer_norm_window": functools.partial(Conform, norm="layer", window=3),
    "lstm": functools.partial(Recurrent, width=8),
    "gru": functools.partial(Recurrent, width=8, cell="gru", layers=1),
    "forwards": functools.partial(Recurrent, width=8, bidirectional=False),
    "conv1d": Convolve,
    "conv1d_layer_norm": functools.partial(Convolve, norm="layer"),
    "mlp": Perceive,
    "mlp_batch_norm": functools.partial(Perceive, norm="batch"),
    "mlp_layer_norm": functools.partial(Perceive, norm="layer"),
    "linear": Linear,
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


def batch(*counts: int, inputs: int = 5, garbage: float = 0.0) -> tuple[Tensor, Tensor]:
    """Frames in double and the mask of utterances of so many."""
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    frames = torch.randn(*mask.shape, inputs, dtype=torch.float64)
    return torch.where(mask[..., None], frames, garbage * torch.rand_like(frames)), mask


def gradients(model: nn.Module, scores: Tensor) -> list[Tensor]:
    scores.square().sum().backward()
    found = [weight.grad for weight in model.parameters()]
    model.zero_grad()
    return [one for one in found if one is not None]


@every_model
@pytest.mark.parametrize("pool", ["frames", "mean", "max", "attention"])
def test_padding_changes_no_real_frame_and_no_gradient(build: Build, pool: Any) -> None:
    """However long it is and whatever stands in it, in training as in evaluation."""
    torch.manual_seed(0)
    options = {} if pool == "frames" else {"one_label": True, "pool": pool}
    model = build(5, 3, **options).double()
    frames, mask = batch(14, 9, 1)
    long = F.pad(frames, (0, 0, 0, 40))
    hidden = F.pad(mask, (0, 40))
    long = torch.where(hidden[..., None], long, 100 * torch.rand_like(long))

    def scores(frames: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(frames, mask)
        return found if options else found[mask]

    before = scores(frames, mask)
    after = scores(long, hidden)
    torch.testing.assert_close(after, before)
    for first, second in zip(gradients(model, before), gradients(model, after), strict=True):
        torch.testing.assert_close(first, second)
    model.eval()
    torch.testing.assert_close(scores(long, hidden), scores(frames, mask))


@every_model
@pytest.mark.parametrize("one_label", [False, True])
def test_an_utterance_in_a_batch_is_that_utterance_alone(build: Build, one_label: bool) -> None:
    torch.manual_seed(0)
    model = build(5, 3, one_label=one_label).double().eval()
    frames, mask = batch(40, 11, 1)
    together = model(frames, mask)
    for row, count in enumerate([40, 11, 1]):
        alone = model(frames[row : row + 1, :count], mask[row : row + 1, :count])[0]
        torch.testing.assert_close(together[row] if one_label else together[row, :count], alone)


@every_model
def test_a_gradient_reaches_every_parameter(build: Build) -> None:
    torch.manual_seed(0)
    model = build(5, 3, one_label=True, pool="attention", hidden=[6]).double()
    scores = model(*batch(14, 12, 13, 9))
    assert scores.shape == (4, 3)
    F.cross_entropy(scores, torch.tensor([0, 1, 2, 0])).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@every_model
def test_an_utterance_of_no_frames_leaves_gradients_finite(build: Build) -> None:
    torch.manual_seed(0)
    pools: tuple[Pooling, ...] = ("mean", "max", "attention")
    for pool in pools:
        model = build(5, 3, one_label=True, pool=pool).double()
        frames, mask = batch(8, 0)
        assert all(one.isfinite().all() for one in gradients(model, model(frames, mask)))


@every_model
def test_bfloat16_is_close(build: Build) -> None:
    """Autocast leaves what is added up over many frames in float32."""
    torch.manual_seed(0)
    model = build(5, 3).float().eval()
    frames, mask = batch(30, 25)
    exact = model(frames.float(), mask)[mask]
    with torch.autocast("cpu", torch.bfloat16):
        near = model(frames.float(), mask)[mask].float()
    error = (near - exact).norm() / exact.norm()
    assert 0 < error < 0.02


def test_compiling_finds_one_graph_for_all_lengths() -> None:
    torch.manual_seed(0)
    model = Conform(5, 3).double()
    traced = torch.compile(model, fullgraph=True, dynamic=True, backend="eager")
    for counts in ((14, 9), (60, 31, 7)):
        frames, mask = batch(*counts)
        torch.testing.assert_close(traced(frames, mask), model(frames, mask))


def utterances(frames: Tensor, mask: Tensor) -> list[Tensor]:
    return [row[there] for row, there in zip(frames, mask, strict=True)]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrence_is_torchs_bidirectional_of_packed_utterances(cell: Any) -> None:
    torch.manual_seed(0)
    ours = Recurrent(5, 3, cell=cell, width=4).double()
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    theirs = kind(5, 4, num_layers=2, batch_first=True, bidirectional=True).double()
    weights = {}
    for number, layer in enumerate(ours.layers):
        for part, suffix in (("forwards", ""), ("backwards", "_reverse")):
            for name, weight in getattr(layer, part).named_parameters():
                weights[name.replace("l0", f"l{number}{suffix}")] = weight
    theirs.load_state_dict(weights)
    frames, mask = batch(12, 7, 1, garbage=10)
    packed = nn.utils.rnn.pack_sequence(utterances(frames, mask))
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(ours.encode(frames, mask)[mask], expected[mask])


@pytest.mark.parametrize(("dilation", "groups"), [(1, 1), (3, 1), (1, 4), (2, 4)])
def test_a_convolution_is_torchs_of_each_utterance(dilation: int, groups: int) -> None:
    torch.manual_seed(0)
    layer = FrameConvolution(8, 4, 5, dilation, groups).double()
    frames, mask = batch(13, 6, inputs=8, garbage=10)
    weight, bias = layer.convolution.weight[:, :, 0], layer.convolution.bias
    for found, utterance in zip(
        utterances(layer(frames, mask), mask), utterances(frames, mask), strict=True
    ):
        expected = F.conv1d(utterance.T, weight, bias, 1, 2 * dilation, dilation, groups).T
        torch.testing.assert_close(found, expected)


def test_batch_norm_is_torchs_over_the_real_frames() -> None:
    torch.manual_seed(0)
    ours, theirs = FrameNorm("batch", 5).double(), nn.BatchNorm1d(5).double()
    with torch.no_grad():
        for weight in ours.parameters():
            weight.normal_()
    theirs.load_state_dict(ours.norm.state_dict())
    for counts in ((9, 4), (1, 1), (12, 1, 7)):
        frames, mask = batch(*counts, garbage=10)
        found, expected = (frames.clone().requires_grad_() for _ in range(2))
        first, second = ours(found, mask)[mask], theirs(expected[mask])
        torch.testing.assert_close(first, second)
        first.square().sum().backward()
        second.square().sum().backward()
        assert found.grad is not None
        assert expected.grad is not None
        torch.testing.assert_close(found.grad[mask], expected.grad[mask])
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.norm.state_dict()[name], value)
    torch.testing.assert_close(ours.norm.weight.grad, theirs.weight.grad)
    frames, mask = batch(9, 4, garbage=10)
    torch.testing.assert_close(ours.eval()(frames, mask)[mask], theirs.eval()(frames[mask]))


def test_batch_norm_of_one_frame_is_its_bias() -> None:
    """The last batch of an epoch of single frames may be one frame, which torch's norm refuses."""
    norm = FrameNorm("batch", 5).double()
    nn.init.normal_(norm.norm.bias)
    frames, mask = batch(1)
    torch.testing.assert_close(norm(frames, mask)[0, 0], norm.norm.bias)


@pytest.mark.parametrize("kind", ["mean", "max", "attention"])
def test_pooling_is_a_slow_loop(kind: Pooling) -> None:
    torch.manual_seed(0)
    pool = Pool(kind, 4).double()
    frames, mask = batch(6, 3, 1, inputs=4, garbage=100)
    for found, utterance in zip(pool(frames, mask), utterances(frames, mask), strict=True):
        shares = [1.0 / len(utterance)] * len(utterance)
        if pool.question is not None:
            scores = [float(pool.question(frame.detach()).detach().exp()) for frame in utterance]
            shares = [score / sum(scores) for score in scores]
        for number in range(4):
            values = [float(frame[number]) for frame in utterance]
            mixed = sum(share * value for share, value in zip(shares, values, strict=True))
            expected = max(values) if kind == "max" else mixed
            assert float(found[number].detach()) == pytest.approx(expected)


def test_cosine_scores_know_directions_only() -> None:
    torch.manual_seed(0)
    model = MLP(5, 4, one_label=True, cosine=True).double()
    frames, mask = batch(9, 7, 3)
    scores, vectors = model(frames, mask), model.vectors(frames, mask)
    for row, vector in enumerate(vectors):
        expected = 30 * F.cosine_similarity(vector[None], model.head.weight)
        torch.testing.assert_close(scores[row], expected)
    assert scores.abs().max() <= model.scale == 30
    torch.testing.assert_close(model.head(1000 * vectors), scores)
    with torch.no_grad():
        model.head.weight[2] *= 7
    torch.testing.assert_close(model(frames, mask), scores)
    torch.testing.assert_close(
        model.head(30 * model.head.weight).diagonal(), scores.new_full([4], 30)
    )
    exact = model.float().head(vectors.float())
    with torch.autocast("cpu", torch.bfloat16):  # which would round 30 to a multiple of 1/8
        assert torch.equal(model.head(vectors.float()), exact)
    assert MLP(5, 4).scale is None


@pytest.mark.parametrize("build", [SelfAttend, Conform], ids=["self_attention", "conformer"])
@pytest.mark.parametrize("norm", ["first", "second"])
def test_attention_maps_are_those_of_the_forward_pass(build: Build, norm: str) -> None:
    """With them each layer's attention gives again what it gave."""
    torch.manual_seed(0)
    other = {SelfAttend: "post", Conform: "layer"}[build]  # type: ignore[index]
    model = build(5, 3, **({} if norm == "first" else {"norm": other})).double().eval()
    given: list[tuple[SelfAttention, Tensor, Tensor]] = []
    for part in model.modules():
        if isinstance(part, SelfAttention):
            part.register_forward_hook(lambda layer, x, out: given.append((layer, x[0], out)))
    frames, mask = batch(12, 5)
    model(frames, mask)
    seen = list(given)
    maps = model.attention_maps(frames, mask)  # type: ignore[operator]
    assert len(maps) == len(seen) == 2
    for shares, (layer, x, out) in zip(maps, seen, strict=True):
        torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
        value = layer.queries_keys_values(x)[..., 16:].unflatten(-1, (2, 4)).transpose(1, 2)
        again = layer.output((shares @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(again[mask], out[mask])


@pytest.mark.parametrize(
    ("build", "reach"),
    [
        (functools.partial(Convolve, dilations=[1, 2, 4], norm="layer"), 8),
        (functools.partial(SelfAttend, window=3), 6),
        (functools.partial(Conform, window=3, norm="layer"), 8),
        (Linear, 0),
    ],
    ids=["conv1d", "self_attention", "conformer", "linear"],
)
def test_a_frame_sees_as_far_as_its_layers_reach(build: Build, reach: int) -> None:
    """conv1d: (3 - 1) / 2 times 1 + 1 + 2 + 4; windows of 3 twice; and a kernel of 3 with each."""
    torch.manual_seed(0)
    model = build(5, 3).double()
    frames, mask = batch(150)
    frames.requires_grad_()
    model(frames, mask)[0, 75].sum().backward()
    assert frames.grad is not None
    seen = frames.grad[0].any(1).nonzero().flatten()
    assert (int(seen[0]), int(seen[-1])) == (75 - reach, 75 + reach)


def test_without_positions_an_utterance_is_a_bag_of_frames() -> None:
    torch.manual_seed(0)
    frames, mask = batch(15)
    moved = frames[:, torch.randperm(15)]
    for positions in ("none", "sinusoidal", "learned", "rotary"):
        model = SelfAttend(5, 3, one_label=True, positions=positions).double()
        difference = (model(frames, mask) - model(moved, mask)).abs().max()
        assert (float(difference.detach()) < 1e-9) == (positions == "none")


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def test_the_courses_samples_are_among_them() -> None:
    """By the number of their parameters: 429-1024-512-128-39, and one layer of a Transformer."""
    assert parameters(MLP(429, 39, widths=[1024, 512, 128], activation="sigmoid")) == 1_035_815
    sample = {"width": 80, "layers": 1, "heads": 2, "inner": 256, "hidden": [80], "norm": "post"}
    assert parameters(SelfAttentionTagger(40, 600, True, **sample)) == 125_896  # type: ignore[arg-type]


NAMES = ["self_attention", "conformer", "rnn", "conv1d", "mlp", "linear_tagger"]


@pytest.mark.parametrize("name", NAMES)
def test_a_config_repeats_its_models_defaults(name: str, hlml: Command) -> None:
    """The file is there to be read and completed; a default lives in the signature. And the check
    of configs knows the head's options, which the model hands on to Tagger."""
    listed = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, _, kind = listed.pop("_target_").rpartition(".")
    target = getattr(importlib.import_module(module), kind)
    known = {**inspect.signature(Tagger).parameters, **inspect.signature(target).parameters}
    assert listed.pop("_partial_")
    assert all(value == _plain(known[option].default) for option, value in listed.items())
    model = hlml.config(f"model={name}", "model.pool=max", "model.scale=20")["model"]
    built = target(5, 3, one_label=True, **{k: v for k, v in model.items() if k[0] != "_"})
    assert built.pool.kind == "max"
    assert "model.pol: no such option; did you mean model.pool?" in _refusal(
        hlml, f"model={name}", "model.pol=max"
    )
    assert "expected mean or max or attention" in _refusal(hlml, f"model={name}", "model.pool=sum")


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _refusal(hlml: Command, *words: str) -> str:
    hlml.calls.clear()
    return hlml.error("train", "homework=hw1", *words)


@pytest.mark.parametrize(("folder", "one_label"), [("hw2_phonemes", False), ("hw4_speakers", True)])
def test_a_students_model_is_not_led_astray_by_padding(folder: str, one_label: bool) -> None:
    torch.manual_seed(0)
    signature.make_importable()
    module = importlib.import_module(f"homeworks.{folder}.model")
    model = module.Model(5, 3, **({"one_label": True} if one_label else {})).double().eval()
    frames, mask = batch(12, 5, garbage=10)
    scores = model(frames, mask)
    assert scores.shape == ((2, 3) if one_label else (2, 12, 3))
    alone = model(frames[1:, :5], mask[1:, :5])[0]
    torch.testing.assert_close(scores[1] if one_label else scores[1, :5], alone)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.kernel: 4 frames have no middle one"):
        Convolution1d(5, 3, kernel=4)
