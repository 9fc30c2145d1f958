"""PreAct ResNet-18: its size, its cost, and its blocks."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pmnar.errors import InputError
from pmnar.networks import PreActResNet18
from pmnar.networks.preact_resnet import PreActBlock


def test_ten_classes_take_11_17_million_parameters() -> None:
    with torch.device("meta"):
        network = PreActResNet18(10)
    assert sum(p.numel() for p in network.parameters()) == 11_171_274


def test_an_image_of_32_pixels_takes_1_111_gflop() -> None:
    """A multiplication and its addition count as two."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        PreActResNet18(10)(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 1e9 == pytest.approx(1.111, abs=5e-4)


@pytest.mark.parametrize("side", [8, 9, 28, 32, 64, 84])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_from_8_pixels_gives_logits(side: int, channels: int) -> None:
    network = PreActResNet18(7, channels, width=8)
    logits = network(torch.rand(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (16, 2), (16, 1)])
def test_the_shortcut_leaves_from_the_activated_tensor(outputs: int, stride: int) -> None:
    """Also in a block whose shortcut is the identity."""
    torch.manual_seed(0)
    block = PreActBlock(8, outputs, stride)
    x = torch.randn(4, 8, 6, 6)
    activated = F.relu(F.batch_norm(x, None, None, training=True))
    hidden = F.conv2d(activated, block.conv1.weight, stride=stride, padding=1)
    hidden = F.relu(F.batch_norm(hidden, None, None, training=True))
    residual = F.conv2d(hidden, block.conv2.weight, padding=1)
    if isinstance(block.shortcut, torch.nn.Conv2d):
        shortcut = F.conv2d(activated, block.shortcut.weight, stride=stride)
    else:
        shortcut = activated
    torch.testing.assert_close(block(x), residual + shortcut)


@pytest.mark.parametrize(("outputs", "stride"), [(8, 1), (16, 2), (16, 1)])
def test_a_raw_shortcut_carries_the_input_where_it_is_the_identity(
    outputs: int, stride: int
) -> None:
    torch.manual_seed(0)
    block, x = PreActBlock(8, outputs, stride, raw=True), torch.randn(4, 8, 6, 6)
    other = PreActBlock(8, outputs, stride)
    other.load_state_dict(block.state_dict())
    if isinstance(block.shortcut, torch.nn.Conv2d):
        assert torch.equal(block(x), other(x))
    else:
        activated = F.relu(F.batch_norm(x, None, None, training=True))
        torch.testing.assert_close(block(x) - other(x), x - activated)


def test_the_raw_form_s_stem_is_a_convolution_alone() -> None:
    """And its parameters those that are published of it: 128 fewer."""
    with torch.device("meta"):
        network = PreActResNet18(10, shortcut="raw")
    assert sum(p.numel() for p in network.parameters()) == 11_171_146
    assert [type(layer) for layer in network.stem] == [torch.nn.Conv2d]


def test_a_shortcut_of_neither_form_is_told() -> None:
    with pytest.raises(InputError, match=r"network\.shortcut must be one of activated, raw, got x"):
        PreActResNet18(10, shortcut="x")


def test_stages_double_the_channels_and_halve_the_size() -> None:
    network = PreActResNet18(10, width=8)
    x = network.stem(torch.rand(1, 3, 32, 32))
    shapes = []
    for block in network.blocks:
        x = block(x)
        shapes.append(tuple(x.shape[1:3]))
    assert shapes[::2] == shapes[1::2] == [(8, 32), (16, 16), (32, 8), (64, 4)]


@pytest.mark.parametrize("shortcut", ["activated", "raw"])
def test_every_parameter_is_trained(shortcut: str) -> None:
    network = PreActResNet18(10, width=8, shortcut=shortcut)
    network(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_a_stem_stride_of_2_quarters_the_cost() -> None:
    def flops(stride: int) -> int:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            network = PreActResNet18(10, stem_stride=stride)
            network.blocks(network.stem(torch.zeros(1, 3, 32, 32)))
        return int(counter.get_total_flops())

    assert 4 * flops(2) == flops(1)
