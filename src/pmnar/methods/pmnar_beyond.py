"""What PMNAR may do beyond its paper; nothing of it unless asked for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pmnar.checks import check_reals
from pmnar.data.batches import Share
from pmnar.errors import InputError
from pmnar.methods.measurement import Measurement, Outputs
from pmnar.methods.networks import Logits, Networks
from pmnar.networks.statistics import untracked
from pmnar.samples.memory import RunningMean
from pmnar.samples.neighbours import balanced_votes, neighbours_asked
from pmnar.samples.prior import TARGETS, RunningPrior
from pmnar.samples.readiness import KNOWN, agreement, trust
from pmnar.samples.reweighting import normalised, relative_weights
from pmnar.samples.targets import sharpened

CHOICES = {
    "weights": ("absolute", "relative", "trusted"),
    "normalise": ("none", "mean"),
    "consistency": ("plain", "by_weight"),
    "warmup": ("epochs", "ready"),
    "prior": ("none", *TARGETS),
    "views_trained": ("weak", "strong_mixed"),
    "neighbours": ("none", "vote"),
    "statistics": ("all", "weak"),
}


class Beyond(nn.Module):
    """The switches of PMNAR that its paper does not have, and what they remember.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
        networks: how many.
        weights: `relative`: a label's probability over that of the likeliest class, both of the
            networks' mean, averaged over epochs; it keeps `[N, K]`. `trusted`: the same, nearer to
            1 the less the networks agree (`trust`). `absolute` is the paper's.
        normalise: `mean` divides the weighted losses by the sum of a batch's weights, not by their
            number.
        consistency: `by_weight` scales the consistency by a batch's mean weight.
        warmup: `ready`: reweighting begins at the first epoch past the warm-up before which the
            networks agree with each other, or a single one with itself an epoch ago, by at least
            `KNOWN` beyond chance.
        prior: frees logits of how often each class is predicted: of all of it with `uniform`, with
            `given` of what goes beyond its share of the given labels, with `warmup` of what has
            changed since the samples are weighed.
        views_trained: `strong_mixed` trains on mixed strong views towards refurbished targets, see
            `pmnar_mixed`, in place of the weak view's loss and the consistency.
        neighbours: `vote` multiplies a weight by the share of votes that the label has among the
            sample's neighbours over that of the class that has most, by the giver's features.
        temperature: of the networks' mean as a target, in (0, 1]; below 1 it is sharpened.
        statistics: `weak` keeps BatchNorm's running statistics to the weak view.
        memory: how much of its past an average over epochs keeps, in [0, 1).
    """

    begun: Tensor
    earlier: Tensor

    def __init__(
        self,
        labels: Tensor,
        num_classes: int,
        networks: int,
        *,
        weights: str = "absolute",
        normalise: str = "none",
        consistency: str = "plain",
        warmup: str = "epochs",
        prior: str = "none",
        views_trained: str = "weak",
        neighbours: str = "none",
        temperature: float = 1.0,
        statistics: str = "all",
        memory: float = 0.5,
    ) -> None:
        super().__init__()
        self.weights, self.normalise, self.consistency = weights, normalise, consistency
        self.warmup, self.views_trained, self.statistics = warmup, views_trained, statistics
        self.neighbours, self.waits = neighbours, False
        for key, allowed in CHOICES.items():
            value = prior if key == "prior" else getattr(self, key)
            if value not in allowed:
                raise InputError(f"method.{key} must be one of {', '.join(allowed)}, got {value}")
        check_reals("in (0, 1]", temperature=temperature)
        check_reals("in [0, 1)", memory=memory)
        self.num_classes, self.temperature = num_classes, temperature
        self.prior: RunningPrior | None = None
        if prior != "none":
            self.prior = RunningPrior(labels, num_classes, networks, prior)
        self.mean: RunningMean | None = None
        if weights != "absolute":
            nothing = labels.new_zeros(len(labels), num_classes, dtype=torch.float32)
            self.mean = RunningMean(nothing, memory)
        if warmup == "ready" or weights == "trusted":
            self.register_buffer("begun", labels.new_zeros((), dtype=torch.bool))
            self.register_buffer("earlier", torch.zeros_like(labels))

    # -- in a step --------------------------------------------------------------------------------

    def logits(self, networks: Networks, views: tuple[Tensor, ...]) -> Logits:
        """Every network's logits of every view."""
        if self.statistics == "all" or len(views) == 1:
            return networks.logits(views)
        weak = networks.logits(views[:1])
        with untracked(networks):
            strong = networks.logits(views[1:])
        return {name: (*weak[name], *strong[name]) for name in networks}

    def shifted(self, logits: Tensor, network: int) -> Tensor:
        """Logits `[B, K]` of a network as its losses take them: `z + log π` with a prior."""
        return logits if self.prior is None else logits + self.prior.shift(network)

    def of_batch(
        self, weights: Tensor, beta: float, share: Share
    ) -> tuple[Tensor, Sequence[float | Tensor]]:
        """A batch's weights `[networks, B]`, and the strength of each network's consistency."""
        strengths: Sequence[float | Tensor] = [beta] * len(weights)
        if self.normalise == "none" and self.consistency == "plain":
            return weights, strengths
        mean = torch.stack([share.whole(each) for each in weights]).mean(1)
        if self.consistency == "by_weight":
            strengths = (beta * mean).unbind()
        return normalised(weights, mean) if self.normalise == "mean" else weights, strengths

    def target(self, weak: Sequence[Tensor]) -> Tensor:
        """The mean of the networks' probabilities on the weak view, `[B, K]`, as a target."""
        said = [z.float().softmax(-1) for z in weak]
        if self.prior is not None:
            said = [self.prior.debiased(p, network) for network, p in enumerate(said)]
        mean = torch.stack(said).mean(0)
        return mean if self.temperature == 1 else sharpened(mean, self.temperature)

    @torch.no_grad()
    def follow(self, weak: Tensor, share: Share) -> None:
        """Remember what the networks predicted in this step: logits `[networks, B, K]`."""
        if self.prior is not None:
            for network, z in enumerate(weak):
                self.prior.follow(network, share.whole(z.float().softmax(-1)))

    # -- between epochs ---------------------------------------------------------------------------

    def measures(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """What to keep of the ordered pass, `[B, ...]` each by name."""
        found: dict[str, Tensor] = {}
        probabilities = {name: output.probabilities for name, output in outputs.items()}
        if self.prior is not None:
            freed = enumerate(probabilities.items())
            probabilities = {name: self.prior.debiased(p, network) for network, (name, p) in freed}
            for name, p in probabilities.items():
                found[f"belief_{name}"] = p.gather(-1, labels[:, None]).squeeze(-1)
        if self.mean is not None:
            found["mean"] = torch.stack(list(probabilities.values())).mean(0)
        if self.neighbours == "vote":
            found |= {f"features_{name}": output.known_features for name, output in outputs.items()}
        return found

    def agreed(self, measured: Measurement) -> float | None:
        """How far the networks agree, a single one with itself at the pass before, where needed."""
        if self.warmup == "epochs" and self.weights != "trusted":
            return None
        first = measured.prediction["first"]
        second = measured.prediction.get("second", self.earlier)
        found = float(agreement(first, second, self.num_classes))
        self.earlier.copy_(first)
        return found

    def has_begun(self, agreed: float | None) -> bool:
        """Whether samples may be weighed by what was measured; once they may, they always may."""
        if self.warmup == "epochs" or agreed is None:
            return True
        self.begun |= agreed >= KNOWN
        self.waits = not bool(self.begun)
        return not self.waits

    def begin(self) -> None:
        """Note that samples are weighed from now on."""
        if self.prior is not None:
            self.prior.freeze()

    def confidence(self, measured: Measurement, giver: str) -> Tensor:
        """What a network holds of each given label, `[N]` in [0, 1], for the paper's weights."""
        if self.prior is not None:
            return measured.kept[f"belief_{giver}"]
        return measured.confidence[giver]

    def relative(
        self, measured: Measurement, labels: Tensor, agreed: float | None
    ) -> Tensor | None:
        """The weights `[N]` that take the place of the paper's; None where none do."""
        if self.mean is None:
            return None
        self.mean.follow(measured.kept["mean"])
        weights = relative_weights(self.mean.values, labels)
        return weights if self.weights == "relative" else 1 - trust(agreed or 0) * (1 - weights)

    def voted(self, measured: Measurement, labels: Tensor, giver: str) -> Tensor | float:
        """What neighbours multiply a weight by, by the features of a network: `[N]` in [0, 1]."""
        if self.neighbours == "none":
            return 1.0
        features = measured.kept[f"features_{giver}"]
        found = balanced_votes(features, labels, self.num_classes, neighbours_asked(len(labels)))
        return relative_weights(found, labels)

    def never_began(self) -> str | None:
        """What to say at the end of a run in which nothing was ever reweighted."""
        if not self.waits:
            return None
        return (
            f"no sample was reweighted: the predictions never agreed by {KNOWN:g} beyond chance "
            "(agreement in metrics.csv); train for longer, or set method.warmup=epochs"
        )
