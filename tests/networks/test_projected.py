"""A projection beside a network's head."""

import pytest
import torch
from torch import nn

from pmnar.errors import InputError
from pmnar.networks import (
    PreActResNet18,
    Projected,
    SmallCNN,
    feature_size,
    features_and_logits,
    timm_network,
)
from pmnar.networks.projected import ProjectedNetwork


def made(network: nn.Module, size: int = 6) -> ProjectedNetwork:
    found = Projected(size, norm=True)(network)
    assert isinstance(found, ProjectedNetwork)
    return found


@pytest.mark.parametrize("kind", ["small_cnn", "preact", "timm"])
def test_it_leaves_the_network_as_it_is(kind: str) -> None:
    if kind == "timm":
        pytest.importorskip("timm")
        network = timm_network(7, 3, "resnet10t")
    else:
        network = SmallCNN(7, 3) if kind == "small_cnn" else PreActResNet18(7, width=4)
    wrapped, x = made(network).eval(), torch.rand(3, 3, 32, 32)
    features, logits = features_and_logits(wrapped, x)
    assert torch.equal(logits, network(x))
    assert torch.equal(wrapped(x), logits)
    assert feature_size(wrapped) == feature_size(network) == features.shape[1]
    assert torch.equal(wrapped.projected(x), wrapped.projection(features))
    assert wrapped.projected(x).shape == (3, 6)


def test_what_is_on_the_sphere_is_normalised_by_the_batch_and_to_length_1() -> None:
    wrapped = made(SmallCNN(7, 1).double())
    rows = torch.randn(9, 6, dtype=torch.float64)
    found = wrapped.on_sphere(rows)
    by_batch = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(found, by_batch / by_batch.norm(dim=-1, keepdim=True))


def test_where_it_idles_the_projection_s_gradient_is_0() -> None:
    wrapped = made(SmallCNN(7, 1))
    wrapped.idle().backward()  # type: ignore[no-untyped-call]
    own = {*wrapped.projection.parameters(), *wrapped.norm.parameters()}
    for parameter in wrapped.parameters():
        if parameter in own:
            assert parameter.grad is not None
            assert not parameter.grad.any()
        else:
            assert parameter.grad is None


def test_a_network_that_does_not_tell_its_features_is_told() -> None:
    with pytest.raises(InputError, match="Linear has no feature_size"):
        made(nn.Linear(3, 3))
