"""`hlml summary`: its table, its sums, and its exit codes."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from command import Command
from hlml import cli, summary
from hlml.arithmetic import MultiplyAdds
from hlml.layer_table import describe
from hlml.models.conformer import Conformer
from hlml.models.convolution_1d import Convolution1d
from hlml.models.convolutional import CNN
from hlml.models.dcgan import DCGAN
from hlml.models.recurrent import Recurrent
from hlml.models.self_attention import SelfAttentionTagger
from hlml.models.tagger import Tagger
from hlml.models.transformer import Transformer
from hlml.models.vision_transformer import VisionTransformer
from hlml.models.windows import MLP
from toy_pairs import Words
from toy_speech import FEATURES, PHONES, Utterances


def work(model: nn.Module, *inputs: Tensor) -> int:
    with torch.no_grad(), MultiplyAdds() as count:
        model.eval()(*inputs)
    return count.total


# --- arithmetic


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
        (nn.Linear(5, 7), (3, 4, 5), 3 * 4 * 5 * 7),
        (nn.Conv2d(4, 6, (3, 5), 2, groups=2), (2, 4, 9, 9), 2 * 4 * 3 * 6 * 2 * 15),
        (nn.Conv1d(4, 6, 3), (2, 4, 9), 2 * 7 * 6 * 4 * 3),
        # as a convolution the other way round
        (nn.ConvTranspose2d(6, 4, 3, 2), (2, 6, 4, 4), 2 * 16 * 6 * 4 * 9),
        (nn.LayerNorm((3, 8, 8)), (2, 3, 8, 8), 0),
        (nn.LSTM(5, 7, batch_first=True), (3, 4, 5), 3 * 4 * 4 * 7 * (5 + 7)),
        (nn.RNN(5, 7), (4, 5), 4 * 7 * (5 + 7)),
        (
            nn.GRU(5, 7, 2, bidirectional=True),
            (4, 3, 5),
            4 * 3 * 2 * 3 * 7 * ((5 + 7) + (2 * 7 + 7)),
        ),
    ],
)
def test_multiply_adds_are_those_of_the_sums_written_out(
    layer: nn.Module, shape: tuple[int, ...], expected: int
) -> None:
    assert work(layer, torch.randn(shape)) == expected


def test_multiply_adds_of_attention() -> None:
    """4 D^2 a vector for its projections, 2 D for each pair of vectors."""
    model = VisionTransformer(1, 12, 2, 4, 8, 1, 2)
    vectors, width = 9, 8
    layer = vectors * 12 * width**2 + 2 * vectors**2 * width
    assert work(model, torch.randn(1, 1, 12, 12)) == vectors * 16 * width + layer + 2 * width


def test_what_is_packed_counts_without_its_padding() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.randn(6, 5), torch.randn(2, 5)])
    for layer, gates in ((nn.LSTM(5, 7), 4), (nn.GRU(5, 7), 3)):
        with MultiplyAdds() as count:
            layer(packed)
        assert count.total == 8 * gates * 7 * (5 + 7)


def test_functions_count_as_layers_do() -> None:
    layer, x = nn.Conv2d(2, 3, 3), torch.randn(1, 2, 6, 6)
    with MultiplyAdds() as count:
        F.conv2d(input=x, weight=layer.weight)
        torch.randn(2, 3, 4) @ torch.randn(4, 5)
    assert count.total == work(layer, x) + 2 * 3 * 4 * 5


# --- the table


def columns(lines: list[str]) -> list[list[str]]:
    return [re.split(r"  +", line) for line in lines]


def test_the_table_adds_up_to_the_model() -> None:
    model, x = CNN(3, 16, 10, [4, 8], hidden=[6], dropout=0.5), torch.randn(2, 3, 16, 16)
    table = describe(model, x)
    assert sum(row.multiply_adds for row in table.rows) == work(model, x[:1])
    lines = table.lines()
    head, *rows, total = columns(lines)
    assert head[-1] == "receptive field"
    assert [row[:2] for row in rows if "Conv2d" in row[1]] == [
        ["stages.0.0", "Conv2d 3 x 3 + BatchNorm2d + ReLU"],
        ["stages.1.0", "Conv2d 3 x 3 + BatchNorm2d + ReLU"],
    ]
    weights = sum(weight.numel() for weight in model.parameters())
    assert total == ["total", f"{weights:,}", f"{work(model, x[:1]):,}"]
    assert len({len(line) for line in lines[:-1] if line.endswith(("field", "whole"))}) == 1


def test_looking_changes_nothing() -> None:
    model, x = CNN(1, 8, 2, [4]), torch.randn(2, 1, 8, 8)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    describe(model, x)
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


TAGGERS = [MLP, Recurrent, SelfAttentionTagger, Conformer, Convolution1d]


@pytest.mark.parametrize("one_label", [False, True])
@pytest.mark.parametrize("kind", TAGGERS)
def test_the_table_of_a_tagger_adds_up_to_it(kind: type[Tagger], one_label: bool) -> None:
    model = kind(6, 4, one_label, pool="attention")
    x, mask = torch.randn(2, 40, 6), torch.ones(2, 40, dtype=torch.bool)
    table = describe(model, x, mask)
    assert sum(row.parameters for row in table.rows) == sum(w.numel() for w in model.parameters())
    assert sum(row.multiply_adds for row in table.rows) == work(model, x[:1], mask[:1]) > 0
    assert table.rows[-1].shape == ((4,) if one_label else (40, 4))
    assert not table.pictures  # and so no column of receptive fields


def test_the_work_of_an_mlp_by_hand() -> None:
    model = MLP(6, 4, widths=[8, 5], dropout=0.1)
    rows = describe(model, torch.randn(2, 40, 6), torch.ones(2, 40, dtype=torch.bool)).rows
    assert [(row.name, row.what, row.shape, row.parameters, row.multiply_adds) for row in rows] == [
        ("layers.0", "Linear + ReLU + Dropout", (40, 8), 6 * 8 + 8, 40 * 6 * 8),
        ("layers.1", "Linear + ReLU + Dropout", (40, 5), 8 * 5 + 5, 40 * 8 * 5),
        ("head", "Linear", (40, 4), 5 * 4 + 4, 40 * 5 * 4),
    ]


class Odd(nn.Module):
    """One layer used twice, one never, and weights of the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 9)
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.twice(torch.relu(self.twice(x))) * self.gain


def test_weights_are_counted_once_and_what_is_never_called_is_said() -> None:
    rows = describe(Odd(), torch.randn(2, 4)).rows
    assert [(row.name, row.what, row.parameters, row.multiply_adds) for row in rows] == [
        ("twice", "Linear", 20, 16),
        ("twice", "Linear", 0, 16),
        ("gain", "Parameter", 4, 0),
        ("never.weight", "never called", 36, 0),
        ("never.bias", "never called", 9, 0),
    ]


def test_both_parts_of_a_game() -> None:
    torch.manual_seed(0)
    game = DCGAN(1, 16, 3, latent=5, width=4, spectral=True, conditional=True)
    labels = torch.zeros(2, dtype=torch.int64)
    generator = describe(game.generator, torch.randn(2, 5), labels)
    critic = describe(game.critic, torch.randn(2, 1, 16, 16), labels)
    assert (generator.pictures, critic.pictures, critic.disagreements) == (False, True, [])
    for table, part in ((generator, game.generator), (critic, game.critic)):
        assert sum(row.parameters for row in table.rows) == sum(
            weight.numel() for weight in part.parameters()
        )
    assert critic.rows[0].what == "Conv2d 4 x 4, stride 2 + LeakyReLU"


# --- the command


def shown(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(["summary", *words])
    return code, out.getvalue()


def test_a_model_of_rows_has_no_receptive_field(tmp_path: Path) -> None:
    code, out = shown("homework=hw1", "level=strong", "model.width=50")
    assert code == 0
    head, first, *_, total = columns(out.splitlines())
    assert head == ["layer", "what", "output", "parameters", "multiply-adds"]
    assert first[1:3] == ["Linear + ReLU", "50"]
    assert total[0] == "total"


def test_a_model_of_utterances_is_shown_one_of_the_usual_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hlml import train

    data = Utterances(context=1, unit="frame")
    model = MLP(3 * FEATURES, PHONES)
    monkeypatch.setattr(train, "build_model", lambda config: (data, model))
    code, out = shown("homework=hw1")
    length = sorted(data.corpus.lengths[:24].tolist())[11]
    title, head, *_, last, total = columns(out.splitlines())
    assert (code, title) == (0, [f"an utterance of {length} frames"])
    assert head[-1] == "multiply-adds"
    work = length * (15 * 256 + 256 * 256 + 256 * PHONES)
    assert (last[2], total[-1]) == (f"{length} x {PHONES}", f"{work:,}")


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_of_pairs_is_shown_one_of_the_usual_length(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the work of scores that are made by the words' own vectors, no layer's, counts."""
    from hlml import train

    data = Words()
    words, width = len(data.target_vocabulary), 8
    model = Transformer(words, words, width, layers=1, heads=2, tied=tied)
    monkeypatch.setattr(train, "build_model", lambda config: (data, model))
    code, out = shown("homework=hw1")
    read, written = (int(lengths.median()) for lengths in data.rows("train").lengths())
    written -= 1
    title, *_, total = columns(out.splitlines())
    assert code == 0
    assert title == [f"a source of {read} tokens and a target of {written}, its marks counted"]
    assert int(total[1].replace(",", "")) == sum(weight.numel() for weight in model.parameters())
    encoder = read * (12 * width + 2 * read) * width
    decoder = written * (14 * width + 2 * written + 2 * read) * width + read * 2 * width * width
    assert int(total[2].replace(",", "")) == encoder + decoder + written * words * width


def test_a_disagreement_is_said_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    class Data:
        def rows(self, split: str) -> Data:
            return self

        def batch(self, rows: Tensor, epoch: int) -> tuple[Tensor]:
            return (torch.zeros(2, 1, 12, 12, dtype=torch.uint8),)

    from hlml import layer_table, train

    monkeypatch.setattr(train, "build_model", lambda config: (Data(), CNN(1, 12, 2, [4])))
    assert shown("homework=hw1")[0] == 0
    monkeypatch.setattr(layer_table, "spans", lambda *_: ((0, 0), (0, 0)))
    code, out = shown("homework=hw1")
    assert code == 1
    assert "formula and gradients disagree: stages.0.0: rows 5-7 and columns 5-7, not" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["homework=hw1", "level=strong", "model.widht=3"],
            "model.widht: no such option; did you mean",
        ),
        (["homework=hw1", "-m", "seed=1,2"], "--multirun: belongs to hlml train"),
        (["homework=hw1", "--cfg", "job"], "--cfg: belongs to hlml train"),
        (["model=linear"], "which homework?"),
    ],
)
def test_what_is_wrong_is_one_line(hlml: Command, words: list[str], message: str) -> None:
    assert message in hlml.error("summary", *words)


def test_help(hlml: Command) -> None:
    assert hlml("summary", "--help") == (0, summary.HELP, "")
    assert "summary" in hlml("--help")[1]
