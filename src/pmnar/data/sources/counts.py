"""The classes of a data set, for a line."""

from collections.abc import Sequence

import numpy as np

from pmnar.data.sources.listing import IntArray

SHOWN = 8


def describe_classes(names: Sequence[str], labels: IntArray, noun: str = "images") -> str:
    """How many classes there are, and the first few with their counts.

    Args:
        names: K names.
        labels: `[N]`, in `[0, K)`.
        noun: what to call the samples.
    """
    counts = np.bincount(labels, minlength=len(names))
    shown = [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)][:SHOWN]
    text = f"{len(names):,}: {', '.join(shown)}"
    if len(names) <= SHOWN:
        return text
    return f"{text}, … ({counts.min():,} to {counts.max():,} {noun} each)"
