"""A suspect needs another label to put in the given one's place."""

import pytest
import torch

from pmnar.detection import detection_metrics, find_suspects, most_suspicious, samples_table

NAMES = ["cat", "dog", "emu"]


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probabilities `[500, 3]`, given labels, and what is suggested."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.randn(500, 3, generator=generator).softmax(-1)
    return p, torch.randint(3, (500,), generator=generator), p.argmax(-1)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_called_wrong_is_a_suspect_or_unsure(seed: int, threshold: float) -> None:
    p, given, suggested = drawn(seed)
    confidence = p.gather(-1, given[:, None])[:, 0]
    found = find_suspects(confidence, given, suggested, threshold)
    assert torch.equal(found.mislabelled | found.unsure, confidence < threshold)
    assert not (found.mislabelled & found.unsure).any()
    assert (suggested != given)[found.mislabelled].all()
    # Unsure of all classes: none reaches the threshold, the given one is the nearest to it.
    assert (p.max(-1).values < threshold)[found.unsure].all()
    rate = detection_metrics(confidence, given, None, threshold)["estimated_noise_rate"]
    assert sum(found.counts.values()) == pytest.approx(500 * rate)


def test_the_table_s_list_holds_suspects_alone() -> None:
    """Given cat at 0.4, with 0.3 for each other class, is no wrong label."""
    table = samples_table(
        given=torch.tensor([0, 0, 1]),
        confidence=torch.tensor([0.4, 0.3, 0.2]),
        suggested=torch.tensor([0, 1, 2]),
        suggested_confidence=torch.tensor([0.4, 0.4, 0.7]),
        class_names=NAMES,
    )
    assert table["mislabelled"].to_pylist() == [False, True, True]
    assert table["unsure"].to_pylist() == [True, False, False]
    assert most_suspicious(table, 9)["index"].to_pylist() == [2, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_metrics_are_of_what_is_called_wrong(seed: int) -> None:
    """Table 4's identity, precision × predicted = recall × actual, with both parts together."""
    p, given, suggested = drawn(seed)
    true = torch.where(torch.arange(500) % 3 == 0, (given + 1) % 3, given)
    confidence = p.gather(-1, given[:, None])[:, 0]
    suspects = find_suspects(confidence, given, suggested)
    called, wrong = suspects.mislabelled | suspects.unsure, given != true
    found = detection_metrics(confidence, given, true)
    assert found["precision"] == pytest.approx(float((called & wrong).sum() / called.sum()))
    assert found["precision"] * found["estimated_noise_rate"] == pytest.approx(
        found["recall"] * found["actual_noise_rate"]
    )
