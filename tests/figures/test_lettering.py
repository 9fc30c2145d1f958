"""Class names in any script: drawn with a font that has their letters, or else as numbers."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from pmnar.detection import samples_table
from pmnar.figures import weights_per_class, worst_samples, write_report
from pmnar.figures.lettering import OWN, left_to_right, lettering, shorten
from pmnar.figures.style import save

NAMES = ["猫", "狗 (dog)", "قطة", "कुत्ता", "Ёж", "plain"]
OWN_LETTERS = {2, 4, 5}  # what matplotlib's own font has
MakeRun = Callable[..., Path]


def make_font(path: Path, family: str, letters: str) -> None:
    """A font in which each letter is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = {ord(letter): f"uni{ord(letter):04X}" for letter in letters}
    glyphs = {name: pen.glyph() for name in [".notdef", *names.values()]}
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap(names)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def only_own(monkeypatch: pytest.MonkeyPatch) -> list[font_manager.FontEntry]:
    """A machine without fonts beside matplotlib's own; gives the list of them, to add to."""
    manager = font_manager.fontManager
    known = (OWN, "Last Resort High-Efficiency")
    fonts = [entry for entry in manager.ttflist if entry.name in known]
    monkeypatch.setattr(manager, "ttflist", fonts)
    return fonts


@pytest.fixture
def with_chinese(only_own: list[font_manager.FontEntry], tmp_path: Path) -> None:
    """A machine with two more fonts: one has one of the letters, another both."""
    for family, letters in (("A Sans Of Cats", "猫"), ("Square Han", "猫狗")):
        make_font(tmp_path / f"{family}.ttf", family, letters)
        font_manager.fontManager.addfont(tmp_path / f"{family}.ttf")


def figures() -> Iterator[Figure]:
    """Every figure with class names."""
    given = torch.arange(6)
    table = samples_table(
        given=given,
        confidence=torch.full((6,), 0.1),
        suggested=(given + 1) % 6,
        suggested_confidence=torch.full((6,), 0.9),
        class_names=NAMES,
        true=(given + 2) % 6,
    )
    yield worst_samples(table, torch.zeros(6, 1, 8, 8, dtype=torch.uint8), NAMES)
    yield weights_per_class({k: 0.1 + k / 10 for k in range(6)}, NAMES)
    yield weights_per_class({k: 0.1 + k / 10 for k in range(30)}, NAMES * 5)


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def draws_without_boxes(figure: Figure, path: Path) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(figure, path)
    return not [w for w in caught if "missing from font" in str(w.message)]


@pytest.mark.usefixtures("only_own")
def test_letters_that_no_font_has_become_numbers(tmp_path: Path) -> None:
    found = lettering(NAMES)
    assert found.drawn == ("#0", "#1", "قطة", "#3", "Ёж", "plain")
    assert found.families == (OWN,)  # and not the one that has a box for every letter
    assert found.numbered == {0: "猫", 1: "狗 (dog)", 3: "कुत्ता"}
    for figure in figures():
        assert "#3" in texts_of(figure)
        assert "猫" not in texts_of(figure)
        assert draws_without_boxes(figure, tmp_path / "f.png")


@pytest.mark.usefixtures("with_chinese")
def test_an_installed_font_fills_in(tmp_path: Path) -> None:
    found = lettering(NAMES)
    assert found.drawn == ("猫", "狗 (dog)", "قطة", "#3", "Ёж", "plain")
    assert found.families == (OWN, "Square Han")
    for figure in figures():
        assert "猫" in texts_of(figure)
        assert "狗 (dog)" in texts_of(figure)
        assert "#3" in texts_of(figure)
        assert draws_without_boxes(figure, tmp_path / "f.png")


def test_plain_names_ask_for_no_font() -> None:
    found = lettering(["cat", "Straße"])
    assert (found.drawn, found.families, found.numbered) == (("cat", "Straße"), (OWN,), {})


@pytest.mark.usefixtures("only_own")
def test_the_report_says_what_the_numbers_mean(make_run: MakeRun) -> None:
    run = make_run()
    (run / "figures").mkdir()
    summary = json.loads((run / "summary.json").read_text()) | {"class_names": NAMES}
    (run / "summary.json").write_text(json.dumps(summary))
    assert "<td>#3</td>" not in write_report(run).read_text()  # without figures no legend
    save(next(figures()), run / "figures" / "suspicious.png")
    text = write_report(run).read_text(encoding="utf-8")
    assert "<td>#3</td><td>कुत्ता</td>" in text
    assert "<td>#0</td><td>猫</td>" in text
    assert "#2</td>" not in text


@pytest.mark.parametrize(
    ("name", "length", "expected"),
    [
        ("shark, white shark", 15, "shark"),
        ("a long name of a class", 10, "a long na…"),
        ("日本語の長い名前", 16, "日本語の長い名前"),
        ("日本語の長い名前", 9, "日本語の…"),
        ("कुत्ता बिल्ली", 4, "कुत्…"),
        ("قطة صغيرة", 5, "قطة…\u200f"),
        ("猫", 1, "…"),
    ],
)
def test_names_are_cut_by_the_room_they_take(name: str, length: int, expected: str) -> None:
    assert shorten(name, length) == expected


def test_a_line_keeps_its_order() -> None:
    assert left_to_right("→ cat") == "→ cat"
    assert left_to_right("→ قطة") == "\u200e→ قطة"
