"""MOIT+: a new classifier, and the features of MOIT tuned, on what neighbours confirm alone.

Ortego et al., "Multi-objective interpolation training for robustness to label noise", CVPR 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch, Stream
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.moit import MOIT
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.runtime.gather import world_size


class MOITPlus(MOIT):
    """MOIT, then MixUp with hard bootstrapping of those samples that it finds clean in the end.

    Args:
        setting: what all methods share.
        contrastive_epochs: of MOIT, at least 1.
        plus_epochs: of what follows, at least 1.
        plus_rate: its learning rate in MOIT's, over 0.
        bootstrap: weight of the prediction beside the label, in [0, 1].
        bootstrap_after: its epochs after which there is such a weight, at least 0.
        **settings: MOIT's.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        contrastive_epochs: int = 250,
        plus_epochs: int = 70,
        plus_rate: float = 0.01,
        bootstrap: float = 0.2,
        bootstrap_after: int = 30,
        **settings: Any,
    ) -> None:
        check_counts(1, plus_epochs=plus_epochs)
        check_reals("over 0", plus_rate=plus_rate)
        check_reals("in [0, 1]", bootstrap=bootstrap)
        check_counts(0, bootstrap_after=bootstrap_after)
        stages = {"contrastive": contrastive_epochs, "plus": plus_epochs}
        super().__init__(setting, stages=stages, **settings)
        if "weak" not in self.views:
            self.views = (*self.views, "weak")
        self.plus_rate = plus_rate
        self.bootstrap, self.bootstrap_after = bootstrap, bootstrap_after

    def streams(self, epoch: int) -> Mapping[str, Stream]:
        """All samples; in the further stage those that are clean.

        Raises:
            InputError: too few are.
        """
        if self.stage_of(epoch)[0] == "contrastive":
            return super().streams(epoch)
        found = self.clean.nonzero()[:, 0].cpu()
        if len(found) < 2 * world_size():
            raise InputError(
                f"neighbours confirm {len(found)} of {len(self.clean)} labels after {epoch - 1} "
                "epochs, too few to train on: raise method.contrastive_epochs, or method.neighbours"
            )
        return {"clean": Stream(found)}

    def begin_stage(self, name: str) -> None:
        """A new classifier; all else goes on."""
        head = next(key for key, module in self.network.named_modules() if module is self._head)
        keys = self.network.state_dict()
        self.restart(name, [key for key in keys if not key.startswith(f"{head}.")])
        self.multiply_rates(self.plus_rate)

    @property
    def _head(self) -> torch.nn.Module:
        return self.network.head

    def losses(self, batch: Batch) -> Losses:
        """MOIT's; then cross-entropy of a mixed weak view with both labels, `[B]`."""
        stage, epoch = self.stage
        if stage == "contrastive":
            return super().losses(batch)
        assert batch.share is not None
        mixing = self._mixing(batch.share, "mixing")
        weak, plain = (batch.views[self.views.index(name)] for name in ("weak", "plain"))
        predicted = self._said_of(plain).argmax(-1) if epoch > self.bootstrap_after else None
        [z] = self.networks.logits_of("first", (mixing([weak]),))

        def loss(given: Tensor, said: Tensor | None) -> Tensor:
            found = cross_entropy(z, given)
            if said is None:
                return found
            return (1 - self.bootstrap) * found + self.bootstrap * cross_entropy(z, said)

        first = loss(batch.labels, predicted)
        said_second = None if predicted is None else mixing.partners([predicted])
        second = loss(mixing.partners([batch.labels]), said_second)
        weight = mixing.weight.to(first.dtype).to(first.device, non_blocking=True)
        mixed = weight * first + (1 - weight) * second
        return {"first": {"loss_first": mixed, "loss_idle": self.network.idle()}}
