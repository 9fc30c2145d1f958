"""What is remembered of every sample from step to step and from epoch to epoch."""

from typing import Any

import torch
from torch import Tensor, nn

EPOCHS = 5
"""Confidences are remembered of so many epochs."""


class Memory(nn.Module):
    """State that checkpoints of earlier versions lack: loaded from one, it begins as new."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **settings: Any
    ) -> None:
        for name, value in self.state_dict().items():
            state_dict.setdefault(prefix + name, value.clone())
        super()._load_from_state_dict(state_dict, prefix, *args, **settings)


class Margins(Memory):
    """Each sample's margin, averaged over the forwards of training (AUM).

    Pleiss et al., "Identifying mislabeled data using the area under the margin ranking", NeurIPS
    2020. What it costs is a few operations on logits that are there already.

    Args:
        labels: the given labels, int64 `[N]`.

    Attributes:
        totals: the sum of a sample's margins and their number, float32 `[N, 2]`.
    """

    totals: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        zeros = torch.zeros(len(labels), 2, dtype=torch.float32, device=labels.device)
        self.register_buffer("totals", zeros)

    def added(self, index: Tensor, values: Tensor) -> Tensor:
        """The totals of samples `index` `[B]` with one more margin each, `values` `[B]`: `[B, 2]`.

        They are the caller's to write, on every rank.
        """
        return self.totals[index] + torch.stack([values, torch.ones_like(values)], -1)

    def mean(self) -> Tensor:
        """The mean margin of every sample, `[N]`; 0 for one that was never trained on."""
        return self.totals[:, 0] / self.totals[:, 1].clamp_min(1)


class RecentConfidences(Memory):
    """The confidences of the last `EPOCHS` epochs for which there were any.

    Args:
        labels: the given labels, int64 `[N]`.

    Attributes:
        values: float32 `[EPOCHS, N]`; -1 where there is none yet.
    """

    values: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        nothing = torch.full((EPOCHS, len(labels)), -1.0, device=labels.device)
        self.register_buffer("values", nothing)

    def keep(self, epoch: int, confidence: Tensor) -> None:
        """Keep an epoch's confidences `[N]` in [0, 1] in the place of what is `EPOCHS` older."""
        self.values[epoch % EPOCHS] = confidence

    def mean(self) -> Tensor | None:
        """Their mean over epochs, `[N]`; None where none were kept."""
        kept = self.values[self.values[:, :1].squeeze(1) >= 0]
        return kept.mean(0) if len(kept) else None


class RecentPredictions(Memory):
    """What was predicted for every sample in the last epochs.

    Args:
        labels: the given labels, int64 `[N]`.
        num_classes: K.
        epochs: how many are remembered.

    Attributes:
        values: probabilities, float32 `[epochs, N, K]`; 0 where there are none.
    """

    values: Tensor

    def __init__(self, labels: Tensor, num_classes: int, epochs: int) -> None:
        super().__init__()
        nothing = torch.zeros(epochs, len(labels), num_classes, device=labels.device)
        self.register_buffer("values", nothing)

    def place(self, epoch: int) -> Tensor:
        """Where an epoch's belong, `[N, K]`: in the place of what is so many epochs older."""
        return self.values[epoch % len(self.values)]

    def mean(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Their mean over the epochs of which there are any, `[B, K]`; 0 where there are none."""
        total = self.values[:, index].sum(0)
        return total / total.sum(-1, keepdim=True).clamp_min(1e-12)


class RunningMean(Memory):
    """A moving average, which begins with the first values.

    Args:
        like: of the shape of what is averaged, on its device.
        memory: how much of the average before stays, in [0, 1).
    """

    values: Tensor
    begun: Tensor

    def __init__(self, like: Tensor, memory: float) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("values", torch.zeros_like(like))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool, device=like.device))

    @torch.no_grad()
    def follow(self, values: Tensor) -> None:
        """Average these too."""
        stays = torch.where(self.begun, self.memory, 0.0).to(self.values.dtype)
        self.values.copy_(stays * self.values + (1 - stays) * values)
        self.begun.fill_(True)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """`z_y − max_{k ≠ y} z_k`, `[B]`: over 0 where the given label is the likeliest class.

    Args:
        logits: `[..., B, K]`; of several networks, the mean of their margins is meant.
        labels: int64 `[B]`.
    """
    index = labels.expand(logits.shape[:-1])[..., None]
    given = logits.gather(-1, index).squeeze(-1)
    others = logits.scatter(-1, index, -torch.inf).amax(-1)
    found = given - others
    return found if found.ndim == 1 else found.flatten(0, -2).mean(0)
