"""PMNAR: positive and multi-negative learning with adaptive reweighting, and its ablations."""

from collections.abc import Callable
from functools import partial

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pmnar import losses
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.samples.complementary import ComplementaryLabels
from pmnar.samples.reweighting import (
    adaptive_weights,
    balance_classes,
    check_minimum,
    class_mean,
    lowest_confidence,
    starved_classes,
)

CHOICES = {
    "loss": ("ce", "nl", "ml", "pm"),
    "weight_balance": ("none", "class"),
    "discard_by": ("first", "both", "ensemble"),
}


class PMNAR(NoisyLabelMethod):
    """PMNAR (Algorithm 1). Every ablation of its Table 5 is a choice of these arguments.

    Args:
        setting: what all methods share.
        networks: 1, which weighs for itself, or 2, which exchange their weights.
        loss: the supervised term: `ce`, `nl` (one random complementary label, drawn anew each
            time), `ml` (all of the store's) or `pm` (`ce` + `ml`, Eq. 7).
        reweight: weigh samples adaptively (Eq. 4). Two networks exchange their weights.
        beta: strength of the consistency term (Eq. 10); 0 leaves it and its view out.
        warmup_epochs: epochs with weights of 1 and a full store.
        minimum: the factor subtracted from confidences: `global`, or a quantile in [0, 1).
        weight_balance: `class` rescales weights to the same mean for every given class.
        discard_by: whose prediction leaves the store: `first` (the paper), `both`, `ensemble`.
        detach_target: keep the consistency target free of gradient.
    """

    sample_weights: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        loss: str = "pm",
        reweight: bool = True,
        beta: float = 1.0,
        warmup_epochs: int = 10,
        minimum: str | float = "global",
        weight_balance: str = "none",
        discard_by: str = "first",
        detach_target: bool = True,
    ) -> None:
        super().__init__(setting, networks=networks)
        chosen = {"loss": loss, "weight_balance": weight_balance, "discard_by": discard_by}
        for key, value in chosen.items():
            if value not in CHOICES[key]:
                allowed = ", ".join(CHOICES[key])
                raise InputError(f"method.{key} must be one of {allowed}, got {value}")
        if not beta >= 0:
            raise InputError(f"method.beta must be at least 0, got {beta}")
        if warmup_epochs < 0:
            raise InputError(f"method.warmup_epochs must be at least 0, got {warmup_epochs}")
        check_minimum(minimum)
        self.loss, self.reweight, self.beta = loss, reweight, beta
        self.warmup_epochs, self.minimum = warmup_epochs, minimum
        self.weight_balance, self.discard_by = weight_balance, discard_by
        self.detach_target = detach_target
        self.views = ("weak", "strong") if beta > 0 else ("weak",)
        self.losses_are_apart = beta == 0 or detach_target
        self.register_buffer("sample_weights", torch.ones(len(self.networks), len(self.labels)))
        self.complementary: ComplementaryLabels | None = None
        if loss in ("ml", "pm"):
            self.complementary = ComplementaryLabels(self.labels, self.num_classes)
        self._has_warned = False

    @property
    def weights(self) -> Tensor | None:
        """Weights `[N]` of the first network's losses; None without reweighting."""
        return self.sample_weights[0] if self.reweight else None

    def events(self) -> dict[str, int]:
        """The end of the warm-up, of a method that has one."""
        has_one = self.reweight or self.complementary is not None
        return {"warm-up ends": self.warmup_epochs} if has_one else {}

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up, where that matters."""
        if not self.events() or self.warmup_epochs < epochs:
            return None
        return (
            f"method.warmup_epochs={self.warmup_epochs} is not below trainer.max_epochs={epochs}: "
            "the samples are never reweighted, their complementary labels never reduced. "
            f"dataset.recipe.max_epochs={epochs} with method.warmup_epochs below it makes a short "
            "run whose learning rate comes down too"
        )

    # -- the loss ---------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """`w · PM + β · Reg` of each network (Eq. 10), each term `[B]`."""
        supervised = self._supervised(batch)
        weights = self.sample_weights[:, batch.indices]
        logits = self.networks.logits(batch.views)
        found = {
            name: {f"loss_{name}": weight * supervised(of_views[0])}
            for (name, of_views), weight in zip(logits.items(), weights, strict=True)
        }
        if self.beta > 0:
            target = torch.stack([z[0].float().softmax(-1) for z in logits.values()]).mean(0)
            if self.detach_target:
                target = target.detach()
            for name, (_, strong) in logits.items():
                found[name]["loss_consistency"] = self.beta * losses.consistency(strong, target)
        return found

    def _supervised(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The chosen loss of a batch: logits `[B, K]` → `[B]`."""
        if self.loss == "ce":
            return partial(losses.cross_entropy, labels=batch.labels)
        if self.loss == "nl":
            other = self._random_complementary(batch)
            return lambda logits: losses.negative(logits, other)
        assert self.complementary is not None
        mask = self.complementary.mask(batch.indices)
        if self.loss == "ml":
            return partial(losses.multi_negative, complementary=mask)
        return partial(losses.positive_and_multi_negative, labels=batch.labels, complementary=mask)

    def _random_complementary(self, batch: Batch) -> Tensor:
        """One label other than the given one for each sample, uniformly, int64 `[B]`."""
        share = batch.share
        assert share is not None
        generator = share.generator("complementary label")
        offset = torch.randint(1, self.num_classes, (share.size,), generator=generator)
        mine = share.take(offset).to(batch.labels.device, non_blocking=True)
        return (batch.labels + mine) % self.num_classes

    # -- between epochs ---------------------------------------------------------------------------

    def prepare_epoch(self, epoch: int) -> None:
        """After the warm-up: shrink the store, then weigh every sample anew."""
        if epoch > self.warmup_epochs:
            self._shrink_store()
            self._reweight()
        if self.complementary is not None:
            self.record["complementary_size"] = self.complementary.mean_size()
        self._record_weights()

    def _shrink_store(self) -> None:
        """Discard from each sample's set the class that is predicted for it."""
        if self.complementary is None:
            return
        measured = self.measure()
        names = tuple(self.networks) if self.discard_by == "both" else (self.discard_by,)
        everyone = torch.arange(len(self.labels), device=self.labels.device)
        for name in names:
            prediction = measured.get(f"prediction_{name}", measured["prediction_first"])
            self.complementary.discard(everyone, prediction)

    def _reweight(self) -> None:
        """Weigh each network's losses by the other's confidences; by its own where it is alone."""
        if not self.reweight:
            return
        measured = self.measure()
        for position, (name, giver) in enumerate(self.peers.items()):
            confidence = measured[f"confidence_{giver}"]
            weights = adaptive_weights(confidence, self.minimum)
            if self.weight_balance == "class":
                weights = balance_classes(weights, self.labels, self.num_classes)
            self.sample_weights[position] = weights
            lowest = lowest_confidence(measured[f"confidence_{name}"], self.minimum)
            self.record[f"min_confidence_{name}"] = float(lowest)

    def _record_weights(self) -> None:
        if not self.reweight:
            return
        means = self.sample_weights.double().mean(1).tolist()
        for name, mean in zip(self.networks, means, strict=True):
            self.record[f"mean_weight_{name}"] = mean
        by_class = [class_mean(w, self.labels, self.num_classes) for w in self.sample_weights]
        self.by_class["weight"] = by_class[0]
        pairs = zip(by_class, means, strict=True)
        starved = sorted({k for of_class, mean in pairs for k in starved_classes(of_class, mean)})
        if starved and not self._has_warned:
            self._has_warned = True
            named = ", ".join(self.class_names[k] for k in starved)
            rank_zero_warn(
                f"the mean weight fell below a tenth of the overall mean for: {named}. The method "
                "may be starving these classes; method.weight_balance=class gives all the same"
            )
