"""What becomes of each class over the epochs, from a run's `classes.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pmnar.figures.lettering import lettering, shorten
from pmnar.figures.style import BLUE, GREY, INK, VERMILION, label_ends, mark, new_figure, plain
from pmnar.figures.tables import Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 200
"""Classes, of which no figure is made any more: nobody could tell them apart."""
NAMED = 6
PANELS = {
    "recall": ("test recall", 1.0),
    "recall_given": ("recall on\ngiven labels", 1.0),
    "weight": ("mean weight", 0.0),
}
"""Columns, what their axis is called, and up to where it goes at least."""


def class_curves(
    classes: Classes,
    names: Sequence[str],
    lost: Sequence[str] = (),
    events: Mapping[str, int] | None = None,
) -> Figure:
    """Recall and mean weight of every class: starvation is seen at a glance.

    Lost classes are dashed and named at their end, up to `NAMED`; where none is, the class with the
    lowest recall is named.

    Args:
        classes: of the table, with a column of `PANELS` at least.
        names: of the classes.
        lost: those of `lost_classes` in the summary.
        events: what happened after which epoch.
    """
    from matplotlib.ticker import MaxNLocator

    shown = panels(classes)
    at_end = classes.columns[shown[0]][-1]
    marked = [k for k, name in enumerate(names) if name in set(lost)]
    colour = VERMILION if marked else BLUE
    if not marked and not np.isnan(at_end).all():
        marked = [int(np.nanargmin(at_end))]
    letters = lettering([names[k] for k in marked])
    figure = new_figure(height=1.2 + 1.8 * len(shown))
    rows = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, column in zip(rows, shown, strict=True):
        label, top = PANELS[column]
        plain(axes, "", label)
        values = classes.columns[column]
        _draw(axes, classes.epochs, values, marked, colour)
        axes.set_ylim(0, 1.03 * max(top, float(np.nanmax(values)), 1e-6))
        label_ends(axes, _ends(values[-1], marked, names, colour))
        for text in axes.texts:
            text.set(parse_math=False, fontfamily=letters.families)
        for name, epoch in (events or {}).items():
            if 0 < epoch < classes.epochs.max():
                mark(axes, epoch + 0.5, name if axes is rows[0] else "")
    rows[-1].set_xlabel("epoch", color=INK)
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    return figure


def _ends(
    values: NDArray[np.float64], marked: Sequence[int], names: Sequence[str], colour: str
) -> list[tuple[float, str, str]]:
    """Names at the ends of lines; of many, the first few and how many more."""
    known = [k for k in marked if not np.isnan(values[k])]
    ends = [(float(values[k]), shorten(names[k], 18), colour) for k in known[:NAMED]]
    if more := known[NAMED:]:
        ends.append((min(float(values[k]) for k in more), f"and {len(more)} more", colour))
    return ends


def panels(classes: Classes) -> list[str]:
    """The columns that are drawn: one recall, and weights where they are not all alike."""
    found = [name for name in PANELS if name != "weight" and name in classes.columns][:1]
    weights = classes.columns.get("weight")
    if weights is not None and np.nanmax(weights) > np.nanmin(weights):
        found.append("weight")
    return found


def _draw(
    axes: Axes,
    epochs: NDArray[np.float64],
    values: NDArray[np.float64],
    marked: Sequence[int],
    colour: str,
) -> None:
    style = {VERMILION: (0, (4, 2)), BLUE: "-"}[colour]
    for k in range(values.shape[1]):
        if k not in marked:
            axes.plot(epochs, values[:, k], color=GREY, linewidth=0.9, alpha=0.55)
    for k in marked:
        axes.plot(epochs, values[:, k], color=colour, linewidth=1.7, linestyle=style)
    axes.margins(x=0.01)
