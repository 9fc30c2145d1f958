"""Mean weight of each given class: what shows that a class is starved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError
from pmnar.figures.lettering import left_to_right, lettering, shorten
from pmnar.figures.style import (
    BLUE,
    GREY,
    VERMILION,
    mark,
    new_figure,
    plain,
)
from pmnar.figures.tables import Metrics
from pmnar.samples.reweighting import STARVED

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

PREFIX = "weight_class_"
Source: TypeAlias = "Mapping[int, float] | Metrics | pa.Table"
MOST_NAMED = 25  # more bars than this are sorted, and only the lowest named


def weights_per_class(source: Source, class_names: Sequence[str] = ()) -> Figure:
    """Mean weight of the samples of each given class: a class near zero is not learned from.

    Args:
        source: mean weights by label, as `classes.csv` has them; or `samples.parquet`; or the
            `metrics.csv` of an older run, of which the last epoch counts.
        class_names: names by label; numbers stand in for missing ones.

    Raises:
        InputError: the source holds no weights.
    """
    means = _class_means(source)
    if not means:
        raise InputError("there are no weights per class: this method weighs all samples equally")
    letters = lettering([*class_names, *map(str, range(len(class_names), max(means) + 1))])
    names = [letters.drawn[k] for k in means]
    values = np.array(list(means.values()))
    overall = float(values.mean())
    colours = [VERMILION if value < STARVED * overall else BLUE for value in values]
    if len(values) > MOST_NAMED:
        return _many_bars(values, names, letters.families, colours, overall)
    figure = new_figure(height=1.1 + 0.26 * len(values))
    axes = figure.subplots()
    plain(axes, "mean weight", "given class", grid="x")
    bars = axes.barh(range(len(values)), values, color=colours, height=0.72)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8.5)
    axes.margins(x=0.1)
    shown = [shorten(name, 28) for name in names]
    axes.set_yticks(range(len(values)), shown, parse_math=False, fontfamily=letters.families)
    axes.invert_yaxis()
    mark(axes, overall, f"mean {overall:.2f}")
    return figure


def _many_bars(
    values: NDArray[np.float64],
    names: list[str],
    families: Sequence[str],
    colours: list[str],
    overall: float,
) -> Figure:
    """Sorted bars, of which the lowest are named: a thousand names would not be legible."""
    order = np.argsort(values, kind="stable")
    figure = new_figure()
    axes = figure.subplots()
    plain(axes, f"{len(values)} given classes, lowest weight first", "mean weight")
    axes.bar(range(len(values)), values[order], color=[colours[k] for k in order], width=1.0)
    axes.margins(x=0.01)
    axes.axhline(overall, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    axes.text(
        0.01,
        1.02,
        f"dashed: mean {overall:.2f}",
        transform=axes.transAxes,
        color=GREY,
        fontsize=8.5,
    )
    lines = (left_to_right(f"{values[k]:.2f}  {shorten(names[k], 24)}") for k in order[:8])
    lowest = "\n".join(lines)
    text = axes.text(1.02, 1.0, f"lowest\n{lowest}", transform=axes.transAxes, fontsize=8.5)
    text.set(va="top", linespacing=1.5, parse_math=False, fontfamily=families)
    return figure


def _class_means(source: Source) -> dict[int, float]:
    """Mean weight by given class, of the classes that have samples."""
    if isinstance(source, Mapping):
        return dict(sorted(_from_columns(source).items()))
    if "weight" not in source.column_names:
        return {}
    means = source.group_by("given_label").aggregate([("weight", "mean")]).sort_by("given_label")
    labels, values = means["given_label"].to_pylist(), means["weight_mean"].to_pylist()
    return dict(zip(labels, values, strict=True))


def _from_columns(source: Mapping[int, float] | Metrics) -> dict[int, float]:
    found = {}
    for key, value in source.items():
        if isinstance(key, int) and not isinstance(value, np.ndarray):
            found[key] = value
        elif isinstance(key, str) and isinstance(value, np.ndarray) and key.startswith(PREFIX):
            found[int(key.removeprefix(PREFIX))] = value[~np.isnan(value)][-1]
    return found


def has_weights(source: Source) -> bool:
    """Whether the classes have weights other than the 1 of plain training."""
    return any(mean != 1 for mean in _class_means(source).values())
