"""Meta-Weight-Net: what teaches its small network is a second backward's gradient."""

import pytest
import torch
from every import a_step
from torch import Tensor
from torch.func import functional_call

from pmnar.data import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods import MetaWeightNet
from pmnar.methods.terms import total

HIDDEN = 7


def made(**settings: object) -> tuple[MetaWeightNet, Batch]:
    method, batch = a_step("meta_weight_net", hidden_units=HIDDEN, **settings)
    assert isinstance(method, MetaWeightNet)
    method.weighing.double()
    return method, batch


def by_two_backwards(method: MetaWeightNet, batch: Batch, rate: float) -> Tensor:
    """The gradient of V's parameters, through a graph of the step that its weights make."""
    network, clean = method.networks["first"], batch.parts["clean"]
    weighing = method.weighing.leaf()
    parameters = dict(network.named_parameters())
    losses = cross_entropy(network(batch.views[0]), batch.labels)
    inner = (method.weigh(losses.detach(), weighing) * losses).mean()
    found = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
    ahead = {n: p - rate * g for (n, p), g in zip(parameters.items(), found, strict=True)}
    outer = cross_entropy(functional_call(network, ahead, clean.views[0]), clean.labels).mean()
    [gradient] = torch.autograd.grad(outer, weighing)
    return gradient


def test_what_teaches_it_is_a_second_backward_s_gradient() -> None:
    method, batch = made()
    expected = by_two_backwards(method, batch, rate=0.1)
    assert expected.any()
    found = method.weighing_gradient(batch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)


def test_what_is_minimised_is_weighed_by_what_has_just_been_taught() -> None:
    method, batch = made(weighing_rate=0.1)
    before = method.weighing.parameters_now.clone()
    assert batch.share is not None
    found = total(method.losses(batch)["first"], batch.share)
    losses = cross_entropy(method.networks["first"](batch.views[0]), batch.labels)
    weights = method.weigh(losses.detach())
    torch.testing.assert_close(found, (weights * losses).mean())
    assert not torch.equal(before, method.weighing.parameters_now)
    assert not torch.allclose(weights, method.weigh(losses.detach(), before), rtol=1e-3)
    kept = method.sample_weights[batch.indices]
    torch.testing.assert_close(kept.double(), weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_units": 0}, "method.hidden_units must be at least 1, got 0"),
        ({"weighing_rate": -1.0}, "method.weighing_rate must be at least 0, got -1.0"),
        ({"networks": 2}, "method.networks must be 1 for this method, got 2"),
        ({"clean_batch_size": 1}, "method.clean_batch_size must be at least 2, or null, got 1"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        a_step("meta_weight_net", **settings)
