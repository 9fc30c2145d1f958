"""What the console says of a run's result."""

from typing import Any

import pytest

from pmnar.tasks.console import describe_health, describe_lost, describe_suspects

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


def test_a_healthy_result_needs_no_word() -> None:
    wrong = {"given": 500, "as_suggested": 500}
    assert not describe_health(SUMMARY)
    assert not describe_health(SUMMARY | {"lost_classes": [], "wrong_labels": wrong})


def test_what_is_wrong_with_a_result_is_told_and_what_to_try() -> None:
    bad = SUMMARY | {
        "lost_classes": ["cat"],
        "wrong_labels": {"given": 1502, "as_suggested": 1731},
        "class_names": ["cat", "dog"],
        "try": "more epochs",
    }
    assert describe_health(bad) == [
        "hardly predicts 1 of 2 classes: cat (see classes.csv)",
        "its suggestions would make the labels worse: 1,502 are wrong, 1,731 would be",
        "try more epochs",
    ]
    assert describe_suspects(bad).endswith("look wrong (41.1 %), not to be acted on")
