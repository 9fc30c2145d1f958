"""Co-teaching's CNN."""

import pytest
import torch
from torch import nn

from pmnar.errors import InputError
from pmnar.networks import CNN9


def test_ten_classes_take_4_43_million_parameters() -> None:
    """Of convolutions with biases (their weights 4,427,136), BN, and the linear layer."""
    with torch.device("meta"):
        network = CNN9(10)
    weights = [m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert (len(weights), sum(weights)) == (9, 4_427_136)
    assert sum(p.numel() for p in network.parameters()) == 4_434_570


@pytest.mark.parametrize(("side", "last"), [(28, 1), (32, 2), (64, 10)])
def test_maps_are_as_wide_as_the_paper_has_them(side: int, last: int) -> None:
    network = CNN9(10, width=4)
    x, shapes = torch.rand(2, 3, side, side), []
    for layer in network.layers[:-1]:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            shapes.append((x.shape[1], x.shape[3]))
    half, quarter = side // 2, side // 4
    assert shapes == [
        *[(4, side)] * 3,
        (4, half),
        *[(8, half)] * 3,
        (8, quarter),
        *[(16, quarter - 2), (8, quarter - 4), (4, last)],
    ]


def test_activations_leak_by_a_hundredth_and_whole_maps_are_dropped() -> None:
    network = CNN9(10, width=4, dropout=0.5)
    slopes = [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.01] * 9
    place = next(at for at, m in enumerate(network.layers) if isinstance(m, nn.Dropout2d))
    torch.manual_seed(0)
    dropped = (network.layers[: place + 1](torch.rand(3, 3, 32, 32)) == 0).flatten(2)
    assert torch.equal(dropped.any(-1), dropped.all(-1))
    assert dropped.any()


def test_dropout_acts_in_training_only() -> None:
    network, images = CNN9(10, width=4, dropout=0.5), torch.rand(2, 3, 32, 32)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_every_parameter_is_trained_but_biases_that_bn_takes_away() -> None:
    network = CNN9(10, 1, width=8, dropout=0.0)
    network(torch.rand(4, 1, 28, 28)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(m.weight.grad.any() for m in network.modules() if isinstance(m, nn.Conv2d))  # type: ignore[union-attr]


def test_images_that_are_too_small_are_told() -> None:
    with pytest.raises(InputError, match="network=cnn9 takes images from 28 pixels up"):
        CNN9(10, 1, width=8)(torch.rand(2, 1, 27, 28))
