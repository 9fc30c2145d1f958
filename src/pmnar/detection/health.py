"""Whether what a run says of its labels may be believed, and acted on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pmnar.detection.classes import ClassCounts

OVER_CHANCE = 0.1
"""So much more than 1/K a network gives its likeliest class on average, if it has learnt some."""


def health_of(
    counts: ClassCounts,
    class_names: Sequence[str],
    given: Tensor,
    suggested: Tensor,
    mislabelled: Tensor,
    certainty: Tensor,
    true: Tensor | None,
) -> dict[str, Any]:
    """The health of a run, by what its final networks say: the entries that `pmnar.health` reads.

    Args:
        counts: of what is predicted of each class.
        class_names: K names.
        given: given labels, int64 `[N]`.
        suggested: what would take their place, int64 `[N]`.
        mislabelled: where it would, bool `[N]`.
        certainty: the probability of what would take their place, `[N]`.
        true: true labels, int64 `[N]`, where they are known.
    """
    found: dict[str, Any] = {"lost_classes": [class_names[k] for k in counts.lost]}
    if float(certainty.mean()) < 1 / len(class_names) + OVER_CHANCE:
        found["learnt_little"] = float(certainty.mean())
    if true is not None:
        corrected = torch.where(mislabelled, suggested, given)
        found["wrong_labels"] = {
            "given": int((given != true).sum()),
            "as_suggested": int((corrected != true).sum()),
        }
    return found
