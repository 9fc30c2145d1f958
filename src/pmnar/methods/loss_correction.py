"""Loss correction: the loss is corrected by how likely each class is given each label.

Patrini et al., "Making deep neural networks robust to label noise: a loss correction approach",
CVPR 2017: `f_correction`, `b_correction`. They must know the matrix of the noise, or estimate it
by a first network's predictions.

Departures: both stages end with their last epoch, where the paper takes the best one by the loss on
noisy labels that are held out; predictions that the matrix is estimated from are of images as they
are; the part of the identity that a matrix takes to be inverted, an advice of the paper, is found
for an estimated one.
"""

from collections.abc import Mapping

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data import NoisyDataModule
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, explained, soft_cross_entropy
from pmnar.methods.measurement import Outputs
from pmnar.methods.setting import Setting
from pmnar.methods.stages import StagedMethod
from pmnar.methods.terms import Losses
from pmnar.noise.matrix import check_matrix, read_matrix
from pmnar.samples import transition

CORRECTIONS = ("forward", "backward")
ESTIMATE, TRUE = "estimate", "true"
PLAIN, CORRECTED = "plain", "corrected"


class LossCorrection(StagedMethod):
    """A network on the given labels, whose predictions tell the noise; a new one that knows it.

    Args:
        setting: what all methods share.
        plain_epochs: of the first stage, at least 1.
        corrected_epochs: of the second, at least 1.
        networks: 1.
        correction: `forward`: the prediction is turned into one of given labels; `backward`: the
            loss into one that is right in the mean.
        matrix: P(given | true): `estimate`; `true`, that of the true labels, which must be known;
            or a file, .npy, .npz, .csv or .txt. Where it is given there is no first stage.
        percentile: see `from_anchors`, in (0, 100].
        identity_share: the identity's part in the matrix, in [0, 1).

    Attributes:
        transition: the matrix, float64 `[K, K]`, 0 until it is known.
        inverse: of backward correction, its inverse.

    Raises:
        InputError: a value is out of its range, or the file holds no such matrix.
    """

    transition: Tensor
    inverse: Tensor
    schedules = 2

    def __init__(
        self,
        setting: Setting,
        *,
        plain_epochs: int,
        corrected_epochs: int,
        networks: int = 1,
        correction: str = "forward",
        matrix: str | bool = ESTIMATE,
        percentile: float = 97.0,
        identity_share: float = 0.0,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for loss correction, got {networks}")
        if correction not in CORRECTIONS:
            allowed = " or ".join(CORRECTIONS)
            raise InputError(f"method.correction must be {allowed}, got {correction}")
        check_reals("in (0, 100]", percentile=percentile)
        check_reals("in [0, 1)", identity_share=identity_share)
        check_counts(1, plain_epochs=plain_epochs, corrected_epochs=corrected_epochs)
        self.matrix = _told(matrix)
        stages = {PLAIN: plain_epochs} if self.matrix == ESTIMATE else {}
        super().__init__(setting, {**stages, CORRECTED: corrected_epochs})
        self.correction, self.percentile = correction, percentile
        self.identity_share = identity_share
        unknown = torch.zeros(
            self.num_classes, self.num_classes, dtype=torch.float64, device=self.labels.device
        )
        self.register_buffer("transition", unknown)
        self.register_buffer("inverse", unknown.clone() if correction == "backward" else None)
        if self.matrix not in (ESTIMATE, TRUE):
            read = read_matrix(self.matrix, "method.matrix")
            told = check_matrix(read, self.num_classes, f"method.matrix: {self.matrix}")
            self._take_given(torch.from_numpy(told), f"method.matrix: {self.matrix}")

    # -- the matrix -------------------------------------------------------------------------------

    def attach(self, data: NoisyDataModule) -> None:
        """Count what true labels are given, where the matrix is theirs; the run says so.

        Raises:
            InputError: they are not known.
        """
        super().attach(data)
        if self.matrix != TRUE:
            return
        if data.labels.true is None:
            raise InputError(
                "method.matrix=true needs true labels, and these are not known: set "
                f"method.matrix={ESTIMATE}, or to a file"
            )
        counted = torch.from_numpy(data.labels.transition_matrix())
        self._take_given(counted, "method.matrix=true")
        data.true_labels = len(data.labels.true)

    def _take_given(self, matrix: Tensor, source: str) -> None:
        """Go by a matrix that is told."""
        matrix = transition.with_identity(matrix, self.identity_share)
        if torch.equal(matrix, matrix[:1].expand_as(matrix)):
            raise InputError(f"{source} must have rows that differ: by these a label tells nothing")
        if self.correction == "backward":
            transition.check_invertible(matrix, source)
        self._take(matrix)

    def _take(self, matrix: Tensor) -> None:
        self.transition.copy_(matrix)
        if self.correction == "backward":
            self.inverse.copy_(torch.linalg.inv(matrix))

    def prepare_epoch(self, epoch: int) -> None:
        """Estimate the matrix when the first stage is over."""
        if self._is_over(epoch - 1):
            said = self.measure().kept["said"].cpu()
            self.measurement = None  # which has N × K numbers
            estimated = transition.from_anchors(said, self.percentile)
            share = self.identity_share
            if self.correction == "backward":
                share = transition.share_to_invert(estimated, share)
            if share > self.identity_share:
                rank_zero_warn(
                    "the estimated matrix can hardly be inverted as it is: the identity is "
                    f"{share:.0%} of what is (method.identity_share)"
                )
            self._take(transition.with_identity(estimated, share))

    def _is_over(self, epochs: int) -> bool:
        """Whether the first stage ends with this epoch (1-based)."""
        return self.stages.get(PLAIN) == epochs

    def begin_stage(self, name: str) -> None:
        """A new network."""
        self.restart(name)

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy, then the corrected loss, `[B]`; backward's may be below 0."""
        [z] = self.networks.logits(batch.views)["first"]
        if self.stage[0] == PLAIN:
            loss = cross_entropy(z, batch.labels)
        elif self.correction == "forward":
            loss = explained(z, self.transition.T[batch.labels])
        else:
            loss = soft_cross_entropy(z, self.inverse[batch.labels])
        return {"first": {"loss_first": loss}}

    # -- what a run tells -------------------------------------------------------------------------

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`said`: probabilities, at the end of the first stage; else `right`, see `scores`."""
        p = outputs["first"].probabilities
        if not self._is_known:
            return {"said": p} if self._is_over(self.current_epoch + 1) else {}
        each = (p * self.transition.T[batch.labels]).float()
        of_given = each.gather(-1, batch.labels[:, None])[:, 0]
        total = each.sum(-1)
        return {"right": torch.where(total > 0, of_given / total, 0)}

    @property
    def _is_known(self) -> bool:
        return bool(self.transition.any())

    def scores(self) -> dict[str, Tensor]:
        """`right`: how likely the given label is the true one, by prediction and matrix, `[0, 1]`.

        P(true = y | x, given = y) = p_y T_yy / Σ_i p_i T_iy.
        """
        return {"right": self.measure().kept["right"]} if self._is_known else {}

    def matrices(self) -> Mapping[str, Tensor]:
        """`transition`, once it is known."""
        return {"transition": self.transition} if self._is_known else {}


def _told(matrix: object) -> str:
    """What `method.matrix` says, as text: a bare `true` of the command line is none."""
    if matrix is True:
        return TRUE
    if not isinstance(matrix, str) or not matrix:
        allowed = f"{ESTIMATE}, {TRUE} or a file"
        raise InputError(f"method.matrix must be {allowed}, got {matrix}")
    return matrix
