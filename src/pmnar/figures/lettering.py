"""Class names in figures: fonts that have their letters, or else numbers.

matplotlib comes with one font, which has Latin, Greek, Cyrillic, Arabic and Hebrew, and draws a box
for any other letter. The fonts that are installed fill in for it where they can.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry

OWN = "DejaVu Sans"
PLACEHOLDERS = ("last resort", "lastresort", "adobe blank", "adobeblank", "notdef")
"""Fonts that have a box for every letter there is."""
SIMPLE = "\u0250"
"""Letters before this one are in matplotlib's own font."""


@dataclass(frozen=True)
class Lettering:
    """How to draw names.

    Attributes:
        drawn: what to draw in the place of each name: itself, or `#3` for that of class 3.
        families: the fonts to draw all of them with, the first that has a letter draws it.
        numbered: the names drawn as numbers, by class.
    """

    drawn: tuple[str, ...]
    families: tuple[str, ...]
    numbered: dict[int, str]


def lettering(names: Sequence[str]) -> Lettering:
    """How to draw the names of classes 0 to K - 1."""
    letters = {letter for name in names for letter in name if _has_shape(letter)}
    if all(letter < SIMPLE for letter in letters):
        return Lettering(tuple(names), (OWN,), {})
    families, missing = _choose(letters)
    numbered = {k: name for k, name in enumerate(names) if not missing.isdisjoint(name)}
    drawn = tuple(f"#{k}" if k in numbered else name for k, name in enumerate(names))
    return Lettering(drawn, tuple(families), numbered)


def _has_shape(letter: str) -> bool:
    """Whether a font must have it: not blanks, and not what joins or turns letters."""
    return unicodedata.category(letter) not in ("Zs", "Cf")


def _choose(letters: set[str]) -> tuple[list[str], set[str]]:
    """Families that have all letters that any font has, and the letters that none has."""
    own, others = _installed()
    families = [OWN]
    missing = letters - _letters_of(own)
    while missing and others:
        best, found = _most_of(missing, others)
        if not found:
            break
        families.append(best.name)
        missing -= found
    return families, missing


def _installed() -> tuple[str, list[FontEntry]]:
    """The file of matplotlib's own font, and the other upright fonts, sans serif first."""
    from matplotlib import font_manager

    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal"
        and entry.name != OWN
        and not any(word in entry.name.lower() for word in PLACEHOLDERS)
    ]
    # That it has a font in another weight than asked for is nothing that a user must know.
    logging.getLogger(font_manager.__name__).setLevel(logging.ERROR)
    own = font_manager.findfont(OWN)
    return own, sorted(entries, key=lambda e: ("sans" not in e.name.lower(), e.name, e.fname))


def _most_of(letters: set[str], entries: Sequence[FontEntry]) -> tuple[FontEntry, set[str]]:
    """The first font that has all letters, or the one with most of them; and those."""
    best, most = entries[0], set[str]()
    for entry in entries:
        found = letters & _letters_of(entry.fname)
        if len(found) > len(most):
            best, most = entry, found
        if len(most) == len(letters):
            break
    return best, most


@cache
def _letters_of(file: str) -> frozenset[str]:
    """The letters of a font; none of a file that cannot be read as one."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def shorten(name: str, length: int) -> str:
    """The name in at most `length` columns.

    One that is longer is its first alternative ("shark, white shark" has two), cut where that is
    too long as well. A letter of East Asia takes two columns; marks stay with their letters.
    """
    if sum(map(_columns, name)) > length:
        name = name.split(",")[0].strip()
    columns = [_columns(letter) for letter in name]
    if sum(columns) <= length:
        return name
    kept = 0
    while sum(columns[: kept + 1]) <= length - 1:
        kept += 1
    while kept > 1 and unicodedata.category(name[kept]).startswith("M"):
        kept -= 1
    # The last mark lets the dots stand at the end of what is read from right to left.
    return name[:kept].rstrip() + "…" + ("\u200f" if _turns(name) else "")


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def left_to_right(text: str) -> str:
    """The line with its parts in this order, also where a name is written from right to left."""
    return f"\u200e{text}" if _turns(text) else text


def _turns(text: str) -> bool:
    """Whether some of it is read from right to left."""
    return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)
