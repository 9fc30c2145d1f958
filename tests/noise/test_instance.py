from itertools import accumulate
from math import exp
from operator import mul

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import CleanLabels, InstanceDependent, inject
from pmnar.noise.draws import Stream, normal, raw, uniform
from pmnar.noise.instance import flip_rates

SIZE = 5000
IMAGES = (raw(9, Stream.WHICH, SIZE * 48) % np.uint64(256)).astype(np.uint8).reshape(-1, 3, 4, 4)
CLEAN = CleanLabels(np.arange(SIZE) % 10, 10, "cifar10", images=IMAGES)


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.5])
def test_actual_rate_is_close_to_nominal(rate: float) -> None:
    actual = inject(InstanceDependent(rate), CLEAN, 1).actual_rate
    assert actual == pytest.approx(rate, abs=0.006 + 4 * np.sqrt(rate * (1 - rate) / SIZE))


def test_rate_zero_flips_nothing() -> None:
    assert np.array_equal(InstanceDependent(0)(CLEAN, 1), CLEAN.labels)


def test_flip_rates_are_a_truncated_normal() -> None:
    rates = flip_rates(0.1, 50_000, 1)
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert rates.mean() == pytest.approx(0.12876, abs=0.002)


def test_equal_to_a_plain_loop() -> None:
    """Sample by sample, with sums in plain Python: equal to the last label."""
    given = InstanceDependent(0.4)(CLEAN, 3)
    rates, uniforms = flip_rates(0.4, SIZE, 3), uniform(3, Stream.INSTANCE, SIZE)
    weights = [normal(3, Stream.PROJECTION, 480, part=c).reshape(48, 10) for c in range(10)]
    for i in range(200):
        label, pixels = int(CLEAN.labels[i]), IMAGES[i].reshape(-1).tolist()
        scores = [sum(map(mul, pixels, weights[label][:, k].tolist())) for k in range(10)]
        highest = max(score for k, score in enumerate(scores) if k != label)
        powers = [0.0 if k == label else exp(score - highest) for k, score in enumerate(scores)]
        chances = [rates[i] * power / sum(powers) for power in powers]
        chances[label] = 1 - rates[i]
        assert given[i] == sum(total <= uniforms[i] for total in accumulate(chances))


def test_the_image_decides_the_target() -> None:
    """Two images, one class, the same weights: each image has its own most likely wrong label."""
    images = np.repeat(IMAGES[:20], 200, axis=0)
    clean = CleanLabels(np.zeros(4000, np.int64), 10, images=images)
    given = InstanceDependent(0.5)(clean, 1).reshape(20, 200)
    favourites = set()
    for row in given:
        counts = np.bincount(row[row != 0], minlength=10)
        assert counts.max() > 0.8 * counts.sum()
        favourites.add(int(counts.argmax()))
    assert len(favourites) > 1


def test_chunks_do_not_matter_and_input_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    before, pixels = CLEAN.labels.copy(), IMAGES.copy()
    whole = InstanceDependent(0.4)(CLEAN, 1)
    monkeypatch.setattr("pmnar.noise.instance._CHUNK_VALUES", 48 * 7)
    assert np.array_equal(InstanceDependent(0.4)(CLEAN, 1), whole)
    assert np.array_equal(CLEAN.labels, before)
    assert np.array_equal(IMAGES, pixels)


def test_golden_labels() -> None:
    clean = CleanLabels(np.arange(20) % 5, 5, images=IMAGES[:20])
    assert "".join(map(str, InstanceDependent(0.5)(clean, 1))) == "12024012210423203334"


def test_name_and_errors() -> None:
    assert InstanceDependent(0.4).name == "inst40"
    with pytest.raises(InputError, match=r"noise\.rate must be in \[0, 1\), got 1"):
        InstanceDependent(1)
    with pytest.raises(InputError, match="noise=inst40 depends on the images"):
        InstanceDependent(0.4)(CleanLabels(CLEAN.labels, 10), 1)
