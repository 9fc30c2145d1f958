"""All figures of a run, from the tables in its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pmnar.detection import most_suspicious, read_samples
from pmnar.figures.classes import MOST, class_curves, panels
from pmnar.figures.curves import accuracy_curve, confidence_histogram, detection_curve
from pmnar.figures.grid import SHEET, worst_samples
from pmnar.figures.matrix import matrices_of, matrix_figure
from pmnar.figures.style import save
from pmnar.figures.tables import (
    Summary,
    events_of,
    lookup,
    read_class_weights,
    read_classes,
    read_metrics,
    read_summary,
)
from pmnar.figures.weights import has_weights, weights_per_class

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

Images = Callable[[list[int]], Tensor]
"""From values of the table's `index` column to their images, uint8 `[M, C, H, W]`."""


def write_figures(run: Path, images: Images | None = None) -> list[Path]:
    """Draw what the run's tables hold into `run/figures`.

    Args:
        run: a run's folder; `metrics.csv`, `classes.csv`, `samples.parquet` and `summary.json` may
            each be absent.
        images: gives the images of training samples by their `index`; without it the sheet of
            suspicious images is left out.

    Returns:
        The files written, of `accuracy.png`, `classes.png`, `confidence.png`, `detection.png`,
        `weights.png`, `suspicious.png`, and one for each of the method's matrices. A figure whose
        data is absent is left out.

    Raises:
        InputError: a table cannot be read.
    """
    summary = read_summary(run / "summary.json")
    figures = _from_metrics(run, summary)
    if (run / "samples.parquet").is_file():
        figures |= _from_samples(read_samples(run / "samples.parquet"), summary, images)
    for name, matrix in matrices_of(run, summary).items():
        figures[name] = matrix_figure(matrix, class_names(summary, len(matrix)))
    return [save(figure, run / "figures" / f"{name}.png") for name, figure in figures.items()]


def class_names(summary: Summary, count: int = 0) -> list[str]:
    """Names from the summary, followed by numbers up to `count` names."""
    names = lookup(summary, "class_names")
    known = [str(name) for name in names] if isinstance(names, list) else []
    return known + [str(k) for k in range(len(known), count)]


def _from_metrics(run: Path, summary: Summary) -> dict[str, Figure]:
    metrics = read_metrics(run / "metrics.csv")
    figures = {}
    if any(name.startswith("accuracy_") for name in metrics):
        figures["accuracy"] = accuracy_curve(metrics, events_of(summary))
    if curves := _of_classes(run, summary):
        figures["classes"] = curves
    weights = read_class_weights(run / "classes.csv") or metrics
    if has_weights(weights):
        figures["weights"] = weights_per_class(weights, class_names(summary))
    return figures


def _of_classes(run: Path, summary: Summary) -> Figure | None:
    if len(class_names(summary)) > MOST:
        return None
    classes = read_classes(run / "classes.csv")
    if len(classes.epochs) < 2 or not panels(classes):
        return None
    names = class_names(summary, next(iter(classes.columns.values())).shape[1])
    lost = lookup(summary, "lost_classes")
    return class_curves(classes, names, lost if isinstance(lost, list) else (), events_of(summary))


def _from_samples(samples: pa.Table, summary: Summary, images: Images | None) -> dict[str, Figure]:
    if not len(samples):
        return {}
    figures = {"confidence": confidence_histogram(samples)}
    if "true_label" in samples.column_names:
        figures["detection"] = detection_curve(samples)
    if has_weights(samples):  # the weights that training ended with, so they win over the log's
        figures["weights"] = weights_per_class(samples, class_names(summary))
    worst = most_suspicious(samples, SHEET)
    if images is not None and len(worst):
        labels = ("given_label", "suggested_label", "true_label")
        known = [samples[name].to_numpy().max() for name in labels if name in samples.column_names]
        names = class_names(summary, int(max(known)) + 1)
        figures["suspicious"] = worst_samples(samples, images(worst["index"].to_pylist()), names)
    return figures
