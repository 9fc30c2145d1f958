"""The small network that scores samples: its layers, and its optimiser, are PyTorch's."""

import torch
from torch import Tensor, nn

from pmnar.methods.scorer import Scorer

INPUTS, HIDDEN = 2, 7
CPU = torch.device("cpu")


def made(seed: int = 1) -> Scorer:
    return Scorer(INPUTS, HIDDEN, torch.tanh, seed, CPU).double()


def layers_of(parameters: Tensor) -> nn.Module:
    layers = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)).double()
    with torch.no_grad():
        nn.utils.vector_to_parameters(parameters, layers.parameters())
    return layers


def test_it_is_a_layer_of_hidden_units() -> None:
    scorer, features = made(), torch.rand(9, INPUTS, dtype=torch.float64) * 5
    expected = layers_of(scorer.parameters_now)(features)[:, 0]
    torch.testing.assert_close(scorer.of(features), expected)
    first = scorer.parameters_now
    for part, bound in ((first[: 3 * HIDDEN], INPUTS**-0.5), (first[3 * HIDDEN :], HIDDEN**-0.5)):
        assert bound / 2 < part.abs().max() <= bound
    assert torch.equal(first, made().parameters_now)
    assert not torch.equal(first, made(2).parameters_now)


def test_it_learns_as_adam_does() -> None:
    scorer = made()
    own = scorer.parameters_now.clone().requires_grad_()
    adam = torch.optim.Adam([own], lr=0.01, weight_decay=0.1)
    for seed in range(4):
        own.grad = torch.randn(len(own), generator=torch.Generator().manual_seed(seed)).double()
        scorer.learn(own.grad.clone(), 0.01, 0.1)
        adam.step()
        torch.testing.assert_close(scorer.parameters_now, own.detach(), rtol=1e-9, atol=1e-12)
