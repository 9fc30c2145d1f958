"""Votes of the nearest neighbours, in features that stay as they are: nothing is trained.

An image has the classes of the training images whose features are nearest by cosine, each voting
with its given label and the weight exp(cosine / temperature) (Wu et al., "Unsupervised feature
learning via non-parametric instance discrimination", CVPR 2018). Many neighbours outvote labels
that are wrong at random. It is worth something on a network that comes with features
(`network=timm network.pretrained=true`), and little on one as it is built.

All is known after one ordered pass, before the first epoch: an epoch is enough. What it knows, all
features, is in its checkpoint.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pmnar.checks import check_counts, check_reals
from pmnar.contrastive import similarities
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Measurement
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.networks.features import feature_size
from pmnar.networks.frozen import FrozenNetwork
from pmnar.samples.neighbours import BLOCK, votes
from pmnar.samples.targets import LEAST


class Votes(nn.Module):
    """A head that asks the training set.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
        like: a parameter of the network, for its type.
        size: F.
        neighbours: how many are asked; all others of the training set where it has no more.
        temperature: over 0.

    Attributes:
        bank: features of the training set, of length 1, `[N, F]`; 0 before they are known.
        idle: 0: optimisers, and ranks, want something to train. It has no part in anything.
    """

    bank: Tensor
    labels: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        like: Tensor,
        size: int,
        neighbours: int,
        temperature: float,
    ) -> None:
        super().__init__()
        self.num_classes, self.temperature = num_classes, temperature
        self.count = min(neighbours, len(labels) - 1)
        bank = torch.zeros(len(labels), size, dtype=like.dtype, device=labels.device)
        self.register_buffer("bank", bank)
        self.register_buffer("labels", labels.clone())
        self.idle = nn.Parameter(torch.zeros((), dtype=like.dtype))

    def forward(self, features: Tensor) -> Tensor:
        """Features `[B, F]`, of any length → logarithms of the shares of votes, `[B, K]`."""
        queries = F.normalize(features, dim=-1)
        shares = [self.shares(rows)[0] for rows in torch.split(queries, self.block)]
        found = torch.cat(shares)
        return found.clamp_min(torch.finfo(found.dtype).tiny).log()

    @property
    def block(self) -> int:
        """How many are compared with the training set at a time."""
        return max(BLOCK // len(self.bank), 1)

    def shares(self, queries: Tensor, itself: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The shares of the weighted votes, and of plain ones, `[B, K]` each.

        Args:
            queries: features of length 1, `[B, F]`.
            itself: which of the training set each is, and does not ask, int64 `[B]`; None: none.
        """
        similar = similarities(queries, self.bank, self.temperature)
        if itself is not None:
            similar[torch.arange(len(itself), device=itself.device), itself] = -torch.inf
        nearest = similar.topk(self.count)
        weights = nearest.values.softmax(-1)
        weighted = votes(self.labels, nearest.indices, self.num_classes, weights)
        return weighted, votes(self.labels, nearest.indices, self.num_classes)


class KNN(NoisyLabelMethod):
    """The share of votes that a class has is its probability; no sample votes for itself.

    Args:
        setting: what all methods share; its network tells its features.
        networks: 1.
        neighbours: k, at least 1.
        temperature: over 0: the smaller, the more the nearest rule.

    Attributes:
        agreement: the share of a sample's neighbours that have its label, float32 `[N]`.
        confidence: the share of the weighted votes that its label has, float32 `[N]`.

    Raises:
        InputError: a value is out of its range, or the network does not tell its features.
    """

    views = ("plain",)
    losses_are_apart = True
    needs_features = True
    agreement: Tensor
    confidence: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        neighbours: int = 200,
        temperature: float = 0.07,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for neighbours' votes, got {networks}")
        check_counts(1, neighbours=neighbours)
        check_reals("over 0", temperature=temperature)
        labels, num_classes = setting.labels, len(setting.class_names)

        def voting(network: nn.Module) -> nn.Module:
            kind, size = next(network.parameters()), feature_size(network)
            head = Votes(labels, num_classes, kind, size, neighbours, temperature)
            return FrozenNetwork(network, head)

        super().__init__(setting.with_network(voting))
        self.register_buffer("agreement", torch.zeros(len(labels), device=labels.device))
        self.register_buffer("confidence", torch.zeros(len(labels), device=labels.device))

    @property
    def head(self) -> Votes:
        """The one network's."""
        network = self.networks["first"]
        assert isinstance(network, FrozenNetwork)
        assert isinstance(network.head, Votes)
        return network.head

    def advice(self, epochs: int) -> str | None:
        """That one epoch is as good as many."""
        if epochs == 1:
            return None
        return "nothing is trained, and every epoch is the first again: trainer.max_epochs=1"

    @property
    def remedy(self) -> str:
        """What makes a difference here."""
        return (
            "a network with better features, such as network=timm network.pretrained=true, or "
            "another method.neighbours"
        )

    def losses(self, batch: Batch) -> Losses:
        """`−log` of the votes for the given labels, `[B]`, each at most `−log 1e-4`.

        They are known from the pass.
        """
        loss = -self.confidence[batch.indices].clamp(LEAST, 1).log()
        return {"first": {"loss_first": loss + 0 * self.head.idle}}

    def prepare_epoch(self, epoch: int) -> None:
        """Before the first epoch: look at the training set, and let it vote on itself."""
        if epoch == 1:
            features = self.ordered_pass(
                lambda said, batch: {"features": F.normalize(said["first"].known_features, dim=-1)}
            )["features"]
            self.head.bank.copy_(features)
            self.measure()
        self.record["agreement"] = float(self.agreement.double().mean())

    def measure(self) -> Measurement:
        """What its neighbours say of each training sample; the pass was made."""
        if self.measurement is None:
            everybody = torch.arange(len(self.labels), device=self.labels.device)
            found = [self._said_of(rows) for rows in torch.split(everybody, self.head.block)]
            confidence, agreement, top, predicted = map(torch.cat, zip(*found, strict=True))
            self.confidence.copy_(confidence)
            self.agreement.copy_(agreement)
            said = {"confidence": confidence.float(), "prediction": predicted, "top": top.float()}
            self.measurement = Measurement.of({f"{key} first": v for key, v in said.items()})
        return self.measurement

    def _said_of(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Weighted and plain votes for the given label; the most votes, and for which class."""
        weighted, plain = self.head.shares(self.head.bank[rows], rows)
        given = self.labels[rows, None]
        of_given = (shares.gather(-1, given).squeeze(-1) for shares in (weighted, plain))
        return *of_given, *weighted.max(-1)

    def scores(self) -> dict[str, Tensor]:
        """`agreement`: the share of a sample's neighbours that have its label, in [0, 1]."""
        return {"agreement": self.agreement}
