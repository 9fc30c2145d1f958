"""Noise adaptation layers: the matrix of the noise is learnt as an output layer of the network.

Sukhbaatar et al., "Training convolutional networks with noisy labels", ICLR 2015 workshop (the
bottom-up model): `linear`; Goldberger and Ben-Reuven, "Training deep neural-networks using a noise
adaptation layer", ICLR 2017: `simple`, `complex`. They need to know nothing of the noise. Testing
and the ordered pass are without the layer.

Departures: rows are probabilities by a softmax in all three, where Sukhbaatar et al. project a
matrix; its trace is penalised by a strength of ours (UNVERIFIED: what the paper's was); the layer
has the network's optimiser, and what weight decay pulls it to is its beginning; the first training
without it is a warm-up, not a run of its own, and nothing is held out to end it by.
"""

from collections.abc import Mapping
from math import log

import torch
from torch import Tensor

from pmnar.checks import check_counts, check_reals
from pmnar.data.batches import Batch
from pmnar.errors import InputError
from pmnar.losses import cross_entropy
from pmnar.methods.base import NoisyLabelMethod
from pmnar.methods.measurement import Outputs
from pmnar.methods.setting import Setting
from pmnar.methods.terms import Losses
from pmnar.methods.warm_up import ends_in_warm_up
from pmnar.networks import NoiseLayer, WithNoiseLayer
from pmnar.samples.targets import one_hot

MODELS = ("linear", "simple", "complex")
DIAGONAL = 5.0
"""Of the linear model's logarithms at first, the others being 0: nearly the identity."""
WRONG = 0.46
"""Share of wrong labels that the others begin with where there is no warm-up."""
LEAST = 1e-8
"""Added to probabilities that the matrix begins with."""


class NoiseAdaptation(NoisyLabelMethod):
    """Cross-entropy of the labels that a layer makes of predictions.

    Args:
        setting: what all methods share.
        networks: 1.
        model: `linear`; `simple`, which begins with what the network says after the warm-up;
            `complex`, whose matrix depends on the features too.
        warmup_epochs: epochs without the layer, at least 0.
        trace: of the linear model: strength of the pull of the matrix from the identity, at least
            0.

    Raises:
        InputError: a value is out of its range.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        networks: int = 1,
        model: str = "simple",
        warmup_epochs: int = 10,
        trace: float = 0.1,
    ) -> None:
        if networks != 1:
            raise InputError(f"method.networks must be 1 for noise adaptation, got {networks}")
        if model not in MODELS:
            raise InputError(f"method.model must be one of {', '.join(MODELS)}, got {model}")
        check_counts(0, warmup_epochs=warmup_epochs)
        check_reals("at least 0", trace=trace)
        self.model, self.warmup_epochs, self.trace = model, warmup_epochs, trace
        start = _beginning(model, len(setting.class_names))
        wrap = WithNoiseLayer(start, model == "complex")
        super().__init__(setting.with_network(wrap), networks=1)
        self.needs_features = model == "complex"

    @property
    def layer(self) -> NoiseLayer:
        """The network with its layer."""
        network = self.networks["first"]
        assert isinstance(network, NoiseLayer)
        return network

    def prepare_epoch(self, epoch: int) -> None:
        """After the warm-up: let the matrix begin with what the network says, and set it to work.

        `T_ij = Σ_t [y_t = j] p_i(x_t) / Σ_t p_i(x_t)`.
        """
        if epoch != self.warmup_epochs + 1:
            return
        if self.model != "linear" and self.warmup_epochs:
            said = self.measure().kept["said"].double()
            self.measurement = None  # which has N × K numbers
            counts = said.T @ one_hot(self.labels, self.num_classes).double()
            matrix = counts / counts.sum(-1, keepdim=True).clamp_min(LEAST)
            self.layer.start.copy_((matrix + LEAST).log())
        self.layer.active.fill_(True)

    def losses(self, batch: Batch) -> Losses:
        """Cross-entropy of given labels, `[B]`; of the linear model the matrix's mean diagonal."""
        [z] = self.networks.logits(batch.views)["first"]
        found = {"loss_first": cross_entropy(z, batch.labels)}
        if self.model == "linear" and self.trace and self.current_epoch >= self.warmup_epochs:
            found["loss_trace"] = self.trace * self.layer.matrix().diagonal().mean()
        return {"first": found}

    def measures(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`said`: probabilities, at the end of the warm-up; once the layer works `right`."""
        output = outputs["first"]
        if not self.layer.active:
            is_last = self.current_epoch + 1 == self.warmup_epochs and self.model != "linear"
            return {"said": output.probabilities} if is_last else {}
        given = batch.labels[:, None]
        matrix = self.layer.matrix(output.features)
        stays = matrix.diagonal(dim1=-2, dim2=-1).expand(len(given), -1).gather(-1, given)
        joint = output.probabilities.gather(-1, given) * stays
        of_given = self.layer.given(output.logits, output.features).gather(-1, given).exp()
        return {"right": (joint / of_given).squeeze(-1).clamp(0, 1).float()}

    def scores(self) -> dict[str, Tensor]:
        """`right`: how likely the given label is the true one, by prediction and layer, `[0, 1]`.

        P(true = y | x, given = y) = p_y T_yy / Σ_i p_i T_iy.
        """
        return {"right": self.measure().kept["right"]} if self.layer.active else {}

    def matrices(self) -> Mapping[str, Tensor]:
        """`transition`, once the layer works; the complex model has one for each image."""
        if self.model == "complex" or not self.layer.active:
            return {}
        return {"transition": self.layer.matrix().detach()}

    def advice(self, epochs: int) -> str | None:
        """That a run ends within its warm-up."""
        so = "the noise is never learnt"
        return ends_in_warm_up(self.warmup_epochs, epochs, so)

    def events(self) -> Mapping[str, int]:
        """The end of the warm-up."""
        return {"warm-up ends": self.warmup_epochs} if self.warmup_epochs else {}


def _beginning(model: str, num_classes: int) -> Tensor:
    """Logarithms of the matrix at first, `[K, K]`."""
    identity = torch.eye(num_classes)
    if model == "linear":
        return DIAGONAL * identity
    return identity * log(1 - WRONG) + (1 - identity) * log(WRONG / (num_classes - 1))
