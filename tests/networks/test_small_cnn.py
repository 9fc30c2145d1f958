"""The small CNN."""

import pytest
import torch

from pmnar.networks import SmallCNN


@pytest.mark.parametrize("side", [8, 15, 28])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_give_logits(side: int, channels: int) -> None:
    logits = SmallCNN(5, channels, width=8)(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_stages_double_the_channels() -> None:
    network = SmallCNN(10, width=8)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [8, 8, 16, 16, 32, 32]


def test_every_parameter_is_trained() -> None:
    network = SmallCNN(10, width=8)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_dropout_acts_in_training_only() -> None:
    network, images = SmallCNN(10, width=8, dropout=0.5), torch.rand(2, 1, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_the_linear_layer_sees_the_mean_of_the_last_maps() -> None:
    network, images = SmallCNN(10, width=8).eval(), torch.rand(3, 1, 8, 8)
    maps = network.features[:-2](images)
    assert maps.shape == (3, 32, 2, 2)
    torch.testing.assert_close(network(images), network.head(maps.mean((2, 3))))
