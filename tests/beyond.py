"""What tests of PMNAR's switches beyond its paper share."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from toy import (
    ABLATIONS,
    TinyNet,
    Watched,
    make_data,
    make_method,
    train_batches,
)

from pmnar.data import Batch

TWO = ABLATIONS["pmnar"]
EXACT = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
"""What is float32 in the library: weights, targets, shares."""
ALL: dict[str, Any] = {
    "weights": "relative",
    "normalise": "mean",
    "consistency": "by_weight",
    "warmup": "ready",
    "prior": "given",
    "temperature": 0.5,
    "statistics": "weak",
}


def weighted(**settings: Any) -> tuple[Watched, Batch]:
    """A method in float64 with weights that say something, and a batch."""
    data = make_data()
    method = make_method(data, partial(TinyNet, dtype=torch.float64), **{**TWO, **settings})
    generator = torch.Generator().manual_seed(5)
    method.sample_weights.copy_(torch.rand(method.sample_weights.shape, generator=generator))
    return method.eval(), next(train_batches(data))


def plain(method: Watched, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
    """Both networks' probabilities on the weak view and on the strong one."""
    networks = list(method.networks.values())
    weak, strong = batch.views[:2]
    return [n(weak).softmax(-1) for n in networks], [n(strong).softmax(-1) for n in networks]


def divergence(target: Tensor, p: Tensor) -> Tensor:
    return (target * (target.log() - p.log())).sum(-1)
