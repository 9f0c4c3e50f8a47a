"""level= and data= as presets, on homework 1 and on a homework of the user's own."""

from pathlib import Path

import pytest

from command import Command


def chosen(config: dict) -> tuple[str, str, str]:
    data = config["data"]["_target_"].rpartition(".")[2].lower()
    return config["homework"], data, config["level"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("hw1", "births", "simple")),
        (["level=strong"], ("hw1", "births", "strong")),
        (["data=covid"], ("hw1", "covid", "simple")),
        (["level=boss", "data=covid"], ("hw1", "covid", "boss")),
        (["data=births", "level=medium"], ("hw1", "births", "medium")),
        (["homework=hw1/covid/strong"], ("hw1", "covid", "strong")),
        (["homework=hw1/covid/strong", "level=simple"], ("hw1", "covid", "simple")),
        (["homework=hw1/covid/strong", "data=births"], ("hw1", "births", "strong")),
        (["homework=hw1/covid"], ("hw1", "covid", "simple")),
        (["level=simple", "level=strong"], ("hw1", "births", "strong")),
    ],
)
def test_level_and_data_choose_the_preset(
    hlml: Command, words: list[str], expected: tuple[str, str, str]
) -> None:
    assert chosen(hlml.config(*words)) == expected


def test_overrides_arrive_as_they_were_typed(hlml: Command) -> None:
    hlml.config("level=strong", "optimizer.lr=0.1", "trainer.smoke=true", "data.lags=[1,7]")
    assert hlml.calls[-1][1:] == (
        [
            "level=strong",
            "data=births",
            "optimizer.lr=0.1",
            "trainer.smoke=true",
            "data.lags=[1,7]",
        ],
        None,
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["homework=hw1", "level=stong"], "level=stong: no such level; did you mean strong?"),
        (["homework=hw1", "data=covit"], "data=covit: no such choice; did you mean covid?"),
        (["homework=hw11"], "homework=hw11: no such homework; did you mean hw1?"),
        (["homework=hw1/births/easy"], "no such homework; did you mean hw1/births/"),
        (["level=strong"], "which homework? homework=NAME, one of hw1"),
        ([], "which homework?"),
        (["hw1"], "hw1: not an option; did you mean homework=hw1?"),
        (["homework=hw1", "level=simple,strong"], "several values need -m"),
        (["homework=hw1", "level=[simple]"], "level=[simple]: expected a name"),
        (["homework=hw1", "level="], "level=: expected a name"),
        (["homework=hw1", "-m", "data=births,mine"], "mine has no presets"),
    ],
)
def test_what_there_is_not_is_said(hlml: Command, words: list[str], message: str) -> None:
    assert message in hlml.error("train", *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["level=simple,strong"], [("births", "simple"), ("births", "strong")]),
        (["level=choice(simple,boss)"], [("births", "simple"), ("births", "boss")]),
        (
            ["data=births,covid", "level=simple,strong"],
            [("births", "simple"), ("births", "strong"), ("covid", "simple"), ("covid", "strong")],
        ),
    ],
)
def test_a_sweep_makes_every_combination(
    hlml: Command, words: list[str], expected: list[tuple[str, str]]
) -> None:
    assert hlml("train", "homework=hw1", "-m", *words)[0] == 0
    assert [chosen(call[0])[1:] for call in hlml.calls] == expected


PRESET = """# @package _global_
defaults:
  - override /data: {data}
  - override /model: linear
  - override /task: regression
  - _self_
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of configs with a homework that has levels and one data set."""
    homework = tmp_path / "own" / "homework"
    (homework / "toy").mkdir(parents=True)
    (homework / "toy.yaml").write_text("# @package _global_\ndefaults: [/homework/toy/simple]\n")
    (homework / "toy" / "simple.yaml").write_text(PRESET.format(data="births"))
    (homework / "toy" / "hard.yaml").write_text(PRESET.format(data="births"))
    (tmp_path / "own" / "data").mkdir()
    (tmp_path / "own" / "data" / "mine.yaml").write_text(
        "_target_: hlml.data.births.Births\nbatch_size: 7\n"
    )
    return tmp_path / "own"


def test_a_folder_of_ones_own_is_searched_too(hlml: Command, own: Path) -> None:
    words = ("train", "homework=toy", "--config-dir", "own")
    assert hlml(*words, "level=hard")[0] == 0
    assert chosen(hlml.calls[-1][0]) == ("toy", "births", "hard")
    # a data set without presets keeps the level's preset, and is used all the same
    assert hlml(*words, "level=hard", "data=mine")[0] == 0
    assert hlml.calls[-1][0]["data"]["batch_size"] == 7
    assert hlml.calls[-1][1] == ["level=hard", "data=mine"]
    hlml.calls.clear()
    assert "there are: " in hlml.error(*words, "level=boss")
