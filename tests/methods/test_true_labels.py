"""Training never sees a true label."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from toy import ABLATIONS, FewDigits, fit, make_data, make_method, same_state, state

from pmnar.data import NoisyDataModule
from pmnar.noise.class_conditional import Clean


def trained_state(data: NoisyDataModule, name: str) -> dict[str, Tensor]:
    method = make_method(data, **ABLATIONS[name])
    fit(method, data, epochs=3)
    return state(method)


def tensors_within(thing: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor that can be reached from `thing`, the Trainer and what it holds left out."""
    if id(thing) in seen or isinstance(thing, L.Trainer | type | str | int | float):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield thing
    if isinstance(thing, np.ndarray):
        yield torch.from_numpy(thing)
    parts: list[Any] = []
    if isinstance(thing, dict):
        parts += thing.values()
    elif isinstance(thing, list | tuple | set):
        parts += thing
    parts += getattr(thing, "__dict__", {}).values()
    parts += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    for part in parts:
        yield from tensors_within(part, seen)


@pytest.mark.parametrize("name", ABLATIONS)
def test_other_true_labels_under_the_same_given_ones_train_the_same(name: str) -> None:
    data, other = make_data(), make_data()
    assert other.labels.true is not None
    garbage = np.full_like(other.labels.true, 7)
    other.labels = replace(other.labels, true=garbage)
    assert same_state(trained_state(data, name), trained_state(other, name))


@pytest.mark.parametrize("name", ["ce", "pmnar"])
def test_unknown_true_labels_train_the_same(name: str) -> None:
    data = make_data()
    given = data.splits["train"].labels
    blind = make_data(source=FewDigits(labels=given, labels_are_true=False), noise=Clean())
    assert blind.labels.true is None
    assert same_state(trained_state(data, name), trained_state(blind, name))


def test_no_true_label_can_be_reached_from_the_method_or_its_batches() -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS["pmnar"])
    fit(method, data, epochs=2)
    assert data.labels.true is not None
    true, given = torch.from_numpy(data.labels.true), torch.from_numpy(data.labels.given)

    found = list(tensors_within(method, set()))
    assert any(torch.equal(tensor, given) for tensor in found), "the search finds labels"
    assert not any(torch.equal(tensor.double(), true.double()) for tensor in found)

    assert len(method.batches) == 6
    for batch in method.batches:
        of_batch = true[batch.indices]
        assert torch.equal(batch.labels, given[batch.indices])
        assert not any(torch.equal(t, of_batch) for t in tensors_within(batch, set()))
