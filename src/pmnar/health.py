"""Whether a run's result may be acted on, by its summary; apart from what is slow to load."""

from collections.abc import Mapping
from typing import Any

Health = Mapping[str, Any]
"""Entries of `summary.json`. `lost_classes`: names of classes that are hardly predicted any more.
`learnt_little`, where the network is hardly surer of any class than chance: the mean probability
of its likeliest class. `wrong_labels`, where the true ones are known: how many there are as
`given`, and how many there would be `as_suggested`."""


def makes_labels_worse(health: Health) -> bool:
    """Whether more labels would be wrong if every suggestion were taken."""
    wrong = health.get("wrong_labels")
    return wrong is not None and wrong["as_suggested"] > wrong["given"]


def is_healthy(health: Health) -> bool:
    """Whether all classes are predicted, by a network that has learnt some.

    And suggestions make no labels worse, as far as that is known.
    """
    spoken = not health.get("lost_classes") and "learnt_little" not in health
    return spoken and not makes_labels_worse(health)
