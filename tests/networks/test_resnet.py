"""ResNet-34 with a 3×3 stem: its size, its cost, and its blocks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pmnar.networks import ResNet34
from pmnar.networks.resnet import BasicBlock


@pytest.mark.parametrize(("classes", "parameters"), [(10, 21_282_122), (100, 21_328_292)])
def test_it_has_the_parameters_that_are_published(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        network = ResNet34(classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_an_image_of_32_pixels_takes_1_16_billion_multiplications() -> None:
    """As is published; a multiplication and its addition count as two."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ResNet34(10)(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.16, abs=5e-3)


@pytest.mark.parametrize("side", [8, 9, 28, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_from_8_pixels_gives_logits(side: int, channels: int) -> None:
    logits = ResNet34(7, channels, width=8)(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (16, 2), (16, 1)])
def test_a_block_is_the_paper_s(outputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block = BasicBlock(8, outputs, stride).double()
    x = torch.randn(4, 8, 6, 6, dtype=torch.float64)

    def normalised(maps: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(maps, None, None, training=True)

    first, second = (m for m in block.residual if isinstance(m, nn.Conv2d))
    hidden = F.relu(normalised(F.conv2d(x, first.weight, stride=stride, padding=1)))
    residual, shortcut = normalised(F.conv2d(hidden, second.weight, padding=1)), x
    if isinstance(block.shortcut, nn.Sequential):
        weight = block.shortcut[0].weight
        assert isinstance(weight, torch.Tensor)
        shortcut = normalised(F.conv2d(x, weight, stride=stride))
    torch.testing.assert_close(block(x), F.relu(residual + shortcut))


def test_stages_of_3_4_6_and_3_blocks_double_the_channels_and_halve_the_size() -> None:
    network = ResNet34(10, width=8)
    x = network.stem(torch.rand(1, 3, 32, 32))
    shapes = []
    for block in network.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:3]))
    assert shapes == [(8, 32)] * 3 + [(16, 16)] * 4 + [(32, 8)] * 6 + [(64, 4)] * 3


def test_every_parameter_is_trained() -> None:
    network = ResNet34(10, width=8)
    network(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
