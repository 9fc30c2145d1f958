"""What a method believes of the noise: which classes are given which labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.figures.lettering import lettering, shorten
from pmnar.figures.style import INK, new_figure
from pmnar.figures.tables import Summary, lookup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 30
"""Classes whose names are legible beside a matrix."""
MOST_WRITTEN = 12
"""Classes whose numbers are, in its cells."""


def matrix_names(summary: Summary) -> list[str]:
    """The names of the run's matrices, each that of a file and of a figure."""
    names = lookup(summary, "matrices")
    return [str(name) for name in names] if isinstance(names, list) else []


def matrices_of(run: Path, summary: Summary) -> dict[str, NDArray[np.float64]]:
    """The run's matrices that are there, float64 `[K, K]`, by name.

    Raises:
        InputError: a file is no table of numbers.
    """
    found = {}
    for path in (run / f"{name}.csv" for name in matrix_names(summary)):
        if path.is_file():
            try:
                found[path.stem] = np.loadtxt(path, delimiter=",", ndmin=2)
            except ValueError as error:
                raise InputError(f"{path} is no table of numbers") from error
    return found


def matrix_figure(matrix: NDArray[np.float64], class_names: Sequence[str]) -> Figure:
    """A matrix of probabilities, rows true classes, columns given labels, as shades of blue.

    Args:
        matrix: `[K, K]`, in [0, 1].
        class_names: K names.
    """
    size, letters = len(matrix), lettering(class_names)
    figure = new_figure(height=5.4)
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8).outline.set_visible(False)
    axes.set_xlabel("given label", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[:].set_visible(False)
    if size <= MOST_NAMED:
        names = [shorten(name, 16) for name in letters.drawn]
        settings: dict[str, Any] = {"parse_math": False, "fontfamily": letters.families}
        axes.set_xticks(range(size), names, rotation=90, **settings)
        axes.set_yticks(range(size), names, **settings)
    if size <= MOST_WRITTEN:
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > 0.5 else INK
            axes.text(
                column, row, f"{value:.2f}", color=colour, fontsize=8, ha="center", va="center"
            )
    return figure
