"""Finding mislabelled samples: metrics, the threshold curve and the table of samples."""

from pmnar.detection.classes import ClassCounts, class_counts, describe_lost
from pmnar.detection.health import health_of
from pmnar.detection.metrics import ClassTable, detection_metrics, f1_curve, is_called, per_class
from pmnar.detection.samples import (
    most_suspicious,
    read_samples,
    samples_table,
    threshold_of,
    write_samples,
    write_suspects,
)
from pmnar.detection.suspects import Suspects, find_suspects

__all__ = [
    "ClassCounts",
    "ClassTable",
    "Suspects",
    "class_counts",
    "describe_lost",
    "detection_metrics",
    "f1_curve",
    "find_suspects",
    "health_of",
    "is_called",
    "most_suspicious",
    "per_class",
    "read_samples",
    "samples_table",
    "threshold_of",
    "write_samples",
    "write_suspects",
]
