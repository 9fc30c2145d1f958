"""A sheet of the images whose given labels look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pmnar.detection import most_suspicious
from pmnar.errors import InputError
from pmnar.figures.lettering import Lettering, left_to_right, lettering, shorten
from pmnar.figures.style import GREY, INK, VERMILION, new_figure

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, SHEET = 6, 24
CELL = (1.24, 1.62)  # inches, a caption of three lines included

Cell = tuple[float, float, float, float]
"""Left, bottom, width and height of an image's place, as shares of the figure's."""


def worst_samples(samples: pa.Table, images: Tensor, names: Sequence[str]) -> Figure:
    """The suspects least believed, each over "given → suggested".

    Args:
        samples: the table of all samples.
        images: uint8 `[M, C, H, W]`, the images of `most_suspicious(samples, M)` in its order.
        names: K class names.

    Raises:
        InputError: no sample is a suspect, or M is not the number of such samples.
    """
    rows = most_suspicious(samples, max(len(images), 1)).to_pylist()
    if len(rows) != len(images) or not rows:
        raise InputError(f"got {len(images)} images for {len(rows)} samples to look at")
    letters = lettering(names)
    figure, cells = _sheet(len(rows))
    canvas = figure.add_axes((0, 0, 1, 1), autoscale_on=False)
    canvas.axis("off")
    width, height = figure.get_size_inches()
    for cell, row, image in zip(cells, rows, images, strict=True):
        left, bottom = width * cell[0], height * cell[1]
        _show(canvas, image, left, bottom, width * cell[2], height * cell[3])
        _caption(canvas, row, letters, cell)
    canvas.set(xlim=(0, width), ylim=(0, height))
    return figure


def _sheet(count: int) -> tuple[Figure, list[Cell]]:
    """An empty figure for so many images, and where each of them goes.

    One pair of axes is drawn upon: 24 of them would take a quarter of a second to make.
    """
    from matplotlib.gridspec import GridSpec

    height = -(-count // COLUMNS)
    figure = new_figure(COLUMNS * CELL[0], height * CELL[1], fitted=False)
    grid = GridSpec(
        height,
        COLUMNS,
        left=0.01,
        right=0.99,
        top=1 - 0.05 / height,
        bottom=0.5 / (height * CELL[1]),
        hspace=0.5,
    )
    boxes = (grid[place].get_position(figure).bounds for place in range(count))
    return figure, list(boxes)


def _show(
    axes: Axes, image: Tensor, left: float, bottom: float, width: float, height: float
) -> None:
    """The image as large as it fits into the cell, at its lower left; all in inches."""
    pixels = image.movedim(0, -1).cpu().numpy()
    gray = pixels.shape[-1] == 1
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    axes.imshow(
        pixels[..., 0] if gray else pixels,
        cmap="gray" if gray else None,
        vmin=0,
        vmax=255,
        interpolation="nearest",
        aspect="auto",
        extent=(left, left + scale * pixels.shape[1], bottom, bottom + scale * pixels.shape[0]),
    )


def _caption(axes: Axes, row: dict[str, int], letters: Lettering, cell: Cell) -> None:
    """Given and suggested name, and the true one where it is known and not the suggested."""
    given, suggested, names = row["given_label"], row["suggested_label"], letters.drawn
    lines = [
        (shorten(names[given], 15), GREY),
        (f"→ {shorten(names[suggested], 14)}", INK),
    ]
    true = row.get("true_label")
    if true is not None and true != suggested:
        lines.append((f"truly {shorten(names[true], 12)}", VERMILION))
    for number, (text, colour) in enumerate(lines):
        axes.annotate(
            left_to_right(text),
            cell[:2],
            xycoords="figure fraction",
            xytext=(0, -3 - 10 * number),
            textcoords="offset points",
            color=colour,
            fontfamily=letters.families,
            fontsize=8,
            va="top",
            parse_math=False,
        )
