"""Moving averages of networks: the teachers of many methods."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from pmnar.methods.networks import Logits, Networks


class Averages(Networks):
    """A network of the same names and shapes for each of a method's: its moving average.

    They are modules without parameters to train, so a checkpoint holds them and they move with
    the method. In `train` mode they normalise by the batch, as the networks do in training, and
    their own running statistics follow what they are shown; in `eval` mode by those statistics.

    Args:
        networks: what they begin as.
        parameters_alone: leave BatchNorm's statistics as they are, and what they are shown to
            change them; for averages that are asked in `train` mode alone.
    """

    def __init__(self, networks: Networks, *, parameters_alone: bool = False) -> None:
        copies = {name: _copy(network) for name, network in networks.items()}
        super().__init__(copies, networks.fused_forward)
        self.parameters_alone = parameters_alone

    @torch.no_grad()
    def follow(self, networks: Networks, decay: float) -> None:
        """Keep the share `decay` in [0, 1] of what they are and take the rest from `networks`.

        Parameters and BatchNorm's statistics are averaged, unless told otherwise; what counts
        (integers) is copied.
        """
        for name, average in self.items():
            kept, now = self._values(average), self._values(networks[name])
            pairs = list(zip(kept, now, strict=True))
            real = [pair for pair in pairs if pair[0].is_floating_point()]
            torch._foreach_lerp_([a for a, _ in real], [b for _, b in real], 1 - decay)
            for mine, other in pairs:
                if not mine.is_floating_point():
                    mine.copy_(other)

    @torch.no_grad()
    def logits(self, views: tuple[Tensor, ...], training: bool = False) -> Logits:
        """Every average's logits of every view, without gradient, in `train` or `eval` mode."""
        if self.training != training:
            self.train(training)
        return super().logits(views)

    def _values(self, network: nn.Module) -> list[Tensor]:
        buffers = () if self.parameters_alone else network.buffers()
        return [*network.parameters(), *buffers]


def _copy(network: nn.Module) -> nn.Module:
    """The network again, with nothing to train."""
    # Tensors are cloned, not copied with all that they refer to: fake ones refer to their mode.
    own: dict[int, Tensor] = {id(value): value.clone() for value in network.buffers()}
    for value in network.parameters():
        own[id(value)] = nn.Parameter(value.detach().clone(), requires_grad=False)
    return deepcopy(network, own)
