"""Models of timm."""

import sys

import pytest
import torch

from pmnar.errors import InputError
from pmnar.networks import timm_network


def test_a_model_gets_its_classes_and_channels() -> None:
    pytest.importorskip("timm")
    network = timm_network(7, 1, "resnet10t").eval()
    assert network(torch.rand(1, 1, 32, 32)).shape == (1, 7)


def test_a_wrong_name_is_told_with_near_ones() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"network\.name: .* no model resnet81; .*resnet18"):
        timm_network(10, name="resnet81")


def test_a_name_like_no_other_is_told_too() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"no model @; near it: \w+"):
        timm_network(10, name="@")


def test_without_timm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'pmnar\[timm\]'"):
        timm_network(10)
