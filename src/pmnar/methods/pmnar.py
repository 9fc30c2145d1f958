"""PMNAR: positive and multi-negative learning with adaptive reweighting, and its ablations."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pmnar import losses
from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Measurement, Outputs
from pmnar.methods.pmnar_beyond import Beyond
from pmnar.methods.pmnar_mixed import mixed_losses
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.methods.warm_up import ends_in_warm_up
from pmnar.samples.complementary import ComplementaryLabels
from pmnar.samples.memory import Margins, RecentConfidences, margin
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
        **beyond: what the paper does not have, see `Beyond`; all of it is off by default.
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
        **beyond: Any,
    ) -> None:
        super().__init__(setting, networks=networks)
        chosen = {"loss": loss, "weight_balance": weight_balance, "discard_by": discard_by}
        for key, value in chosen.items():
            if value not in CHOICES[key]:
                allowed = ", ".join(CHOICES[key])
                raise InputError(f"method.{key} must be one of {allowed}, got {value}")
        check_reals("at least 0", beta=beta)
        check_counts(0, warmup_epochs=warmup_epochs)
        check_minimum(minimum)
        self.loss, self.reweight, self.beta = loss, reweight, beta
        self.warmup_epochs, self.minimum = warmup_epochs, minimum
        self.weight_balance, self.discard_by = weight_balance, discard_by
        self.detach_target = detach_target
        self.register_buffer("sample_weights", torch.ones(len(self.networks), len(self.labels)))
        self.complementary: ComplementaryLabels | None = None
        if loss in ("ml", "pm"):
            self.complementary = ComplementaryLabels(self.labels, self.num_classes)
        self.beyond = Beyond(self.labels, self.num_classes, networks, **beyond)
        mixed = self.beyond.views_trained == "strong_mixed"
        self.views = ("weak", "strong") if beta > 0 or mixed else ("weak",)
        self.losses_are_apart = beta == 0 or detach_target or mixed
        self.needs_features = self.beyond.neighbours == "vote"
        self.margins = Margins(self.labels)
        self.recent = RecentConfidences(self.labels) if self._weighs else None
        self._said = torch.empty(0)
        self._has_warned = False

    @property
    def _weighs(self) -> bool:
        """Whether anything is done between epochs once the warm-up is over."""
        return self.reweight or self.complementary is not None

    @property
    def weights(self) -> Tensor | None:
        """Weights `[N]` of the first network's losses; None without reweighting."""
        return self.sample_weights[0] if self.reweight else None

    def events(self) -> dict[str, int]:
        """The end of the warm-up, of a method that has one."""
        return {"warm-up ends": self.warmup_epochs} if self._weighs else {}

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up, where that matters."""
        if not self._weighs:
            return None
        so = (
            "the samples are never reweighted, their complementary labels never reduced. "
            f"dataset.recipe.max_epochs={epochs} with method.warmup_epochs below it makes a short "
            "run whose learning rate comes down too"
        )
        return ends_in_warm_up(self.warmup_epochs, epochs, so)

    @property
    def remedy(self) -> str:
        """A longer warm-up, where reweighting may have come too early."""
        if not self.reweight:
            plain = self.loss == "ce" and not self.beta
            return "more epochs, or a lower optimizer.lr" if plain else super().remedy
        return (
            f"a longer warm-up (method.warmup_epochs={2 * max(self.warmup_epochs, 1)} with twice "
            "the epochs), method.weight_balance=class, or compare=ce to see what plain training "
            "gives"
        )

    def scores(self) -> Mapping[str, Tensor]:
        """`margin`, averaged over the forwards of training; `recent_confidence`.

        The latter is the networks' mean confidence in the given label over the last epochs.
        """
        found = {"margin": self.margins.mean()}
        recent = None if self.recent is None else self.recent.mean()
        return found if recent is None else found | {"recent_confidence": recent}

    @property
    def suspects_by(self) -> str:
        """What was seen to find wrong labels best: margins of one network, the mean of two."""
        if len(self.networks) == 1:
            return "margin"
        return "recent_confidence" if "recent_confidence" in self.scores() else "confidence"

    def on_train_end(self) -> None:
        """Say so where reweighting waited for something that never came."""
        if self._weighs and (told := self.beyond.never_began()):
            rank_zero_warn(told)

    # -- the loss ---------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """`w · PM + β · Reg` of each network (Eq. 10), each term `[B]`."""
        share, beyond = batch.share, self.beyond
        assert share is not None
        chosen = self.sample_weights[:, batch.indices]
        if beyond.views_trained == "strong_mixed":
            mixed, weak = mixed_losses(self.networks, beyond, batch, chosen, self._mask(batch))
            self._said = torch.stack(weak).float()
            return mixed
        supervised = self._supervised(batch)
        weights, strengths = beyond.of_batch(chosen, self.beta, share)
        logits = beyond.logits(self.networks, batch.views)
        weak = [z[0] for z in logits.values()]
        found = {
            name: {f"loss_{name}": weights[k] * supervised(beyond.shifted(weak[k], k))}
            for k, name in enumerate(logits)
        }
        if self.beta > 0:
            target = beyond.target(weak)
            if self.detach_target:
                target = target.detach()
            for (name, (_, strong)), strength in zip(logits.items(), strengths, strict=True):
                found[name]["loss_consistency"] = strength * losses.consistency(strong, target)
        self._said = torch.stack([z.detach().float() for z in weak])
        return found

    def after_step(self, batch: Batch) -> None:
        """Remember what the networks, in training, said of the weak view."""
        assert batch.share is not None
        logits = self._said
        margins = self.margins.added(batch.indices, margin(logits, batch.labels))
        self.write(self.margins.totals, batch, margins)
        self.beyond.follow(logits, batch.share)

    def _supervised(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The chosen loss of a batch: logits `[B, K]` → `[B]`."""
        if self.loss == "ce":
            return partial(losses.cross_entropy, labels=batch.labels)
        if self.loss == "nl":
            other = self._random_complementary(batch)
            return lambda logits: losses.negative(logits, other)
        mask = self._mask(batch)
        assert mask is not None
        if self.loss == "ml":
            return partial(losses.multi_negative, complementary=mask)
        return partial(losses.positive_and_multi_negative, labels=batch.labels, complementary=mask)

    def _mask(self, batch: Batch) -> Tensor | None:
        """The stores of a batch's samples, bool `[B, K]`, where there is one."""
        return None if self.complementary is None else self.complementary.mask(batch.indices)

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
        if epoch > self.warmup_epochs and self._weighs:
            measured = self.measure()
            agreed = self.beyond.agreed(measured)
            if agreed is not None:
                self.record["agreement"] = agreed
            if self.beyond.has_begun(agreed):
                self._shrink_store(measured)
                self._reweight(measured, agreed)
            self._keep_confidences(epoch, measured)
        if self.complementary is not None:
            self.record["complementary_size"] = self.complementary.mean_size()
        self._record_weights()

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """What the switches beyond the paper need of the pass."""
        return self.beyond.measures(outputs, batch.labels)

    def _shrink_store(self, measured: Measurement) -> None:
        """Discard from each sample's set the class that is predicted for it."""
        if self.complementary is None:
            return
        names = tuple(self.networks) if self.discard_by == "both" else (self.discard_by,)
        everyone = torch.arange(len(self.labels), device=self.labels.device)
        for name in names:
            prediction = measured.prediction.get(name, measured.prediction["first"])
            self.complementary.discard(everyone, prediction)

    def _reweight(self, measured: Measurement, agreed: float | None = None) -> None:
        """Weigh each network's losses by the other's confidences; by its own where it is alone."""
        if not self.reweight:
            return
        self.beyond.begin()
        relative = self.beyond.relative(measured, self.labels, agreed)
        for position, (name, giver) in enumerate(self.peers.items()):
            weights = relative
            if weights is None:
                confidence = self.beyond.confidence(measured, giver)
                weights = adaptive_weights(confidence, self.minimum)
            weights = weights * self.beyond.voted(measured, self.labels, giver)
            if self.weight_balance == "class":
                weights = balance_classes(weights, self.labels, self.num_classes)
            self.sample_weights[position] = weights
            lowest = lowest_confidence(measured.confidence[name], self.minimum)
            self.record[f"min_confidence_{name}"] = float(lowest)

    def _keep_confidences(self, epoch: int, measured: Measurement) -> None:
        """Remember what the networks hold of each given label after this epoch."""
        assert self.recent is not None
        held = torch.stack(list(measured.confidence.values()))
        self.recent.keep(epoch, held.mean(0))

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
