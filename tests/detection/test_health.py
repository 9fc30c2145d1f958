"""Whether a result may be acted on."""

import pytest
import torch

from pmnar.detection import class_counts, find_suspects, health_of
from pmnar.health import is_healthy, makes_labels_worse

TRUE = torch.tensor([0, 0, 1, 1, 2, 2])
GIVEN = torch.tensor([0, 1, 1, 1, 2, 0])  # the second and the last are wrong
NAMES = ("a", "b", "c")


def health(
    suggested: list[int], confidence: list[float], known: bool = True, certainty: float = 0.9
) -> dict[str, object]:
    said, sure = torch.tensor(suggested), torch.tensor(confidence)
    suspects = find_suspects(sure, GIVEN, said)
    counts = class_counts(said, GIVEN, 3)
    true = TRUE if known else None
    tops = torch.full((6,), certainty)
    return health_of(counts, NAMES, GIVEN, said, suspects.mislabelled, tops, true)


def test_suggestions_that_mend_labels_are_healthy() -> None:
    found = health([0, 0, 1, 1, 2, 2], [0.9, 0.1, 0.9, 0.9, 0.9, 0.1])
    assert found == {"lost_classes": [], "wrong_labels": {"given": 2, "as_suggested": 0}}
    assert is_healthy(found)


def test_only_what_is_called_wrong_would_be_changed() -> None:
    """Where the network is sure of the given label, its own suggestion changes nothing."""
    found = health([0, 0, 1, 1, 2, 2], [0.9, 0.6, 0.9, 0.9, 0.9, 0.1])
    assert found["wrong_labels"] == {"given": 2, "as_suggested": 1}


def test_suggestions_that_spoil_labels_are_not() -> None:
    found = health([1, 1, 1, 0, 1, 2], [0.1, 0.9, 0.9, 0.2, 0.3, 0.1])
    assert found["wrong_labels"] == {"given": 2, "as_suggested": 4}
    assert makes_labels_worse(found)
    assert not is_healthy(found)


def test_a_class_that_is_not_predicted_is_lost_whatever_is_known() -> None:
    found = health([0, 0, 1, 1, 1, 0], [0.9] * 6, known=False)
    assert found == {"lost_classes": ["c"]}
    assert not makes_labels_worse(found)
    assert not is_healthy(found)


def test_a_network_at_chance_judges_nothing() -> None:
    """Of three classes: .43 of the likeliest is a tenth over chance."""
    found = health([0, 0, 1, 1, 2, 2], [0.4] * 6, certainty=0.42)
    assert found["learnt_little"] == pytest.approx(0.42)
    assert not is_healthy(found)
    assert is_healthy(health([0, 0, 1, 1, 2, 2], [0.4] * 6, certainty=0.44))


def test_a_summary_of_before_says_nothing_and_is_taken_for_healthy() -> None:
    assert is_healthy({})
