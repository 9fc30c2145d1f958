"""What is remembered of samples, against plain lists."""

from statistics import fmean

import pytest
import torch
from torch import Tensor

from pmnar.samples.memory import EPOCHS, Margins, RecentConfidences, RunningMean, margin

LABELS = torch.tensor([0, 2, 1, 2, 0])


def logits(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def plain_margin(z: list[float], label: int) -> float:
    return z[label] - max(value for k, value in enumerate(z) if k != label)


def test_a_margin_is_over_the_best_other_class() -> None:
    z = logits(5, 3)
    expected = [plain_margin(row, y) for row, y in zip(z.tolist(), LABELS.tolist(), strict=True)]
    assert margin(z, LABELS).tolist() == expected
    assert ((margin(z, LABELS) > 0) == (z.argmax(-1) == LABELS)).all()


def test_margins_of_several_networks_are_averaged() -> None:
    z = logits(2, 5, 3)
    expected = (margin(z[0], LABELS) + margin(z[1], LABELS)) / 2
    torch.testing.assert_close(margin(z, LABELS), expected, rtol=1e-15, atol=0)


def test_margins_are_averaged_over_forwards_however_often_each_sample_came() -> None:
    margins = Margins(LABELS)
    seen: list[list[float]] = [[] for _ in LABELS]
    for step, index in enumerate([[0, 1, 2], [2, 3], [0, 2]]):
        values = logits(len(index), seed=step).float()
        margins.totals[index] = margins.added(torch.tensor(index), values)
        for sample, value in zip(index, values.tolist(), strict=True):
            seen[sample].append(value)
    expected = [fmean(of_sample) if of_sample else 0.0 for of_sample in seen]
    assert margins.mean().tolist() == pytest.approx(expected, rel=1e-6)


def test_confidences_of_the_last_epochs_are_averaged() -> None:
    recent = RecentConfidences(LABELS)
    assert recent.mean() is None
    kept = []
    for epoch in range(3, 3 + 2 * EPOCHS):
        kept.append(logits(5, seed=epoch).sigmoid().float())
        recent.keep(epoch, kept[-1])
        mean = recent.mean()
        assert mean is not None
        torch.testing.assert_close(mean, torch.stack(kept[-EPOCHS:]).mean(0))


def test_a_running_mean_begins_with_the_first_values() -> None:
    average = RunningMean(torch.zeros(4, dtype=torch.float64), memory=0.75)
    expected: list[float] = []
    for step in range(4):
        values = logits(4, seed=step)
        average.follow(values)
        old = expected or values.tolist()
        expected = [0.75 * a + 0.25 * b for a, b in zip(old, values.tolist(), strict=True)]
        assert average.values.tolist() == pytest.approx(expected, rel=1e-14)


def test_a_checkpoint_from_before_there_was_a_memory_still_loads() -> None:
    margins = Margins(LABELS)
    module = torch.nn.ModuleDict({"margins": margins, "recent": RecentConfidences(LABELS)})
    module.load_state_dict({})
    assert not margins.totals.any()
    saved = {"margins.totals": torch.ones(5, 2)}
    module.load_state_dict(saved)
    assert margins.totals.all()
    assert list(saved) == ["margins.totals"]
