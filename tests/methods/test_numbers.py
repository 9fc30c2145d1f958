"""Every number in conf/method is held to its kind and range, in one line that names its key."""

from typing import Any

import pytest
import torch
from every import METHODS, build, settings_of
from toy import make_data

from pmnar.errors import InputError
from pmnar.methods import NoisyLabelMethod

DATA = make_data()
OR_NULL = {"warmup_batch_size": 2, "neighbours": 3}
"""Whole numbers that are null in some methods unless they are set, and one that is legal."""
MAY_BE_BELOW_0 = {"positive_order"}
KINDS: dict[str, type[NoisyLabelMethod]] = {name: type(build(name, DATA)) for name in METHODS}


def may_be_null(name: str, key: str) -> bool:
    return key in OR_NULL and settings_of(name)[key] is None


def once(kind: Any) -> list[tuple[str, str]]:
    """A setting of this kind, for each class of methods once."""
    found: dict[tuple[type, str], tuple[str, str]] = {}
    for name in METHODS:
        for key, value in settings_of(name).items():
            if type(value) is kind or (kind is int and may_be_null(name, key)):
                found.setdefault((KINDS[name], key), (name, key))
    return sorted(found.values())


def refused(name: str, key: str, value: Any) -> None:
    with pytest.raises(InputError) as told:
        build(name, DATA, **{key: value})
    line = str(told.value)
    assert line.startswith(f"method.{key} must be "), line
    assert line.endswith(f"got {value}"), line
    assert "\n" not in line


@pytest.mark.parametrize(("name", "key"), once(int))
def test_a_whole_number_is_asked_for(name: str, key: str) -> None:
    given = settings_of(name)[key]
    legal = OR_NULL[key] if given is None else given
    for value in (legal + 0.5, "many", -2 if key in MAY_BE_BELOW_0 else -1):
        refused(name, key, value)
    if not may_be_null(name, key):
        refused(name, key, None)


@pytest.mark.parametrize(("name", "key"), once(float))
def test_a_number_is_asked_for(name: str, key: str) -> None:
    refused(name, key, "many")
    refused(name, key, float("nan"))


@pytest.mark.parametrize("milestones", [192, [192.5], ["many"], [0], "many"])
@pytest.mark.parametrize("name", [n for n in METHODS if "soft_milestones" in settings_of(n)])
def test_milestones_are_whole_numbers(name: str, milestones: Any) -> None:
    with pytest.raises(InputError, match=r"^method.soft_milestones must be .*, got "):
        build(name, DATA, soft_milestones=milestones)


def test_numbers_are_found_and_taken_as_they_are() -> None:
    """The yaml's own, which what refuses everything would refuse too."""
    assert {("moit_plus", "contrastive_epochs"), ("jnpl", "positive_order")} <= set(once(int))
    assert ("co_teaching", "forget_rate") in once(float)
    for name in METHODS:
        whole: dict[str, Any] = {k: v for k, v in settings_of(name).items() if type(v) is int}
        method = build(name, DATA, **whole)
        assert torch.equal(method.labels, DATA.splits["train"].labels)
