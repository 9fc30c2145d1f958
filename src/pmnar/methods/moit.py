"""MOIT and MOIT+: features of mixed images tell whose neighbours have other labels.

Ortego et al., "Multi-objective interpolation training for robustness to label noise", CVPR 2021.
Neither needs to know anything of the noise.

Departures from the public code: in the contrastive loss every image counts once, where the code
counts the second image of a mix, and an image's other view, twice in places; the mixed views are
the data set's own, weak or strong (`view`), not SimCLR's; the predictions on images as they are are
made where they are used alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.contrastive import interpolated_supervised
from pmnar.data.batches import Batch, Share
from pmnar.errors import InputError
from pmnar.losses import cross_entropy, soft_cross_entropy
from pmnar.methods.measurement import Outputs
from pmnar.methods.mixing import Mixing
from pmnar.methods.setting import Setting
from pmnar.methods.stages import StagedMethod
from pmnar.methods.terms import Losses, Terms
from pmnar.networks.projected import Projected, ProjectedNetwork
from pmnar.samples.neighbours import agreed, nearest, votes


class MOIT(StagedMethod):
    """Interpolated supervised contrastive learning, and classification of what neighbours confirm.

    Args:
        setting: what all methods share.
        networks: 1.
        view: of the two that are mixed: `weak`, or `strong`.
        alpha: of MixUp, over 0.
        temperature: τ of the contrastive loss, over 0.
        projection: size of the projected features, at least 1.
        memory: projected features that are remembered, of a view and class, at least 1.
        memory_after: epochs after which images are compared with these too, at least 0.
        neighbours: whose labels are counted, at least 1.
        guess_after: epochs after which labels that neighbours do not confirm are replaced by
            predictions, at least 0.
        symmetric_clean: whether a mix's second label is trusted as the second image is; if not,
            as the first one is, as in the public code.

    Attributes:
        bank, bank_labels, bank_place: remembered features `[M, P]`, their labels `[M]`, -1 where
            there are none, and where the next go.
        clean: whose label is confirmed, bool `[N]`.
        agreement: the share of the neighbours that have the given label, `[N]`.

    Raises:
        InputError: a value is out of its range, or the network does not tell its features.
    """

    needs_features = True
    bank: Tensor
    bank_labels: Tensor
    bank_place: Tensor
    clean: Tensor
    agreement: Tensor

    def __init__(
        self,
        setting: Setting,
        *,
        stages: Mapping[str, int] | None = None,
        networks: int = 1,
        view: str = "weak",
        alpha: float = 1.0,
        temperature: float = 0.1,
        projection: int = 128,
        memory: int = 100,
        memory_after: int = 3,
        neighbours: int = 250,
        guess_after: int = 130,
        symmetric_clean: bool = False,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for MOIT, got {networks}")
        if view not in ("weak", "strong"):
            raise InputError(f"method.view must be weak or strong, got {view}")
        check_reals("over 0", alpha=alpha, temperature=temperature)
        check_counts(1, projection=projection, memory=memory, neighbours=neighbours)
        check_counts(0, memory_after=memory_after, guess_after=guess_after)
        super().__init__(setting.with_network(Projected(projection)), stages or {"contrastive": 1})
        self.views = (view, view, "plain")
        self.alpha, self.temperature, self.neighbours = alpha, temperature, neighbours
        self.memory_after, self.guess_after = memory_after, guess_after
        self.symmetric_clean = symmetric_clean
        places, size = 2 * memory * self.num_classes, len(self.labels)
        self.register_buffer("bank", torch.zeros(places, projection))
        self.register_buffer("bank_labels", torch.full((places,), -1))
        self.register_buffer("bank_place", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clean", torch.ones(size, dtype=torch.bool))
        self.register_buffer("agreement", torch.zeros(size))

    @property
    def network(self) -> ProjectedNetwork:
        """The one there is."""
        network = self.networks["first"]
        assert isinstance(network, ProjectedNetwork)
        return network

    def events(self) -> dict[str, int]:
        """Where guesses stand in for labels too."""
        begin = self.guess_after
        come = self.stage_of(begin + 1)[0] == "contrastive"
        return super().events() | ({"guesses begin": begin} if come else {})

    # -- losses -----------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> Losses:
        """Classification of both mixed views, and how they compare with each other, `[B]` each."""
        share = batch.share
        assert share is not None
        guess = None
        if self.current_epoch >= self.guess_after:  # first: compiled, it writes statistics
            guess = self._said_of(batch.views[2])
        mixings = [self._mixing(share, f"mixing {view}") for view in range(2)]
        said = [
            self.networks.outputs(mixing([view]), features=True)["first"]
            for mixing, view in zip(mixings, batch.views[:2], strict=True)
        ]
        classified = [
            self._classification(output.logits, mixing, guess, batch)
            for output, mixing in zip(said, mixings, strict=True)
        ]
        projected = [self.network.project(o.known_features) for o in said]
        found = {"loss_first": torch.stack(classified).mean(0)}
        return {"first": found | self._contrast(projected, mixings, batch)}

    def _mixing(self, share: Share, purpose: str) -> Mixing:
        return Mixing([share], self.alpha, larger=True, purpose=purpose)

    @torch.no_grad()
    def _said_of(self, images: Tensor) -> Tensor:
        """Probabilities, normalised by the batch as in training, `[B, K]`."""
        [z] = self.networks.logits_of("first", (images,))
        return (z if z.dtype == torch.float64 else z.float()).softmax(-1)

    def _classification(
        self, logits: Tensor, mixing: Mixing, guess: Tensor | None, batch: Batch
    ) -> Tensor:
        """Cross-entropy with both labels, or the guess in the place of one not confirmed, `[B]`."""
        first = cross_entropy(logits, batch.labels)
        second = cross_entropy(logits, mixing.partners([batch.labels]))
        weight = mixing.weight.to(first.dtype).to(first.device, non_blocking=True)
        if guess is None:
            return weight * first + (1 - weight) * second
        clean = self.clean[batch.indices].to(first.dtype)
        clean_second = mixing.partners([clean])
        guessed = soft_cross_entropy(logits, guess)
        guessed_second = soft_cross_entropy(logits, mixing.partners([guess]))
        trusted = clean_second if self.symmetric_clean else clean
        of_first = clean * first + (1 - clean) * guessed
        of_second = trusted * second + (1 - clean_second) * guessed_second
        return weight * of_first + (1 - weight) * of_second

    def _contrast(self, projected: list[Tensor], mixings: list[Mixing], batch: Batch) -> Terms:
        """The contrastive loss within the global batch, and with what is remembered."""
        share = batch.share
        assert share is not None
        device, (anchors, labels) = batch.labels.device, (torch.cat(projected), batch.labels)
        others = torch.cat([share.whole(view) for view in projected])
        of_others = share.whole(labels).repeat(2)
        partners = torch.cat([mixing.partners([labels]) for mixing in mixings])
        weights = [mixing.weight.to(device, non_blocking=True) for mixing in mixings]
        weight = torch.stack(weights).repeat_interleave(len(labels))
        mine = share.take(torch.arange(share.size, device=device))
        mine = torch.cat([mine, mine + share.size])

        def compared(rows: Tensor, of_rows: Tensor, places: Tensor) -> Tensor:
            itself = places[mine][:, None] == torch.arange(len(rows), device=device)
            both = (labels.repeat(2), partners)
            loss = interpolated_supervised(
                anchors, rows, both, of_rows, itself, weight, self.temperature
            )
            return loss.reshape(2, -1).mean(0)

        places = torch.arange(len(others), device=device)
        found = {"loss_contrast": compared(others, of_others, places)}
        places = self._remember(others.detach(), of_others)
        if self.current_epoch >= self.memory_after:
            found["loss_memory"] = compared(self.bank.clone(), self.bank_labels, places)
        return found

    @torch.no_grad()
    def _remember(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Put a global batch in the place of the oldest; where each row is then, `[2B]`, or -1."""
        size, room = len(rows), len(self.bank)
        order = torch.arange(size, device=rows.device)
        places = (self.bank_place + order) % room
        self.bank[places[-room:]] = rows[-room:].to(self.bank.dtype)
        self.bank_labels[places[-room:]] = labels[-room:]
        self.bank_place.add_(size).remainder_(room)
        return torch.where(order >= size - room, places, -1)

    # -- between epochs ---------------------------------------------------------------------------

    def prepare_epoch(self, epoch: int) -> None:
        """Ask each sample's neighbours, first for their given labels, then for those corrected."""
        if epoch > 1 and self.stage_of(epoch - 1)[0] == "contrastive":
            found = nearest(self.measure().kept["projected"], self.neighbours)
            corrected = votes(self.labels, found, self.num_classes).argmax(-1)
            shares = votes(corrected, found, self.num_classes)
            self.agreement.copy_(shares.gather(-1, self.labels[:, None]).squeeze(-1))
            self.clean.copy_(agreed(shares, self.labels))
        self.record["clean"] = float(self.clean.double().mean())

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Projected features."""
        return {"projected": self.network.project(outputs["first"].known_features)}

    def scores(self) -> dict[str, Tensor]:
        """`agreement`: the share of a sample's neighbours that have its label, in [0, 1]."""
        return {"agreement": self.agreement}
