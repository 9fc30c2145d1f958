"""SSR and SSR+: labels that the network is sure to know better are replaced, neighbours choose.

Feng, Tzimiropoulos and Patras, "SSR: an efficient and robust framework for learning with unknown
label noise", BMVC 2022. Neither needs to know anything of the noise; what suits of `relabel`
depends on the data. There is no warm-up.

Departures from the public code: features and predictions are of images as they are, not of a weak
view; the first epoch, which is drawn before anything is known, takes all labels as given; classes
are as frequent over an epoch, where the code repeats each up to the largest one's number, and that
as often as it takes; at least a batch is kept, of what neighbours agree with most. SSR+: the
projections are normalised over the batch of all ranks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch, Share, Stream
from pmnar.errors import InputError
from pmnar.losses import soft_cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Outputs
from pmnar.methods.mixing import Mixing
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.names import TRAIN
from pmnar.networks.predicted import Predicted, PredictedNetwork, negative_cosine
from pmnar.runtime.seeding import derive_seed
from pmnar.samples.neighbours import balanced_votes, neighbours_asked
from pmnar.samples.reweighting import relative_weights
from pmnar.samples.selection import most_likely, same_frequency
from pmnar.samples.targets import one_hot

KEPT = "kept"


class SSR(NoisyLabelMethod):
    """Cross-entropy of mixed strong views of what neighbours confirm, its classes balanced.

    Args:
        setting: what all methods share; its network tells its features.
        networks: 1.
        relabel: θ_r in [0, 1]: a label is replaced, for one epoch, by a prediction that is likelier
            than this; 1: none is.
        select: θ_s in [0, 1]: a sample is kept whose label has at least this share of the votes
            that the most frequent class has among its neighbours; 0: all are.
        neighbours: k, itself among them, at least 1, all samples where there are fewer; None: by
            how many samples there are (`neighbours_asked`).
        alpha: of MixUp, over 0.

    Attributes:
        targets: the labels of this epoch, int64 `[N]`.
        kept: which samples it is drawn from, bool `[N]`.
        vote: the votes for the given label over those for the most frequent one, `[N]` in [0, 1].

    Raises:
        InputError: a value is out of its range, or the network does not tell its features.
    """

    views: tuple[str, ...] = ("strong", "strong")
    losses_are_apart = True
    needs_features = True
    targets: Tensor
    kept: Tensor
    vote: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        relabel: float = 0.9,
        select: float = 1.0,
        neighbours: int | None = None,
        alpha: float = 4.0,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for SSR, got {networks}")
        check_reals("in [0, 1]", relabel=relabel, select=select)
        check_counts(1, True, neighbours=neighbours)
        check_reals("over 0", alpha=alpha)
        super().__init__(setting)
        self.relabel, self.select, self.alpha = relabel, select, alpha
        samples = len(self.labels)
        self.neighbours = min(neighbours or neighbours_asked(samples), samples)
        self.register_buffer("targets", self.labels.clone())
        self.register_buffer("kept", torch.ones_like(self.labels, dtype=torch.bool))
        self.register_buffer("vote", torch.ones_like(self.labels, dtype=torch.float32))
        self.batch_size = 2

    def attach(self, data: NoisyDataModule) -> None:
        """Ask for views and streams, and keep how many samples a batch has."""
        super().attach(data)
        self.batch_size = data.batch_size

    # -- between epochs ---------------------------------------------------------------------------

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Features."""
        return {"features": outputs["first"].known_features}

    def prepare_epoch(self, epoch: int) -> None:
        """Replace labels, then ask neighbours which to keep. The first epoch is drawn before."""
        if epoch == 1:
            return
        measured = self.measure()
        sure = measured.top["first"] > self.relabel
        self.targets.copy_(torch.where(sure, measured.prediction["first"], self.labels))
        features = measured.kept["features"]
        shares = balanced_votes(features, self.targets, self.num_classes, self.neighbours)
        agreed = relative_weights(shares, self.targets)
        self.kept.copy_((agreed >= self.select) | most_likely(agreed, 1, self.batch_size))
        self.vote.copy_(relative_weights(shares, self.labels))
        self.record["kept"] = float(self.kept.double().mean())
        self.record["relabelled"] = float((self.targets != self.labels).double().mean())

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """As many draws from what is kept as there are samples, as many of each class."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, KEPT, epoch))
        if epoch == 1:
            targets = self._setting.labels.cpu()
            kept = torch.ones_like(targets, dtype=torch.bool)
        else:
            targets, kept = self.targets.cpu(), self.kept.cpu()
        return {KEPT: Stream(same_frequency(targets, kept, len(targets), generator))}

    def scores(self) -> dict[str, Tensor]:
        """`vote`: what neighbours' labels, as they are replaced, say of the given one."""
        return {"vote": self.vote}

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of both views, mixed with others of the batch: a scalar."""
        part = batch.parts[KEPT]
        mixing = Mixing([part.share, part.share], self.alpha, larger=True)
        target = one_hot(self.targets[part.indices], self.num_classes)
        [z] = self.networks.logits_of("first", (mixing(part.views[-2:]),))
        both = soft_cross_entropy(z, mixing([target, target]))
        return {"first": {"loss_first": part.share.mean(torch.stack(both.chunk(2)).mean(0))}}


class SSRPlus(SSR):
    """SSR, and features of strong views that predict those of weak ones, of all samples.

    Args:
        setting: what all methods share.
        consistency: weight of that, at least 0.
        projection: size of the projected features, at least 1.
        hidden: size of the layers before these, at least 1.
        **shared: see `SSR`.

    Raises:
        InputError: a value is out of its range, or the network does not tell its features.
    """

    views = ("weak", "strong", "strong")

    def __init__(
        self,
        setting: Setting,
        *,
        consistency: float = 1.0,
        projection: int = 128,
        hidden: int = 256,
        **shared: Any,
    ) -> None:
        check_reals("at least 0", consistency=consistency)
        check_counts(1, projection=projection, hidden=hidden)
        super().__init__(setting.with_network(Predicted(projection, hidden)), **shared)
        self.consistency = consistency

    @property
    def network(self) -> PredictedNetwork:
        """The one there is."""
        network = self.networks["first"]
        assert isinstance(network, PredictedNetwork)
        return network

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples, and beside them SSR's draws."""
        everybody = Stream(torch.arange(len(self.labels)))
        return {TRAIN: everybody, **super().streams(epoch)}

    def losses(self, batch: Batch) -> Losses:
        """SSR's, and the consistency of the features: scalars."""
        part, found = batch.parts[TRAIN], super().losses(batch)["first"]
        consistency = self.consistency * self._consistency(part.views, part.share)
        return {"first": found | {"loss_consistency": consistency}}

    def _consistency(self, views: tuple[Tensor, ...], share: Share) -> Tensor:
        """Mean negative cosine over the batch of all ranks; the weak view has no gradient."""
        with torch.no_grad():
            target = self._projected(views[0], share)
        predicted = self.network.prediction(self._projected(views[1], share))
        return negative_cosine(predicted, target).mean()

    def _projected(self, images: Tensor, share: Share) -> Tensor:
        features = self.networks.outputs(images, features=True)["first"].known_features
        projected: Tensor = self.network.projection(share.whole(features))
        return projected
