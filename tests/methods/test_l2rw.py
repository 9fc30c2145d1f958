"""L2RW: its weights are those of a second backward through a step; at their bounds."""

import torch
from every import a_step
from torch import Tensor
from torch.func import functional_call

from pmnar.data import Batch
from pmnar.losses import cross_entropy
from pmnar.methods import L2RW
from pmnar.methods.terms import total


def by_two_backwards(method: L2RW, batch: Batch) -> Tensor:
    """The weights `[B]` by the paper's Algorithm 1: a step on weights of 0, then backward to them.

    Each term of the inner loss is a sample's of its own.
    """
    network, clean = method.networks["first"], batch.parts["clean"]
    parameters = dict(network.named_parameters())
    weights = torch.zeros(len(batch.labels), dtype=torch.float64, requires_grad=True)
    losses = cross_entropy(network(batch.views[0]), batch.labels)
    inner = torch.stack([w * loss for w, loss in zip(weights, losses, strict=True)]).sum()
    found = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
    stepped = {n: p - g for (n, p), g in zip(parameters.items(), found, strict=True)}
    outer = cross_entropy(functional_call(network, stepped, clean.views[0]), clean.labels).mean()
    [slope] = torch.autograd.grad(outer, weights)
    useful = [max(-float(value), 0.0) for value in slope]
    return torch.tensor([value / (sum(useful) or 1) for value in useful], dtype=torch.float64)


def test_weights_are_those_of_a_second_backward() -> None:
    method, batch = a_step("l2rw")
    assert isinstance(method, L2RW)
    expected = by_two_backwards(method, batch)
    found = method.weights_of(batch)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert 0 < int((found == 0).sum()) < len(found)
    torch.testing.assert_close(found.sum(), torch.ones((), dtype=torch.float64))


def test_what_is_minimised_is_the_weighted_sum() -> None:
    method, batch = a_step("l2rw")
    assert isinstance(method, L2RW)
    weights = by_two_backwards(method, batch)
    network = method.networks["first"]
    expected = (weights * cross_entropy(network(batch.views[0]), batch.labels)).sum()
    assert batch.share is not None
    found = total(method.losses(batch)["first"], batch.share)
    torch.testing.assert_close(found, expected)
    parameters = list(network.parameters())
    pairs = [torch.autograd.grad(loss, parameters) for loss in (found, expected)]
    torch.testing.assert_close(*pairs)
    kept = method.sample_weights[batch.indices].double()
    torch.testing.assert_close(kept, len(weights) * weights, rtol=1e-5, atol=1e-6)


def test_where_no_step_helps_nothing_is_learnt() -> None:
    """The clean samples are the others under another label each: every step makes them worse."""
    method, batch = a_step("l2rw")
    assert isinstance(method, L2RW)
    torch.nn.init.zeros_(method.networks["first"].get_parameter("head.weight"))
    batch = batch._replace(labels=torch.zeros_like(batch.labels))
    clean = batch._replace(labels=torch.ones_like(batch.labels), parts={})
    batch = batch._replace(parts={"clean": clean})
    assert not method.weights_of(batch).any()
    assert not method.losses(batch)["first"]["loss_first"].any()
