"""Pictures of texts: what is drawn is what is there, and has glyphs."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from matplotlib import font_manager
from matplotlib.colors import to_hex

from hlml.figures import text
from hlml.figures.style import BLUE
from hlml.figures.text import Pieces


@pytest.fixture
def own_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only those that come with matplotlib, whatever the machine has."""
    fonts = [f for f in font_manager.fontManager.ttflist if "mpl-data" in f.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    text._characters.cache_clear()
    yield
    text._characters.cache_clear()


def ticks(labels: list[object]) -> list[str]:
    return [label.get_text() for label in labels]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("own_fonts")
def test_an_alignment_has_a_row_for_each_piece_that_was_written() -> None:
    looks = torch.rand(3, 5)
    source = Pieces(["\u2581the", "\u2581c", "at", ".", "END"], [7, 8, 9, 10, 2])
    figure = text.alignment(looks, source, Pieces(["le", "chat", "END"], [4, 5, 2]), "Here")
    place = figure.axes[0]
    np.testing.assert_array_equal(place.images[0].get_array(), looks.numpy())  # type: ignore[arg-type]
    assert ticks(place.get_xticklabels()) == list(source.names)
    assert ticks(place.get_yticklabels()) == ["le", "chat", "END"]
    assert place.get_title(loc="left") == "Here"
    top, bottom = sorted(place.get_ylim())
    assert place.get_ylim() == (bottom, top)  # the first row on top


@pytest.mark.usefixtures("own_fonts")
def test_a_piece_without_glyphs_is_shown_by_its_number() -> None:
    """Drawn, too: matplotlib warns of each glyph that is missing, and warnings are errors here."""
    target = Pieces(["\u4f60", "\u597d", "ok", "END"], [41, 57, 6, 2])
    assert text.font_for("\u4f60") is None
    figure = text.alignment(torch.rand(4, 2), Pieces(["hi", "END"], [5, 2]), target, "Here")
    figure.savefig(io.BytesIO(), dpi=30)
    place = figure.axes[0]
    assert ticks(place.get_yticklabels()) == ["#41", "#57", "ok", "END"]
    assert ticks(place.get_xticklabels()) == ["hi", "END"]
    assert "(#: numbers, for want of a font)" in place.get_title(loc="left")


@pytest.mark.usefixtures("own_fonts")
def test_the_usual_font_is_taken_where_it_will_do_and_another_where_not() -> None:
    assert text.font_for("e\u00e9\u2581") == text.USUAL
    script = chr(0x1D49C)  # a letter that mathematical fonts have
    other = text.font_for(script)
    assert other is not None
    assert other != text.USUAL
    assert ord(script) in text._characters(other)
    assert text.labels(Pieces([script], [9]), other) == [script]
    assert text.labels(Pieces([script], [9]), text.USUAL) == ["#9"]


def test_padding_is_what_is_not_blue() -> None:
    source = torch.tensor([[True, True, True], [True, False, False]])
    target = torch.tensor([[True, True], [True, True]])
    figure = text.padding(source, target)
    assert "20.0% of it padding" in figure.get_suptitle()
    assert "2 pairs" in figure.get_suptitle()
    for place, real in zip(figure.axes, (source, target), strict=True):
        pixels = np.asarray(place.images[0].get_array())
        blue = [[to_hex(pixel) == BLUE for pixel in row] for row in pixels]
        np.testing.assert_array_equal(blue, real.numpy())
    assert figure.axes[0].get_xlabel() == "source: 4 tokens"


def test_bars_are_the_scores_of_the_groups() -> None:
    figure = text.by_length(["1\u20133", "4"], [0.2, 0.7], [1200, 8], "WER", 0.5)
    (place,) = figure.axes
    assert [bar.get_height() for bar in place.patches] == [0.2, 0.7]
    assert ticks(place.get_xticklabels()) == ["1\u20133", "4"]
    assert {"1,200", "8"} <= {one.get_text() for one in place.texts}
    assert "0.50" in place.get_title(loc="left")
