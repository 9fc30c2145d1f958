"""A small network that scores samples, taught beside the networks that learn from images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

DECAYS = 0.9, 0.999
"""Of Adam's moving means of the gradient and of its square."""
LEAST = 1e-8


class Scorer(nn.Module):
    """A layer of hidden units, and one number of them: `[B, F]` → `[B]`, before a sigmoid.

    Its parameters are buffers, as no loss of the other networks reaches them and no other
    optimiser steps in them, and so are the moments of its own one, Adam.

    Args:
        inputs: F.
        hidden: units, H.
        activation: of the units.
        seed: of the parameters at first: uniform, as far as 1 over the root of a unit's inputs.
        device: where they are.

    Attributes:
        parameters_now: weights and biases of the units, weights and bias of what they give, in the
            order of two `nn.Linear`, float32 `[(F + 2) H + 1]`.
        moments: Adam's two means, of the gradient and of its square, of that shape each.
        steps: that it has made, float64 `[]`.
    """

    parameters_now: Tensor
    moments: Tensor
    steps: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: int,
        activation: Callable[[Tensor], Tensor],
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.sizes, self.activation = [hidden * inputs, hidden, hidden, 1], activation
        drawn = 2 * torch.rand(sum(self.sizes), generator=torch.Generator().manual_seed(seed)) - 1
        of_units = hidden * (inputs + 1)
        drawn[:of_units] /= inputs**0.5
        drawn[of_units:] /= hidden**0.5
        self.register_buffer("parameters_now", drawn.to(device))
        self.register_buffer("moments", torch.zeros_like(self.parameters_now).repeat(2, 1))
        steps = torch.zeros((), dtype=torch.float64, device=device)
        self.register_buffer("steps", steps)

    def leaf(self) -> Tensor:
        """The parameters as they are, to be differentiated by."""
        return self.parameters_now.detach().requires_grad_()

    def of(self, features: Tensor, parameters: Tensor | None = None) -> Tensor:
        """Scores `[B]` of features `[B, F]`, of their type; by other parameters where given."""
        of_units = self.parameters_now if parameters is None else parameters
        weight, bias, out, last = torch.split(of_units.to(features.dtype), self.sizes)
        # Sums of products, where a matrix product would be of 16 bits under autocast.
        units = (features[:, None] * weight.view(len(bias), -1)).sum(-1) + bias
        scores: Tensor = (self.activation(units) * out).sum(-1) + last
        return scores

    @torch.no_grad()
    def learn(self, gradient: Tensor, rate: float, decay: float = 0.0) -> None:
        """A step of Adam by the gradient of its parameters, with weight decay."""
        gradient = gradient.to(self.parameters_now.dtype) + decay * self.parameters_now
        self.steps += 1
        means = []
        for moment, kept, now in zip(
            self.moments, DECAYS, (gradient, gradient.square()), strict=True
        ):
            moment.lerp_(now, 1 - kept)
            means.append(moment / (1 - kept**self.steps))
        mean, square = means
        self.parameters_now -= rate * mean / (square.sqrt() + LEAST)
