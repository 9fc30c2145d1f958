"""Names that several layers know, apart from what is slow to load."""

from collections.abc import Sequence

TRAIN = "train"
"""The split that is trained on, under its given labels."""
CLEAN = "clean"
"""What is held out of the training set with its true labels, for methods that need such."""
HELD_OUT = "noisy_validation"
"""The evaluation split that is held out of the training set, under its given labels."""


def suffixes(test_names: Sequence[str]) -> dict[str, str]:
    """How the numbers of each evaluation split end: nothing for the first test split.

    What was held out of the training set has a suffix also where there is no test split.
    """
    first = [name for name in test_names if name != HELD_OUT][:1]
    return {name: "" if name in first else f"_{name}" for name in test_names}
