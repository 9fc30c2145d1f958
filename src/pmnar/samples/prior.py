"""How often a network predicts each class, and logits freed from it.

A network that favours some classes gets ever surer of them where it weighs its own samples, and
others are lost. Its mean prediction π, averaged over steps, is what it favours; `z − log π` says
what it would predict without, and training `z + log π` lets z itself be free of it (logit
adjustment, Menon et al., ICLR 2021; for labels that a network gives itself, Wang et al., CVPR 2022,
and ProMix, Xiao et al., IJCAI 2023).
"""

import torch
from torch import Tensor

from pmnar.samples.memory import Memory

TARGETS = ("uniform", "given", "warmup")


class RunningPrior(Memory):
    """π of each network, a moving average over steps, beside the shares that it should have.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
        networks: how many.
        target: `uniform`; `given`: each class's share of the given labels; or `warmup`: what the
            network itself predicts of each until `freeze`, so that nothing is shifted till then.
        memory: how much of the average stays in a step, in [0, 1).

    Attributes:
        shares: what each network predicts on average, float32 `[networks, K]`, at first the target.
        target: what it should, `[networks, K]`.
        frozen: whether the target stays as it is.
    """

    shares: Tensor
    target: Tensor
    frozen: Tensor

    def __init__(
        self, labels: Tensor, num_classes: int, networks: int, target: str, memory: float = 0.99
    ) -> None:
        super().__init__()
        self.memory = memory
        counts = labels.new_zeros(num_classes, dtype=torch.float32)
        if target == "given":
            counts.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float32))
        counts.clamp_min_(1)
        wanted = counts / counts.sum()
        for name in ("shares", "target"):
            self.register_buffer(name, wanted.repeat(networks, 1))
        fixed = torch.full((), target != "warmup", dtype=torch.bool, device=labels.device)
        self.register_buffer("frozen", fixed)

    def freeze(self) -> None:
        """From now on a network should predict each class as often as it does now."""
        self.frozen.fill_(True)

    def shift(self, network: int) -> Tensor:
        """`log(π / target)` of a network, `[K]`; 0 where it predicts each class as it should."""
        tiny = torch.finfo(self.shares.dtype).tiny
        return (self.shares[network].clamp_min(tiny) / self.target[network].clamp_min(tiny)).log()

    def debiased(self, probabilities: Tensor, network: int) -> Tensor:
        """`softmax(z − shift)` of a network's probabilities softmax(z), `[B, K]`."""
        freed = probabilities * (-self.shift(network)).exp()
        return freed / freed.sum(-1, keepdim=True)

    @torch.no_grad()
    def follow(self, network: int, probabilities: Tensor) -> None:
        """Average the mean of the whole batch's probabilities `[B, K]` too."""
        mean = probabilities.to(self.shares.dtype).mean(0)
        self.shares[network] = self.memory * self.shares[network] + (1 - self.memory) * mean
        target = torch.where(self.frozen, self.target[network], self.shares[network])
        self.target[network] = target
