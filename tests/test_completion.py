"""What the tab key offers."""

import pytest

from command import Command
from hlml.cli import VERBS


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("hlml ", set(VERBS)),
        ("hlml summary homework=hw1 level=strong model.wi", {"model.width="}),
        ("hlml tr", {"train", "translate"}),
        ("hlml runs ", {"list", "best", "table"}),
        ("hlml runs ta", {"table"}),
        ("hlml evaluate ", set()),
        ("hlml train home", {"homework="}),
        ("hlml train homework=", {f"homework=hw{number}" for number in range(1, 7)}),
        ("hlml train optim", {"optimizer="}),
        (
            "hlml train homework=hw1 optimizer=adam",
            {f"optimizer=adam{end}" for end in ("", "w", "_gan")},
        ),
        ("hlml train homework=hw1 le", {"level="}),
        (
            "hlml train homework=hw1 level=",
            {f"level={x}" for x in ["simple", "medium", "strong", "boss"]},
        ),
        ("hlml train homework=hw1 data=covid level=b", {"level=boss"}),
        ("hlml train homework=hw1 level=nonsense trainer.ep", {"trainer.epochs="}),
        ("hlml train homework=hw1 trainer.epochs=3 optimizer.l", {"optimizer.lr="}),
        ("hlml train homework=hw1 level=strong model.wi", {"model.width="}),
        ("hlml train -m homework=hw1 scheduler=lin", {"scheduler=linear"}),
        ("/usr/local/bin/hlml train scheduler=lin", {"scheduler=linear"}),
    ],
)
def test_completion_offers(
    hlml: Command, monkeypatch: pytest.MonkeyPatch, line: str, offered: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    code, out, _ = hlml("-sc", "query=bash")
    assert (code, set(out.split())) == (0, offered)


def test_completion_is_installed_for_the_command(
    hlml: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/venv/bin/hlml", "-sc", "install=bash"])
    code, out, _ = hlml("-sc", "install=bash")
    assert code == 0
    assert out.rstrip().endswith("-F hydra_bash_completion hlml")
    assert "zsh=bash" in hlml.error("-sc", "zsh=bash")
    assert "hlml -sc install=bash" in hlml.error("train", "-sc", "install=bash")
