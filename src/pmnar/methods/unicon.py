"""UNICON: the same number of samples of every class is labelled; the rest is also contrasted.

Karim et al., "UNICON: combating label noise through uniform selection and contrastive learning",
CVPR 2022. It needs to know nothing of the noise.

Departures from its public code, beside that of `SemiSupervised`: both networks have one division,
made with both in eval mode; at least a batch is labelled; a class with too few samples has all of
them labelled, where the code repeats the data set's first one; the projection is normalised over
the batch of all ranks.
"""

from math import e
from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.contrastive import nt_xent
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.methods.measurement import Measurement
from pmnar.methods.semi_supervised import UNLABELLED, Parts, SemiSupervised, part_of
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Terms
from pmnar.networks.projected import Projected, ProjectedNetwork
from pmnar.samples.mixtures import jensen_shannon, selected_share
from pmnar.samples.selection import same_number_of_each_class

BASES = {"e": e, "2": 2.0}
SURE = 0.5
"""A label that diverges by less is taken as it is."""


class UNICON(SemiSupervised):
    """UNICON (Algorithm 1): weak views are predicted from, strong ones are trained on.

    Args:
        setting: what all methods share; its networks tell their features.
        strength: λ_u of the loss without labels, as in `SemiSupervised`.
        jsd_base: of the logarithm in the divergence of label and prediction: `e`, as its code, or
            2, as its paper; only with 2 can `most_divergence` matter.
        most_divergence: d_μ: a mean divergence over it is lowered for the threshold,
        divisor: τ: by this part of its distance from the least divergence, over 0.
        contrast_strength: λ_c of the contrastive loss, at least 0.
        contrast_temperature: its temperature, over 0.
        projection: the number of features that it is made of, at least 1.
        **shared: see `SemiSupervised`.

    Attributes:
        share: R, the share of samples that are labelled, float64 `[]`.

    Raises:
        InputError: a value is out of its range, or networks do not tell their features.
    """

    views = ("weak", "weak", "strong", "strong")
    share: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        strength: float = 30.0,
        jsd_base: str | int = "e",
        most_divergence: float = 0.7,
        divisor: float = 5.0,
        contrast_strength: float = 0.025,
        contrast_temperature: float = 0.05,
        projection: int = 128,
        **shared: Any,
    ) -> None:
        if str(jsd_base) not in BASES:
            raise InputError(f"method.jsd_base must be one of e, 2, got {jsd_base}")
        check_reals("over 0", divisor=divisor, contrast_temperature=contrast_temperature)
        check_reals("at least 0", contrast_strength=contrast_strength)
        check_reals("at least 0", most_divergence=most_divergence)
        check_counts(1, projection=projection)
        super().__init__(
            setting.with_network(Projected(projection, norm=True)), strength=strength, **shared
        )
        self.base, self.most_divergence, self.divisor = (
            BASES[str(jsd_base)],
            most_divergence,
            divisor,
        )
        self.contrast_strength = contrast_strength
        self.contrast_temperature = contrast_temperature
        self.register_buffer("share", torch.ones((), dtype=torch.float64))

    # -- between epochs ---------------------------------------------------------------------------

    def divide(self, epoch: int, measured: Measurement) -> None:
        """Label what diverges least in each class, as many in each (Eqs. 2 to 4)."""
        divergence = jensen_shannon(_confidence(measured), self.base)
        share = selected_share(divergence, self.most_divergence, self.divisor)
        self.share.fill_(share)
        self.labelled[:] = same_number_of_each_class(
            divergence, self.labels, share, self.num_classes, fewest=self.batch_size
        )
        self.clean[:] = torch.where(divergence < SURE, 1, 1 - divergence)

    @property
    def unlabelled_batch_size(self) -> int:
        """`B / 2R`, so that both streams end together where half are labelled."""
        return max(int(self.batch_size / (2 * float(self.share))), 2)

    def scores(self) -> dict[str, Tensor]:
        """`clean_probability`: 1 − the divergence of each label, to base 2, in [0, 1]."""
        return {"clean_probability": 1 - jensen_shannon(_confidence(self.measure()), 2)}

    # -- the loss ---------------------------------------------------------------------------------

    def warm_up(self, batch: Batch) -> dict[str, Terms]:
        """Cross-entropy; nothing is contrasted yet."""
        return {
            name: terms | {"loss_contrastive": self._projected(name).idle()}
            for name, terms in super().warm_up(batch).items()
        }

    def semi_supervised(self, name: str, parts: Parts, targets: Any) -> Terms:
        """The terms of MixMatch, and `λ_c L_c` of what has no label (Eq. 12)."""
        found = super().semi_supervised(name, parts, targets)
        part = parts.get(part_of(UNLABELLED, name))
        loss = self._projected(name).idle() if part is None else self._contrast(name, part)
        return found | {"loss_contrastive": self.contrast_strength * loss}

    def _contrast(self, name: str, part: Batch) -> Tensor:
        """NT-Xent of the strong views, as they are, over the batch of all ranks: a scalar."""
        share, network = part.share, self._projected(name)
        assert share is not None
        left, right = (
            network.on_sphere(share.whole(self.networks.projected(name, view)))
            for view in part.views[2:]
        )
        return nt_xent(left, right, self.contrast_temperature).mean()

    def _projected(self, name: str) -> ProjectedNetwork:
        network = self.networks[name]
        assert isinstance(network, ProjectedNetwork)
        return network


def _confidence(measured: Measurement) -> Tensor:
    """What the mean of both networks gives the given label, `[N]`."""
    return torch.stack(list(measured.confidence.values())).mean(0)
