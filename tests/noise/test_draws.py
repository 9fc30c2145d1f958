from typing import Any

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise.draws import (
    Stream,
    check_seed,
    choose_column,
    choose_share,
    integers,
    normal,
    raw,
    uniform,
)


def philox(seed: int, stream: int, part: int, blocks: int) -> list[int]:
    """Philox4x64-10 by its definition (Salmon et al., SC 2011), counting from 1."""
    words: list[int] = []
    for block in range(1, blocks + 1):
        c0, c1, c2, c3 = block, 0, 0, part
        key0, key1 = seed, stream
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
            c0, c1 = (second >> 64) ^ c1 ^ key0, second % 2**64
            c2, c3 = (first >> 64) ^ c3 ^ key1, first % 2**64
            key0 = (key0 + 0x9E3779B97F4A7C15) % 2**64
            key1 = (key1 + 0xBB67AE8584CAA73B) % 2**64
        words += [c0, c1, c2, c3]
    return words


@pytest.mark.parametrize(("seed", "part"), [(0, 0), (1, 2), (2**64 - 1, 7)])
def test_words_are_philox(seed: int, part: int) -> None:
    assert raw(seed, Stream.TARGET, 12, part).tolist() == philox(seed, 2, part, 3)


def test_golden_values() -> None:
    """These numbers are part of every saved result: a change here changes published labels."""
    words = raw(1, Stream.WHICH, 2).tolist()
    assert words == [1386294051110952485, 18147817048375502686]
    assert uniform(1, Stream.WHICH, 2).tolist() == [(word >> 11) / 2**53 for word in words]
    scaled = normal(1, Stream.PROJECTION, 5, part=2) * 2**20
    assert scaled.tolist() == [-1411378, 507258, 1358443, 1016817, -1103226]


def test_streams_parts_and_seeds_differ() -> None:
    draws = [
        raw(1, Stream.WHICH, 8),
        raw(2, Stream.WHICH, 8),
        raw(1, Stream.TARGET, 8),
        raw(1, Stream.WHICH, 8, part=1),
    ]
    assert len(np.unique(np.concatenate(draws))) == 32


def test_a_longer_draw_begins_with_the_shorter() -> None:
    assert np.array_equal(raw(5, Stream.TARGET, 100)[:7], raw(5, Stream.TARGET, 7))


@pytest.mark.parametrize("high", [2, 3, 10, 200])
def test_integers_are_uniform(high: int) -> None:
    counts = np.bincount(integers(3, Stream.TARGET, 100_000, high), minlength=high)
    expected = 100_000 / high
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert len(counts) == high
    assert chi_square < high + 5 * np.sqrt(2 * high)


def test_normals_have_normal_moments() -> None:
    draws = normal(4, Stream.PROJECTION, 200_001)
    assert len(draws) == 200_001
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    assert abs((draws**4).mean() - 3) < 0.1


def test_share_is_exact_in_every_class() -> None:
    labels = np.repeat([2, 0, 3], [11, 20, 1]).astype(np.int64)
    mask = choose_share(labels, 5, 0.3, seed=1)
    assert np.bincount(labels[mask], minlength=5).tolist() == [6, 0, 3, 0, 0]


def test_a_lower_share_is_part_of_a_higher_one() -> None:
    labels = np.arange(1000) % 7
    low, high = (choose_share(labels, 7, rate, seed=3) for rate in (0.2, 0.6))
    assert not (low & ~high).any()


def test_columns_of_probability_zero_are_never_drawn() -> None:
    probabilities = np.tile([0.0, 0.5, 0.0, 0.5, 0.0], (4, 1))
    uniforms = np.array([0.0, 0.499, 0.5, 1 - 2.0**-53])
    assert choose_column(probabilities, uniforms).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1", None])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(InputError, match=r"seed must be a whole number in \[0, 2\^64\), got"):
        check_seed(seed)
