"""The look that all figures share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmnar.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers, and in print.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b6b6b"
INK, FAINT = "#222222", "#e6e6e6"
DPI = 150
LINE_GAP = 0.075  # of the axes' height, between two labels at the ends of lines


def new_figure(width: float = 7.0, height: float = 3.6, fitted: bool = True) -> Figure:
    """An empty figure of this size in inches, bound to no global state.

    Axes are fitted around their labels, or stay where they are put.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained" if fitted else "none")
    return figure


def plain(axes: Axes, xlabel: str, ylabel: str, grid: str = "y") -> None:
    """Label the axes; leave two spines and a faint grid along `grid` ("x" or "y")."""
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9)
    if grid == "x":
        axes.xaxis.grid(True, color=FAINT, linewidth=0.8)
    else:
        axes.yaxis.grid(True, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def label_ends(axes: Axes, labels: list[tuple[float, str, str]]) -> None:
    """Write each (value, text, colour) right of its line's end, moved where two would meet.

    Down from the topmost, and up again where that would leave the axes.
    """
    ordered, at = sorted(labels, reverse=True), 2.0
    places = []
    for value, *_ in ordered:
        at = min(float(axes.transLimits.transform((0.0, value))[1]), at - LINE_GAP)
        places.append(at)
    floor = 0.0
    for k in reversed(range(len(places))):
        places[k] = max(places[k], floor)
        floor = places[k] + LINE_GAP
    for (_, text, colour), at in zip(ordered, places, strict=True):
        axes.text(1.015, at, text, color=colour, transform=axes.transAxes, fontsize=9, va="center")


def mark(axes: Axes, x: float, text: str) -> None:
    """A dashed line at `x`, named at its upper end."""
    axes.axvline(x, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(
        text,
        (x, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, 2),
        textcoords="offset points",
        color=GREY,
        fontsize=8.5,
    )


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG of 150 dots an inch; equal figures are equal files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    with replacing(path) as beside:
        # `savefig` would draw everything twice, the first time for the layout alone.
        canvas.print_png(beside, metadata={"Software": None})
    return path
