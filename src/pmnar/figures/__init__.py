"""Figures and the report of a run, from the tables in its folder alone."""

from pmnar.figures.curves import accuracy_curve, confidence_histogram, detection_curve
from pmnar.figures.grid import worst_samples
from pmnar.figures.report import write_report
from pmnar.figures.tables import read_metrics, read_summary
from pmnar.figures.weights import weights_per_class
from pmnar.figures.write import write_figures

__all__ = [
    "accuracy_curve",
    "confidence_histogram",
    "detection_curve",
    "read_metrics",
    "read_summary",
    "weights_per_class",
    "worst_samples",
    "write_figures",
    "write_report",
]
