"""M-correction: labels of large losses are replaced by predictions, on mixed images.

Arazo et al., "Unsupervised label noise modeling and loss correction", ICML 2019. It needs to know
nothing of the noise.

Departures from its public code, beside those of `BetaMixture`: the losses that the mixture is
fitted to are of images as they are, where the code augments them; the regulariser goes by the
number of classes in all variants, where the code's soft one goes by 10.
"""

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, soft_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Outputs
from pmnar.methods.mixing import Mixing
from pmnar.methods.semi_supervised import prior_penalty
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.networks.statistics import evaluating
from pmnar.samples.beta_mixture import BetaMixture
from pmnar.samples.targets import one_hot, probabilities, sharpened

HARD, SOFT, DYNAMIC = "M-DYR-H", "M-DYR-S", "MD-DYR-SH"
COLDEST = 1e-3


class MCorrection(NoisyLabelMethod):
    """MixUp; then with labels `(1 − B) e_y + B q`, B being how likely the label is wrong.

    Args:
        setting: what all methods share.
        networks: 1.
        variant: q, the network's prediction of the image that is not mixed, is its likeliest class
            (`M-DYR-H`), or its probabilities (`M-DYR-S`). Or these sharpened ever more, and images
            mixed by how likely both labels are right (`MD-DYR-SH`).
        warmup_epochs: of MixUp alone, at least 0. With 0 the first epoch takes all labels for
            right.
        dynamic_epochs: of MD-DYR-SH, then, whose images are mixed so, and whose labels are not yet
            corrected, at least 0.
        hardening_epochs: of MD-DYR-SH, then, over which q becomes hard, at least 1, where it is
            hard at once.
        alpha: of MixUp, over 0.
        prior_strength: ρ of the pull of a batch's mean prediction to the uniform one, at least 0.

    Attributes:
        mixture: of the losses before the epoch at hand.
        clean: how likely each label is right by it, float32 `[N]`.

    Raises:
        InputError: a value is out of its range.
    """

    clean: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        variant: str = HARD,
        warmup_epochs: int = 105,
        dynamic_epochs: int = 5,
        hardening_epochs: int = 89,
        alpha: float = 32.0,
        prior_strength: float = 1.0,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for M-correction, got {networks}")
        if variant not in (HARD, SOFT, DYNAMIC):
            allowed = ", ".join((HARD, SOFT, DYNAMIC))
            raise InputError(f"method.variant must be one of {allowed}, got {variant}")
        check_counts(0, warmup_epochs=warmup_epochs, dynamic_epochs=dynamic_epochs)
        check_counts(1, hardening_epochs=hardening_epochs)
        check_reals("over 0", alpha=alpha)
        check_reals("at least 0", prior_strength=prior_strength)
        super().__init__(setting, networks=1)
        self.variant, self.alpha, self.prior_strength = variant, alpha, prior_strength
        self.warmup_epochs, self.hardening_epochs = warmup_epochs, hardening_epochs
        self.dynamic_epochs = dynamic_epochs if variant == DYNAMIC else 0
        self.mixture = BetaMixture(self.labels.device)
        self.register_buffer("clean", torch.ones(len(self.labels)))

    def advice(self, epochs: int) -> str | None:
        """That a run ends before labels are corrected."""
        if self._uncorrected < epochs or epochs < 0:
            return None
        return (
            f"labels are corrected after {self._uncorrected} epochs, and trainer.max_epochs is "
            f"{epochs}: training is MixUp on the given labels; method.warmup_epochs sets it"
        )

    def events(self) -> dict[str, int]:
        """When MixUp is no longer all, and when labels begin to be corrected."""
        corrected = {"correction begins": self._uncorrected} if self.dynamic_epochs else {}
        return {"warm-up ends": self.warmup_epochs, **corrected}

    @property
    def _uncorrected(self) -> int:
        """Epochs before labels are corrected."""
        return self.warmup_epochs + self.dynamic_epochs

    # -- between epochs ---------------------------------------------------------------------------

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`loss`: cross-entropy with the given labels."""
        return {"loss": cross_entropy(outputs["first"].logits, batch.labels)}

    def prepare_epoch(self, epoch: int) -> None:
        """After the warm-up: fit the mixture to the losses as they are now."""
        if epoch > max(self.warmup_epochs, 1):
            losses = self.measure().kept["loss"]
            self.mixture.fit(losses)
            self.clean.copy_(1 - self.mixture.noisy_probability(losses))
            self.record["clean"] = float(self.clean.double().mean())

    # -- the loss ---------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of mixed images with their mixed labels, `[B]`; the regulariser."""
        share, target = batch.share, one_hot(batch.labels, self.num_classes)
        assert share is not None
        mixing = Mixing([share], self.alpha)
        of_images = of_labels = mixing.weight
        corrects = self.current_epoch >= self._uncorrected
        if self.current_epoch >= self.warmup_epochs:
            noisy = self._noisy(batch)
            if corrects:
                target = target + noisy[:, None] * (self._guess(batch) - target)
            if self.variant == DYNAMIC:
                right, of_partner = 1 - noisy, 1 - mixing.partners([noisy])
                of_images = right / (right + of_partner)
                of_labels = torch.full_like(of_labels, 0.5) if corrects else of_labels
        [z] = self.networks.logits_of("first", (mixing.mixed(batch.views, of_images),))
        found = {"loss_first": soft_cross_entropy(z, mixing.mixed([target], of_labels))}
        if corrects:
            found["loss_prior"] = self.prior_strength * prior_penalty([z], [share])
        return {"first": found}

    @torch.no_grad()
    def _noisy(self, batch: Batch) -> Tensor:
        """How likely each label is wrong, by its loss in eval mode, `[B]`."""
        with evaluating(self.networks):
            [z] = self.networks.logits_of("first", batch.views)
        return self.mixture.noisy_probability(cross_entropy(z, batch.labels))

    @torch.no_grad()
    def _guess(self, batch: Batch) -> Tensor:
        """What is put in the place of labels, by a forward as in training, `[B, K]`."""
        [z] = self.networks.logits_of("first", batch.views)
        if self.variant == HARD:
            return one_hot(z.argmax(-1), self.num_classes)
        return sharpened(probabilities(z), self.temperature)

    @property
    def temperature(self) -> float:
        """Of predictions, from 1 to .001 where they harden."""
        if self.variant != DYNAMIC:
            return 1.0
        last = self.hardening_epochs - 1
        done = min(self.current_epoch - self._uncorrected, last)
        return 1 + (COLDEST - 1) * (done / last if last else 1)

    def scores(self) -> dict[str, Tensor]:
        """`clean_probability` of each label by the mixture."""
        return {"clean_probability": self.clean} if self.mixture.bounds.any() else {}
