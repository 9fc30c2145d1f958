import pytest
import torch

from pmnar.networks import MLP, Linear, feature_size, features_and_logits


def test_linear_is_a_product() -> None:
    network, x = Linear(3, 5), torch.randn(4, 5, 1, 1)
    expected = x[:, :, 0, 0] @ network.head.weight.T + network.head.bias
    features, logits = features_and_logits(network, x)
    assert torch.allclose(logits, expected)
    assert torch.equal(features, x[:, :, 0, 0])
    assert torch.equal(network(x), logits)
    assert feature_size(network) == 5


@pytest.mark.parametrize("depth", [1, 3])
def test_mlp_has_so_many_hidden_layers(depth: int) -> None:
    network, x = MLP(3, 5, width=7, depth=depth).eval(), torch.randn(4, 5, 1, 1)
    shapes = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
    assert shapes == [(7, 5), *[(7, 7)] * (depth - 1), (3, 7)]
    features, logits = features_and_logits(network, x)
    assert features.shape == (4, feature_size(network))
    assert torch.equal(network.head(features), logits)
    assert torch.equal(network(x), logits)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        MLP(3, 5, depth=0)
