"""What the console says of a run's result."""

from typing import Any

import pytest

from pmnar.tasks.console import describe_lost, describe_suspects

SUMMARY: dict[str, Any] = {"samples": 1797, "detection": {"estimated_noise_rate": 738 / 1797}}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            {"suspects": 727, "unsure": 11},
            "727 of 1,797 training labels look wrong (40.5 %), of 11 more the network is unsure",
        ),
        ({"suspects": 727, "unsure": 0}, "727 of 1,797 training labels look wrong (40.5 %)"),
        ({}, "738 of 1,797 training labels look wrong (41.1 %)"),  # a run of before
    ],
)
def test_suspects_are_counted_as_samples_parquet_has_them(
    counts: dict[str, int], expected: str
) -> None:
    assert describe_suspects(SUMMARY | counts) == f"{expected}; samples.parquet names them"


def test_lost_classes_are_named() -> None:
    expected = "hardly predicts 2 of 10 classes: cat, dog (see classes.csv)"
    assert describe_lost(["cat", "dog"], 10) == expected
    many = describe_lost([str(k) for k in range(900)], 1000)
    assert (
        many == "hardly predicts 900 of 1,000 classes: 0, 1, 2, 3, 4, 5, 6, 7, … (see classes.csv)"
    )
