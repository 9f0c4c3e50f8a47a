"""Back-translation: three steps in one folder, each gone on with; and lines of one's own."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from hlml import backtranslate, cli, launch
from hlml.data.vocabulary import Vocabulary

pytest.importorskip("sentencepiece", reason="the extra text is not installed")
pytest.importorskip("sacrebleu", reason="the extra text is not installed")

NUMBERS = ["one", "two", "three", "four", "five", "six"]
SIGNS = dict(zip(NUMBERS, "一二三四五六", strict=True))
PAIRS = [(f"{a} {b}", SIGNS[a] + SIGNS[b]) for a in NUMBERS for b in NUMBERS]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, in a folder with 36 pairs and 12 Chinese lines of their kind."""
    monkeypatch.chdir(tmp_path)
    for side, name in enumerate(("source.txt", "target.txt")):
        Path(name).write_text("".join(f"{pair[side]}\n" for pair in PAIRS), encoding="utf-8")
    Path("mono.txt").write_text("".join(f"{pair[1]}\n" for pair in PAIRS[:12]), encoding="utf-8")
    files = ["data=bitext", "data.source=source.txt", "data.target=target.txt"]
    small = ["data.kind=characters", "data.valid=4", "data.test=4", "model.width=16"]
    rest = ["model.embedding=16", "trainer.epochs=2", "trainer.threads=1", "level=simple"]
    return ["backtranslate", "mono.txt", "homework=hw5", *files, *small, *rest, "--folder=here"]


def test_three_steps_and_each_goes_on(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the middle of the second step: what was translated is not translated again."""
    monkeypatch.setattr(backtranslate, "CHUNK", 5)
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "5 of 12 lines" in out
    whole = Path("here/synthetic.txt").read_bytes()
    assert whole.count(b"\n") == 12

    first = whole.split(b"\n")[:7]
    Path("here/synthetic.txt").write_bytes(b"\n".join(first) + b"\nhalf a li")
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert out.count("is finished") == 2
    assert "10 of 12 lines" not in out  # it went on behind line 7
    assert "12 of 12 lines" in out
    assert Path("here/synthetic.txt").read_bytes() == whole

    sizes = [
        json.loads(Path(f"here/{run}/summary.json").read_text()) for run in ("backward", "forward")
    ]
    assert all(summary["status"] == "finished" for summary in sizes)
    assert sizes[1]["steps"] > 0


def test_a_training_that_is_stopped_stops_the_chain(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(argv: list[str]) -> int:
        sys.exit(130)

    monkeypatch.setattr(launch, "main", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 130
    assert not Path("here/synthetic.txt").exists()


@pytest.mark.parametrize("name", ["it's, a=b", 'a "b"', "a\\b", "a\\", 'a\\"', "[a]{b}#"])
def test_hydra_reads_every_path(name: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = f"data.extra_source={backtranslate._quoted(Path(name))}"
    assert str(OverridesParser.create().parse_override(override).value()) == name


def test_words_for_one_training_go_before_those_for_both() -> None:
    words = ["forward.level=strong", "level=simple", "backward.seed=1"]
    assert backtranslate._words(words, "forward")[-1] == "level=strong"
    assert backtranslate._words(words, "backward") == ["level=simple", "seed=1"]


def test_the_forward_model_learns_from_the_synthetic_pairs(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And then the folder is these words' and these texts', and no others'."""
    assert cli.main(words) == 0
    import yaml

    from hlml.train import build_task

    config = yaml.safe_load(Path("here/forward/config.yaml").read_text())
    data, _ = build_task(config)
    assert len(data.rows("train")) == 28 + 12
    assert len(data.rows("valid")) == 4
    capsys.readouterr()

    assert cli.main([*words, "forward.model.width=8"]) == 2
    assert "forward was trained with model.width=16, not 8" in capsys.readouterr().err
    Path("mono.txt").write_text("一二\n" * 12, encoding="utf-8")
    assert cli.main(words) == 2
    assert "mono.txt: is not what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["nowhere.txt"], "nowhere.txt: no such file"),
        (["mono.txt", "run_dir=x"], "run_dir: backtranslate sets it"),
        (["mono.txt", "backward.data.reverse=true"], "reverse: backtranslate sets it"),
        (["mono.txt", "+data.reverse=true"], "reverse: backtranslate sets it"),
        (["mono.txt", "--folderr=x"], "unrecognized arguments"),
        (["mono.txt"], "data: back-translation needs a data set that has reverse"),
        (["mono.txt", "data=phrases"], "data: back-translation needs a data set that has reverse"),
        (["mono.txt", "data=ted2020", "forward.model.widht=1"], "model.widht: no such option"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["backtranslate", *change, "homework=hw5"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("named", [False, True])
def test_a_saved_run_answers_lines_and_keeps_its_vocabulary(
    words: list[str],
    named: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its training files have changed since: another vocabulary could not read the weights."""
    train = ["train", *words[2:-1], "run_dir=run"]
    if named:
        Vocabulary.learn([f"{a} {b}" for a, b in PAIRS], "characters").save(Path("my.model"))
        train.append("data.vocabulary=my.model")
    assert cli.main(train) == 0
    Path("my.model").unlink(missing_ok=True)
    Path("lines.txt").write_text("one two\n\nfive six\n", encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["translate", "run", "--input", "lines.txt"]) == 0
    before = capsys.readouterr().out
    assert before.count("\n") == 3
    assert before.split("\n")[1] == ""  # of nothing, nothing
    for name in ("source.txt", "target.txt"):
        Path(name).write_text("".join(f"ABC xyz {n}\n" for n in range(30)), encoding="utf-8")
    assert cli.main(["translate", "run", "--input", "lines.txt"]) == 0
    assert capsys.readouterr().out == before
    for piped, code, out in ((b"one two\n\nfive six\n", 0, before), (b"", 0, ""), (b"\xff", 2, "")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        assert cli.main(["translate", "run"]) == code
        assert capsys.readouterr().out == out
    assert cli.main(["translate", "run", "--input", "nowhere"]) == 2
    assert "--input nowhere" in capsys.readouterr().err
