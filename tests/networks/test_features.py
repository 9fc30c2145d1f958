"""Networks in two parts."""

from typing import Any

import pytest
import torch
from torch import nn

from pmnar.errors import InputError
from pmnar.networks import (
    CNN9,
    PreActResNet18,
    ResNet34,
    SmallCNN,
    feature_size,
    features_and_logits,
    timm_network,
)

TIMM = ["resnet10t", "mobilenetv3_small_050", "convnext_atto", "test_vit", "swin_s3_tiny_224"]


def check(network: nn.Module, side: int) -> None:
    network.eval()
    x = torch.rand(2, 3, side, side)
    features, logits = features_and_logits(network, x)
    assert features.shape == (2, feature_size(network))
    assert logits.shape == (2, 7)
    assert torch.equal(logits, network(x))


@pytest.mark.parametrize(
    "network",
    [
        SmallCNN(7, 3, dropout=0.5),
        PreActResNet18(7, width=4),
        PreActResNet18(7, width=4, shortcut="raw"),
        ResNet34(7, width=4),
        CNN9(7, width=4),
    ],
)
def test_logits_are_the_head_s_of_the_features(network: nn.Module) -> None:
    check(network, 32 if isinstance(network, CNN9) else 16)
    assert feature_size(network) == network.head.in_features  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TIMM)
def test_a_timm_model_s_too(name: str) -> None:
    pytest.importorskip("timm")
    fixed: dict[str, Any] = {"img_size": 64} if "vit" in name or "swin" in name else {}
    check(timm_network(7, 3, name, **fixed), 64)


def test_inception_resnet_v2_is_of_the_published_size_and_has_both_parts() -> None:
    """Without values: it is large."""
    pytest.importorskip("timm")
    with torch.device("meta"):
        network = timm_network(1000, name="inception_resnet_v2").eval()
        features, logits = features_and_logits(network, torch.zeros(2, 3, 75, 75))
    assert sum(p.numel() for p in network.parameters()) == 55_843_464
    assert (features.shape[1], logits.shape) == (feature_size(network), (2, 1000))


def test_dropped_features_are_dropped_before_the_head() -> None:
    network = SmallCNN(10, dropout=0.5)
    x = torch.rand(3, 1, 8, 8)
    torch.manual_seed(0)
    whole = network(x)
    torch.manual_seed(0)
    features, logits = features_and_logits(network, x)
    assert (features == 0).any()
    assert torch.equal(logits, whole)


def test_a_network_in_one_piece_is_told() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(InputError, match="Linear has no features and head, which this method"):
        features_and_logits(network, torch.rand(1, 3))
    with pytest.raises(InputError, match="Linear has no feature_size"):
        feature_size(network)
