"""Running statistics of BatchNorm, kept from some forwards."""

import torch
from torch import nn

from pmnar.networks.statistics import untracked


def test_statistics_stay_and_the_batch_is_normalised_by_its_own() -> None:
    norm = nn.BatchNorm1d(4)
    network = nn.Sequential(nn.Linear(3, 4), norm)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with untracked(network):
        found = network(x)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(found, network(x))
    assert norm.running_mean is not None
    assert not torch.equal(before["1.running_mean"], norm.running_mean)


def test_a_layer_without_running_statistics_stays_without() -> None:
    layer = nn.BatchNorm1d(2, track_running_stats=False)
    with untracked(layer):
        pass
    assert not layer.track_running_stats
