"""A sheet of the images whose given labels look wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
from torch import Tensor

from pmnar.detection import most_suspicious
from pmnar.errors import InputError
from pmnar.figures.style import GREY, INK, VERMILION, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, SHEET = 6, 24
CELL = (1.24, 1.62)  # inches, a caption of three lines included


def worst_samples(samples: pa.Table, images: Tensor, names: Sequence[str]) -> Figure:
    """The samples most likely mislabelled, each over "given → suggested".

    Args:
        samples: the table of all samples.
        images: uint8 `[M, C, H, W]`, the images of `most_suspicious(samples, M)` in its order.
        names: K class names.

    Raises:
        InputError: no sample is called mislabelled, or M is not the number of such samples.
    """
    rows = most_suspicious(samples, max(len(images), 1)).to_pylist()
    if len(rows) != len(images) or not rows:
        raise InputError(f"got {len(images)} images for {len(rows)} samples called mislabelled")
    height = -(-len(rows) // COLUMNS)
    figure = new_figure(COLUMNS * CELL[0], height * CELL[1], fitted=False)
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.05 / height, bottom=0.5 / (height * CELL[1]), hspace=0.5
    )
    axes = list(figure.subplots(height, COLUMNS, squeeze=False).flat)
    for cell, row, image in zip(axes, rows, images, strict=False):
        _show(cell, image)
        _caption(cell, row, names)
    for cell in axes:
        cell.set_anchor("SW")
        cell.axis("off")
    return figure


def _show(axes: Axes, image: Tensor) -> None:
    pixels = image.movedim(0, -1).cpu().numpy()
    gray = pixels.shape[-1] == 1
    axes.imshow(
        pixels[..., 0] if gray else pixels,
        cmap="gray" if gray else None,
        vmin=0,
        vmax=255,
        interpolation="nearest",
    )


def _caption(axes: Axes, row: dict[str, int], names: Sequence[str]) -> None:
    """Given and suggested name, and the true one where it is known and not the suggested."""
    given, suggested = row["given_label"], row["suggested_label"]
    lines = [
        (shorten(names[given], 15), GREY),
        (f"→ {shorten(names[suggested], 14)}", INK),
    ]
    true = row.get("true_label")
    if true is not None and true != suggested:
        lines.append((f"truly {shorten(names[true], 12)}", VERMILION))
    for number, (text, colour) in enumerate(lines):
        axes.annotate(
            text,
            (0.0, 0.0),
            xycoords="axes fraction",
            xytext=(0, -3 - 10 * number),
            textcoords="offset points",
            color=colour,
            fontsize=8,
            va="top",
            parse_math=False,
        )
