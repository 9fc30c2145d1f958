"""What the networks say of the training set, from one pass over it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pmnar.data.batches import Batch
from pmnar.methods.networks import Output

Outputs = dict[str, Output]
"""What each network says of a batch, by its name."""


@dataclass(frozen=True)
class Measurement:
    """What is said of every training sample, in their order, the same on every rank.

    Attributes:
        confidence: by network, the probability of the given label, float32 `[N]` in [0, 1].
        prediction: by output (with two networks `ensemble` too), int64 `[N]`.
        top: by output, the prediction's probability, float32 `[N]`.
        kept: what the method's own `measures` kept, `[N, ...]`, by name.
    """

    confidence: dict[str, Tensor]
    prediction: dict[str, Tensor]
    top: dict[str, Tensor]
    kept: dict[str, Tensor]

    @classmethod
    def of(cls, rows: Mapping[str, Tensor]) -> "Measurement":
        """From the rows by `<kind> <name>` that a pass has gathered (see `rows_of`)."""
        kinds: dict[str, dict[str, Tensor]] = {
            kind: {} for kind in ("confidence", "prediction", "top", "kept")
        }
        for key, values in rows.items():
            kind, _, name = key.partition(" ")
            kinds[kind][name] = values
        return cls(**kinds)

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `of` makes it from."""
        return {
            f"{kind} {name}": values
            for kind in ("confidence", "prediction", "top", "kept")
            for name, values in getattr(self, kind).items()
        }


def rows_of(outputs: Outputs, kept: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """A batch's rows of a measurement, with what a method keeps beside it."""
    p = {name: output.probabilities for name, output in outputs.items()}
    given = batch.labels[:, None]
    found = {f"confidence {name}": each.gather(-1, given)[:, 0] for name, each in p.items()}
    for name, each in with_ensemble(p).items():
        found[f"top {name}"], found[f"prediction {name}"] = each.max(-1)
    return found | {f"kept {name}": values for name, values in kept.items()}


def with_ensemble(probabilities: dict[str, Tensor]) -> dict[str, Tensor]:
    """The networks' probabilities and, with two networks, their mean under `ensemble`."""
    if len(probabilities) == 1:
        return probabilities
    mean = torch.stack(list(probabilities.values())).mean(0)
    return {**probabilities, "ensemble": mean}
