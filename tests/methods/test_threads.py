"""A thread for each of two networks on a CPU."""

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import (
    ABLATIONS,
    TinyNet,
    fit,
    make_data,
    make_method,
    same_state,
    state,
)

from pmnar.methods import PMNAR
from pmnar.methods.networks import Networks
from pmnar.networks import SmallCNN
from pmnar.runtime import facts

TWO: dict[str, Any] = ABLATIONS["pmnar"]


def trained(monkeypatch: pytest.MonkeyPatch, cores: int, **settings: Any) -> dict[str, Tensor]:
    monkeypatch.setattr(facts, "THREADS", cores)
    data = make_data()
    method = make_method(data, **{**TWO, **settings})
    fit(method, data, epochs=3)
    assert method.networks.two_threads == (cores > 1)
    return state(method)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"beta": 0.0},
        {"detach_target": False},
        {"loss": "nl"},
        {"fused_forward": True},
        {"network": partial(SmallCNN, 10, width=4, dropout=0.5)},
    ],
    ids=str,
)
def test_two_threads_give_what_one_gives_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    assert same_state(trained(monkeypatch, 2, **settings), trained(monkeypatch, 1, **settings))


def threads_of_the_networks(method: PMNAR) -> set[str]:
    """The names of the threads that the networks' forwards ran in."""
    seen: set[str] = set()
    for network in method.networks.values():
        network.register_forward_hook(lambda *_: seen.add(threading.current_thread().name))
    return seen


@pytest.mark.parametrize(
    ("settings", "threads"), [({}, 2), ({"precision": "bf16-mixed"}, 1)], ids=["32", "bf16"]
)
def test_the_second_network_has_a_thread_of_its_own(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], threads: int
) -> None:
    """But for autocast, which the second thread would not know of."""
    monkeypatch.setattr(facts, "THREADS", 2)
    data = make_data()
    method = make_method(data, **TWO)
    seen = threads_of_the_networks(method)
    fit(method, data, **settings)
    assert len(seen) == threads


class Drawing(TinyNet):
    """Draws from one of the generators that networks draw from."""

    def __init__(self, draw: Callable[[], object]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        self.draw()
        return super().forward(x)


@pytest.mark.parametrize(
    ("draw", "in_turns"),
    [
        (lambda: torch.rand(()), True),
        (random.random, True),
        (lambda: np.random.rand(), True),  # noqa: NPY002
        (lambda: None, False),
    ],
)
def test_networks_that_draw_train_in_turns(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[[], object], in_turns: bool
) -> None:
    monkeypatch.setattr(facts, "THREADS", 2)
    data = make_data()
    method = make_method(data, network=partial(Drawing, draw), **TWO)
    seen = threads_of_the_networks(method)
    fit(method, data)
    assert method.networks.in_threads != in_turns
    assert len(seen) == 2  # tests and the ordered pass draw nothing that lasts


def test_the_second_thread_has_the_firsts_number_of_threads() -> None:
    """OpenMP's is a thread's own, and would stay what it first was."""
    networks = Networks({"first": nn.Identity(), "second": nn.Identity()})
    networks.two_threads = True
    before = torch.get_num_threads()
    try:
        for count in (2, 1, 2):
            torch.set_num_threads(count)
            found = networks.each(lambda _: torch.get_num_threads(), in_threads=True)
            assert found == {"first": count, "second": count}
    finally:
        torch.set_num_threads(before)


def test_a_forked_process_has_a_second_thread_of_its_own() -> None:
    networks = Networks({"first": nn.Identity(), "second": nn.Identity()})
    networks.two_threads = True

    assert set(_process_of_each(networks).values()) == {os.getpid()}
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as children:
        found = children.submit(_process_of_each, networks).result(timeout=60)
    assert len(set(found.values())) == 1


def _process_of_each(networks: Networks) -> dict[str, int]:
    return networks.each(lambda _: os.getpid(), in_threads=True)


def test_an_error_in_the_second_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "THREADS", 2)
    data = make_data()
    method = make_method(data, **TWO)
    calls = []

    def fail_in_a_thread(*_: Any) -> None:
        calls.append(threading.current_thread())
        if calls[-1] is not threading.main_thread():
            raise ArithmeticError("second")

    method.networks["second"].register_forward_hook(fail_in_a_thread)
    with pytest.raises(ArithmeticError, match="second"):
        fit(method, data)
    assert threading.main_thread() in calls  # the first step, which learns whether networks draw
