"""NCT: two networks learn from each other, and from labels that are ever more often random.

Sarfraz et al., "Noisy concurrent training for efficient learning under label noise", WACV 2021. It
needs to know nothing of the noise.
"""

from math import log

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import consistency, cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Outputs
from pmnar.methods.ramps import ramp
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses

UNSURE = 0.3
"""A share of random labels from which on half is too much to ask of a label's probability."""


class NCT(NoisyLabelMethod):
    """`(1 − α) · cross-entropy + α T² · KL(peer ‖ itself)`, both softened by T.

    For each network alone, a share of the labels is drawn anew at every step, of all classes.

    Args:
        setting: what all methods share.
        networks: 2.
        distillation: what α rises to, in [0, 1].
        ramp_epochs: over which it rises from nearly 0, at least 0.
        temperature: T, over 0.
        least_variability: the share of labels that are drawn, in [0, 1], at first,
        vary_after: for so many epochs after the first, at least 0;
        most_variability: and in the end, in [0, 1],
        most_after: after so many, at least 1. In between it rises by their logarithm.

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        distillation: float = 0.9,
        ramp_epochs: int = 20,
        temperature: float = 4.0,
        least_variability: float = 0.2,
        most_variability: float = 0.7,
        vary_after: int = 3,
        most_after: int = 200,
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2, which teach each other, got {networks}")
        check_reals("in [0, 1]", distillation=distillation)
        check_reals("in [0, 1]", least_variability=least_variability)
        check_reals("in [0, 1]", most_variability=most_variability)
        check_reals("over 0", temperature=temperature)
        check_counts(0, ramp_epochs=ramp_epochs, vary_after=vary_after)
        check_counts(1, most_after=most_after)
        super().__init__(setting, networks=2)
        self.distillation, self.ramp_epochs = distillation, ramp_epochs
        self.temperature = temperature
        self.least_variability, self.most_variability = least_variability, most_variability
        self.vary_after, self.most_after = vary_after, most_after

    def advice(self, epochs: int) -> str | None:
        """That networks which are taught random labels are sure of none."""
        drawn = self.variability(epochs - 1)
        if drawn < UNSURE:
            return None
        return (
            f"{drawn:.0%} of the labels are drawn at random in the end, so the networks stay "
            "unsure of all: go by the columns mislabelled and relative_confidence of "
            "samples.parquet, or lower detection.threshold"
        )

    @property
    def alpha(self) -> float:
        """How much of the loss is the peer's, in this epoch."""
        return self.distillation * ramp(self.current_epoch, self.ramp_epochs)

    def variability(self, epoch: int) -> float:
        """The share of labels that are drawn, in an epoch (0-based)."""
        since = epoch - self.vary_after
        until = self.most_after - self.vary_after
        if since <= 0:
            return self.least_variability
        if since >= until:
            return self.most_variability
        risen = log(since) / log(until)
        return self.least_variability + (self.most_variability - self.least_variability) * risen

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy with labels of which some are drawn, and the divergence, `[B]` each."""
        assert batch.share is not None
        logits = {name: z for name, (z,) in self.networks.logits(batch.views).items()}
        cooled = {name: self._cooled(z) for name, z in logits.items()}
        found, alpha = {}, self.alpha
        for name, peer in self.peers.items():
            labels = self._varied(batch.labels, batch.share, name)
            apart = consistency(cooled[name], cooled[peer].detach().softmax(-1))
            found[name] = {
                f"loss_{name}": (1 - alpha) * cross_entropy(logits[name], labels),
                "loss_distilled": alpha * self.temperature**2 * apart,
            }
        return found

    def _cooled(self, logits: Tensor) -> Tensor:
        """Logits at the temperature, at least float32."""
        raised = logits if logits.dtype == torch.float64 else logits.float()
        return raised / self.temperature

    def _varied(self, labels: Tensor, share: Share, network: str) -> Tensor:
        """Labels `[B]`, a share of which are drawn of all classes."""
        generator = share.generator(f"variability {network}")
        varies = torch.rand(share.size, generator=generator) < self.variability(self.current_epoch)
        drawn = torch.randint(self.num_classes, (share.size,), generator=generator)
        replaced = torch.where(varies, drawn, -1)
        mine = share.take(replaced).to(labels.device, non_blocking=True)
        return torch.where(mine < 0, labels, mine)

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`relative_confidence`, by the mean of both networks."""
        mean = torch.stack([output.probabilities for output in outputs.values()]).mean(0)
        given = mean.gather(-1, batch.labels[:, None]).squeeze(-1)
        return {"relative_confidence": given / mean.amax(-1)}

    def scores(self) -> dict[str, Tensor]:
        """`relative_confidence`: the given label's probability in the likeliest one's, in [0, 1].

        Where labels are drawn at random all probabilities are small, these not.
        """
        return {} if self.measurement is None else dict(self.measurement.kept)
