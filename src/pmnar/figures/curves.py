"""Accuracy, confidence and detection, from a run's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pmnar.detection import detection_metrics, f1_curve, threshold_of
from pmnar.errors import InputError
from pmnar.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    label_ends,
    mark,
    new_figure,
    plain,
)
from pmnar.figures.tables import Metrics, epochs_of
from pmnar.names import HELD_OUT

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.float64], str, str, float]  # values, label, colour, line width
ACCURACIES = {"first": (BLUE, 1.8), "second": (ORANGE, 1.3), "ensemble": (GREEN, 1.3)}
DETECTIONS = {"f1": ("F1", VERMILION, 2.0), "precision": ("precision", BLUE, 1.2)}
DETECTIONS |= {"recall": ("recall", GREEN, 1.2)}


def accuracy_curve(metrics: Metrics, events: Mapping[str, int] | None = None) -> Figure:
    """Accuracy of first, second and ensemble over epochs; detection F1 below, where known.

    On the test split or, where there is none, on noisy labels that were held out.

    Args:
        metrics: columns of `metrics.csv`.
        events: what happened after which epoch: a dashed line each, between the first and the last.

    Raises:
        InputError: no accuracy in the table.
    """
    from matplotlib.ticker import MaxNLocator

    top, split = _accuracies(metrics, ""), "test accuracy (%)"
    if not top:
        top, split = _accuracies(metrics, f"_{HELD_OUT}"), "accuracy on held-out\nnoisy labels (%)"
    if not top:
        raise InputError("metrics.csv has no accuracy_first, accuracy_second or accuracy_ensemble")
    panels = [(split, top)]
    if "detection_f1" in metrics:
        panels.append(("detection F1", [(metrics["detection_f1"], "F1", VERMILION, 1.8)]))
    figure = new_figure(height=3.4 if len(panels) == 1 else 4.8)
    rows = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[3, 2][: len(panels)]
    )[:, 0]
    epochs = epochs_of(metrics)
    for axes, (ylabel, curves) in zip(rows, panels, strict=True):
        plain(axes, "", ylabel)
        _draw(axes, epochs, curves)
        for name, epoch in (events or {}).items():
            if 0 < epoch < epochs.max():
                mark(axes, epoch + 0.5, name if axes is rows[0] else "")
    rows[-1].set_xlabel("epoch")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    return figure


def _accuracies(metrics: Metrics, suffix: str) -> list[Curve]:
    """Accuracy of each output in percent, of the split whose columns end so."""
    return [
        (100 * metrics[f"accuracy_{name}{suffix}"], name, colour, width)
        for name, (colour, width) in ACCURACIES.items()
        if f"accuracy_{name}{suffix}" in metrics
    ]


def confidence_histogram(samples: pa.Table) -> Figure:
    """How many samples have which confidence in their given label (PMNAR, Figure 2).

    Clean and mislabelled apart where the true labels are known; counts on a logarithmic axis.
    """
    confidence = samples["confidence"].to_numpy()
    groups = {"all samples": (np.ones(len(confidence), bool), GREY)}
    if "true_label" in samples.column_names:
        wrong = samples["true_label"].to_numpy() != samples["given_label"].to_numpy()
        groups = {"given label right": (~wrong, BLUE), "given label wrong": (wrong, VERMILION)}
    figure = new_figure()
    axes = figure.subplots()
    plain(axes, "confidence in the given label", "samples (log scale)")
    edges = np.linspace(0, 1, 41).tolist()
    for name, (chosen, colour) in groups.items():
        label = f"{name} ({int(chosen.sum()):,})"
        axes.hist(confidence[chosen], edges, histtype="stepfilled", fc=f"{colour}48", label=label)
        axes.hist(confidence[chosen], edges, histtype="step", color=colour, linewidth=1.3)
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(bottom=0.7)
    axes.set_xlim(0, 1)
    threshold = threshold_of(samples)
    mark(axes, threshold, f"called wrong below {threshold:g}")
    figure.legend(frameon=False, loc="outside upper left", ncols=2, fontsize=9)
    return figure


def detection_curve(samples: pa.Table) -> Figure:
    """F1, precision and recall over the threshold (PMNAR, Figure 3).

    Raises:
        InputError: the true labels are unknown.
    """
    if "true_label" not in samples.column_names:
        raise InputError("the detection curve needs true labels, and this data set has none")
    kept = ("confidence", "given_label", "true_label")
    confidence, given, true = (torch.tensor(samples[name].to_numpy()) for name in kept)
    thresholds, precision, recall, f1 = f1_curve(confidence, given, true)
    values = {"f1": f1, "precision": precision, "recall": recall}
    threshold = threshold_of(samples)
    reached = detection_metrics(confidence, given, true, threshold)
    figure = new_figure()
    axes = figure.subplots()
    plain(axes, "threshold on the confidence in the given label", "share")
    axes.set_ylim(0, 1.02)
    curves: list[Curve] = [
        (values[key].numpy(), label, colour, width)
        for key, (label, colour, width) in DETECTIONS.items()
        if not values[key].isnan().all()
    ]
    _draw(axes, thresholds.numpy(), curves)
    axes.set_xlim(0, 1)
    name = f"threshold {threshold:g}" + (f": F1 {reached['f1']:.3f}" if "f1" in reached else "")
    mark(axes, threshold, name)
    return figure


def _draw(axes: Axes, x: NDArray[np.float64], curves: list[Curve]) -> None:
    """Lines with their names at the right end; dots where a line would be too short to see."""
    marker = "o" if len(x) < 3 else None
    for values, _, colour, width in curves:
        axes.plot(x, values, color=colour, linewidth=width, marker=marker, markersize=4)
    axes.set_ylim(axes.get_ylim())
    ends = [(values[~np.isnan(values)][-1], name, colour) for values, name, colour, _ in curves]
    label_ends(axes, ends)
