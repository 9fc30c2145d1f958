"""Two networks, each trained on samples with labels held to be right and on the rest without.

That is MixMatch (Berthelot et al., NeurIPS 2019) on a division of the training set that is made
anew before each epoch; methods differ in how they divide it.

Departure of all of them from their public code: both networks step together, each on batches of its
own, where the code trains one through an epoch and then the other, on a division made in between.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from math import log

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Share, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, negative_entropy, soft_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Measurement
from pmnar.methods.mixing import Mixing
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses, Terms
from pmnar.methods.warm_up import ends_in_warm_up
from pmnar.networks.statistics import evaluating
from pmnar.samples.targets import one_hot, probabilities, sharpened

LABELLED, UNLABELLED = "labelled", "unlabelled"
Parts = Mapping[str, Batch]


class SemiSupervised(NoisyLabelMethod):
    """A warm-up on all labels, then MixMatch on a division of the samples.

    The first two views are predicted from, the last two are trained on.

    Args:
        setting: what all methods share.
        networks: 2.
        warmup_epochs: of cross-entropy. With 0 the first epoch takes every label for right.
        warmup_batch_size: samples in their batches; None: `data.batch_size`.
        confidence_penalty: take the prediction's entropy off the loss of the warm-up, against
            overconfidence (their papers: where the noise is asymmetric).
        alpha: of MixUp, over 0.
        temperature: of sharpening, over 0.
        strength: λ_u of the loss without labels, at least 0.
        ramp_epochs: over which it rises from 0 after the warm-up; 0: none.
        predict_by: what a network's predictions on its own batches are normalised by: the
            `batch`'s statistics, which the running ones then follow, as where it trains, or the
            `running` ones. On the other network's batches it is `running`.

    Attributes:
        labelled: which samples network k is trained on with labels, bool `[2, N]`.
        clean: how far each label is then trusted, float32 `[2, N]` in [0, 1].

    Raises:
        InputError: a value is out of its range.
    """

    losses_are_apart = True
    labelled: Tensor
    clean: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 2,
        warmup_epochs: int = 10,
        warmup_batch_size: int | None = None,
        confidence_penalty: bool = False,
        alpha: float = 4.0,
        temperature: float = 0.5,
        strength: float = 25.0,
        ramp_epochs: int = 16,
        predict_by: str = "batch",
    ) -> None:
        if networks != 2:
            raise InputError(f"method.networks must be 2 for this method, got {networks}")
        check_counts(0, warmup_epochs=warmup_epochs, ramp_epochs=ramp_epochs)
        check_reals("over 0", alpha=alpha, temperature=temperature)
        check_reals("at least 0", strength=strength)
        check_counts(2, True, warmup_batch_size=warmup_batch_size)
        if predict_by not in ("running", "batch"):
            raise InputError(f"method.predict_by must be one of running, batch, got {predict_by}")
        super().__init__(setting, networks=2)
        self.warmup_epochs, self.warmup_batch_size = warmup_epochs, warmup_batch_size
        self.confidence_penalty, self.alpha = confidence_penalty, alpha
        self.temperature, self.strength = temperature, strength
        self.ramp_epochs, self.predict_by = ramp_epochs, predict_by
        size = (2, len(self.labels))
        self.register_buffer("labelled", torch.ones(size, dtype=torch.bool))
        self.register_buffer("clean", torch.ones(size))
        self.batch_size = 2

    def attach(self, data: NoisyDataModule) -> None:
        """Ask for views and streams, and keep how many samples a batch has."""
        super().attach(data)
        self.batch_size = data.batch_size
        size, least = self.warmup_batch_size, 2 * self._setting.compute.world_size
        if size is not None and size < least:
            raise InputError(
                f"method.warmup_batch_size must be at least {least}, two for each device, or null, "
                f"got {size}"
            )

    def events(self) -> dict[str, int]:
        """The end of the warm-up."""
        return {"warm-up ends": self.warmup_epochs}

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up."""
        so = "the samples are never divided, and training is cross-entropy on the given labels"
        return ends_in_warm_up(self.warmup_epochs, epochs, so)

    # -- between epochs ---------------------------------------------------------------------------

    @abstractmethod
    def divide(self, epoch: int, measured: Measurement) -> None:
        """Set `labelled` and `clean` for an epoch."""

    def prepare_epoch(self, epoch: int) -> None:
        """After the warm-up: divide the samples anew. The first epoch is drawn before this."""
        if epoch > max(self.warmup_epochs, 1):
            self.divide(epoch, self.measure())
            self.record["labelled"] = float(self.labelled.double().mean())

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples in the warm-up; then two streams a network, the longest labelled one first.

        An epoch so ends when each network has seen its labelled samples.
        """
        if epoch <= self.warmup_epochs:
            return {
                name: stream._replace(batch_size=self.warmup_batch_size)
                for name, stream in super().streams(epoch).items()
            }
        chosen = dict(zip(self.networks, self.labelled.cpu(), strict=True))
        longest = sorted(chosen, key=lambda name: -int(chosen[name].sum()))
        with_labels = {part_of(LABELLED, name): Stream(_places(chosen[name])) for name in longest}
        without = {
            part_of(UNLABELLED, name): Stream(_places(~each), self.unlabelled_batch_size)
            for name, each in chosen.items()
        }
        return with_labels | without

    @property
    def unlabelled_batch_size(self) -> int | None:
        """Samples in a batch without labels; None: `data.batch_size`."""
        return None

    # -- the loss ---------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy in the warm-up; then the terms of `semi_supervised`, scalars."""
        if not batch.parts:
            return self.warm_up(batch)
        targets = self._targets(batch.parts)
        return self.networks.trained(
            lambda name: self.semi_supervised(name, batch.parts, targets[name])
        )

    def warm_up(self, batch: Batch) -> dict[str, Terms]:
        """Cross-entropy of each network and, where asked for, the confidence penalty, `[B]`."""
        found: dict[str, Terms] = {}
        for name, (z,) in self.networks.logits(batch.views[:1]).items():
            found[name] = {f"loss_{name}": cross_entropy(z, batch.labels)}
            if self.confidence_penalty:
                found[name]["loss_confidence"] = negative_entropy(z)
        return found

    def semi_supervised(self, name: str, parts: Parts, targets: Sequence[Tensor]) -> Terms:
        """`L_x + λ_u L_u + L_reg` of a network (DivideMix, Eqs. 9 to 12), by mixed images.

        Args:
            name: the network's.
            parts: the batches of all streams.
            targets: of its labelled and, where there are such, its unlabelled samples, `[B, K]`.
        """
        own = [parts[part] for part in _own(name, parts)]
        shares = [share for part in own for share in (_share(part), _share(part))]
        images = [view for part in own for view in part.views[-2:]]
        wanted = [target for each in targets for target in (each, each)]
        mixing, sizes = Mixing(shares, self.alpha, larger=True), [len(each) for each in wanted]
        [z] = self.networks.logits_of(name, (mixing(images),))
        of_views = torch.split(z, sizes)
        (z_l, *z_u), (t_l, *t_u) = (
            [torch.stack(pair) for pair in _pairs(rows)]
            for rows in (of_views, torch.split(mixing(wanted), sizes))
        )
        found = {f"loss_{name}": shares[0].mean(soft_cross_entropy(z_l, t_l).mean(0))}
        if z_u:
            distance = (probabilities(z_u[0]) - t_u[0]).square().mean((0, -1))
            found["loss_unlabelled"] = self._ramped() * shares[-1].mean(distance)
        return found | {"loss_prior": prior_penalty(of_views, shares)}

    def _ramped(self) -> float:
        """λ_u, which has risen since the warm-up."""
        if not self.ramp_epochs:
            return self.strength
        since = self.epochs_done - self.warmup_epochs
        return self.strength * min(max(since / self.ramp_epochs, 0.0), 1.0)

    # -- targets ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _targets(self, parts: Parts) -> dict[str, list[Tensor]]:
        """Of each network's own parts (DivideMix, Eqs. 3, 4 and 6), `[B, K]` each."""
        said: dict[str, dict[str, Tensor]] = {name: {} for name in self.networks}
        if self.predict_by == "batch":
            said = self.networks.trained(lambda name: self._said_in_training(name, parts))
        with evaluating(self.networks):
            said = self.networks.each(
                lambda name: said[name] | self._said(name, parts, leave=said[name]),
                self.networks.in_threads,
            )
        found = {}
        for clean, (name, peer) in zip(self.clean, self.peers.items(), strict=True):
            labelled, *unlabelled = _own(name, parts)
            if not labelled.startswith(LABELLED):
                raise InputError(
                    f"too few samples are labelled for the {name} network to have two on each "
                    f"device: raise data.batch_size, or use fewer devices"
                )
            w = clean[parts[labelled].indices][:, None]
            y = one_hot(parts[labelled].labels, self.num_classes)
            targets = [w * y + (1 - w) * said[name][labelled]]
            targets += [(said[name][part] + said[peer][part]) / 2 for part in unlabelled]
            found[name] = [sharpened(target, self.temperature) for target in targets]
        return found

    def _said(self, name: str, parts: Parts, leave: Iterable[str]) -> dict[str, Tensor]:
        """A network's mean prediction of two views, `[B, K]`: of its own parts, and the other's.

        Of the other's only where there are no labels; and not of those to `leave`.
        """
        others = [part for part in parts if part.startswith(UNLABELLED)]
        wanted = dict.fromkeys([*_own(name, parts), *others])
        asked = {part: parts[part].views[:2] for part in wanted if part not in leave}
        if not asked:
            return {}
        views = [view for pair in asked.values() for view in pair]
        [z] = self.networks.logits_of(name, (torch.cat(views),))
        p = torch.split(probabilities(z), [len(view) for view in views])
        return dict(zip(asked, (torch.stack(pair).mean(0) for pair in _pairs(p)), strict=True))

    def _said_in_training(self, name: str, parts: Parts) -> dict[str, Tensor]:
        """A network's mean prediction of two views of its own parts, normalised by each batch."""
        return {
            part: torch.stack(
                [probabilities(z) for z in self.networks.logits_of(name, parts[part].views[:2])]
            ).mean(0)
            for part in _own(name, parts)
        }


def prior_penalty(parts: Sequence[Tensor], shares: Sequence[Share]) -> Tensor:
    """`Σ_k 1/K log(1/K / p_k)`, p being the mean prediction of all (DivideMix, Eq. 11): a scalar.

    Args:
        parts: this rank's logits of each part of what is trained on, `[B, K]`.
        shares: its share of each.
    """
    whole = torch.cat([share.whole(z) for share, z in zip(shares, parts, strict=True)])
    kind = torch.promote_types(whole.dtype, torch.float32)
    log_mean = whole.log_softmax(-1, dtype=kind).logsumexp(0) - log(len(whole))
    return -log_mean.mean() - log(whole.shape[-1])


def part_of(kind: str, network: str) -> str:
    """The name of a network's stream of labelled or unlabelled samples."""
    return f"{kind} {network}"


def _own(name: str, parts: Parts) -> list[str]:
    """The names of a network's parts: the labelled one, and the unlabelled one where it is."""
    return [p for p in (part_of(LABELLED, name), part_of(UNLABELLED, name)) if p in parts]


def _share(part: Batch) -> Share:
    assert part.share is not None
    return part.share


def _pairs(rows: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Two views of one part after the other."""
    return list(zip(rows[::2], rows[1::2], strict=True))


def _places(chosen: Tensor) -> Tensor:
    return chosen.nonzero()[:, 0]
