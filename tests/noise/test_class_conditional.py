import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise import Asymmetric, Clean, CleanLabels, Noise, PairFlip, Symmetric, inject

CIFAR10 = CleanLabels(np.arange(50_000) % 10, 10, "cifar10")
UNEVEN = CleanLabels(np.repeat([3, 0, 1, 4], [7, 101, 1, 50]), 5, "uneven")


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.3, 0.45, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("clean", [CIFAR10, UNEVEN], ids=["even", "uneven"])
def test_symmetric_flips_an_exact_share_of_each_class_to_others(
    clean: CleanLabels, rate: float
) -> None:
    given = Symmetric(rate)(clean, seed=3)
    for label in range(clean.num_classes):
        of_class = given[clean.labels == label]
        assert (of_class != label).sum() == round(rate * len(of_class))


def test_symmetric_is_uniform_over_the_other_classes() -> None:
    counts = inject(Symmetric(0.9), CIFAR10, 1).transition_matrix() * 5000
    others = counts[~np.eye(10, dtype=bool)]
    chi_square = ((others - 500) ** 2 / 500).sum()
    assert chi_square < 80 + 5 * np.sqrt(2 * 80)


def test_symmetric_with_the_true_class_is_wrong_nine_times_in_ten() -> None:
    labels = inject(Symmetric(0.5, include_true=True), CIFAR10, 1)
    assert labels.actual_rate == pytest.approx(0.45, abs=4 * np.sqrt(0.09 / 25_000) * 0.5)
    assert labels.name == "sym50-incl"


def test_two_classes_flip_to_each_other() -> None:
    clean = CleanLabels(np.arange(100) % 2, 2)
    labels = inject(Symmetric(0.4), clean, 0)
    assert labels.transition_matrix() == pytest.approx(np.array([[0.6, 0.4], [0.4, 0.6]]))


def test_cifar10_asymmetric_is_half_its_rate() -> None:
    labels = inject(Asymmetric(0.3, "cifar10"), CIFAR10, 1)
    assert labels.actual_rate == 0.15
    expected = np.eye(10)
    for source, target in ((9, 1), (2, 0), (4, 7), (3, 5), (5, 3)):
        expected[source, source], expected[source, target] = 0.7, 0.3
    assert labels.transition_matrix() == pytest.approx(expected)


def test_asymmetric_on_uneven_classes() -> None:
    given = Asymmetric(0.4, {0: 3, 3: 0})(UNEVEN, seed=2)
    labels = UNEVEN.labels
    assert (given[labels == 0] == 3).sum() == round(0.4 * 101)
    assert (given[labels == 3] == 0).sum() == round(0.4 * 7)
    unmapped = (labels != 0) & (labels != 3)
    assert np.array_equal(given[unmapped], labels[unmapped])


def test_pair_flip() -> None:
    labels = inject(PairFlip(0.45), CIFAR10, 1)
    expected = 0.55 * np.eye(10) + 0.45 * np.roll(np.eye(10), 1, axis=1)
    assert labels.transition_matrix() == pytest.approx(expected)


def test_golden_labels() -> None:
    """Published labels depend on these: the same on every platform and version."""
    clean = CleanLabels(np.arange(20) % 5, 5)
    digits = "21230032342104202044"
    assert "".join(map(str, Symmetric(0.5)(clean, 1))) == digits
    digits = "11230012342130300304"
    assert "".join(map(str, Symmetric(0.5, include_true=True)(clean, 1))) == digits
    assert "".join(map(str, PairFlip(0.5)(clean, 1))) == "11230022341134002344"


NOISES: list[Noise] = [Clean(), Symmetric(0.5), Symmetric(0.5, True), Asymmetric(0.4, "cifar10")]


@pytest.mark.parametrize("noise", [*NOISES, PairFlip(0.45)], ids=lambda noise: noise.name)
def test_pure_and_deterministic(noise: Noise) -> None:
    before = CIFAR10.labels.copy()
    first = noise(CIFAR10, seed=7)
    assert first.dtype == np.int64
    assert not np.shares_memory(first, CIFAR10.labels)
    assert np.array_equal(before, CIFAR10.labels)
    assert np.array_equal(first, noise(CIFAR10, seed=7))
    assert np.array_equal(first, noise(CIFAR10, seed=8)) == (noise.name == "clean")


@pytest.mark.parametrize(
    ("noise", "name", "rate"),
    [
        (Clean(), "clean", 0.0),
        (Symmetric(0.07), "sym7", 0.07),
        (Symmetric(0.125), "sym12.5", 0.125),
        (Asymmetric(0.3, "cifar100"), "asym30", 0.3),
        (Asymmetric(0.3), "asym30", 0.3),
        (Asymmetric(0.3, "cifar100_blocks"), "asym30-blocks", 0.3),
        (Asymmetric(0.3, "next"), "asym30-next", 0.3),
        (Asymmetric(0.3, {1: 0}), "asym30-map", 0.3),
        (PairFlip(0.45), "pair45", 0.45),
    ],
)
def test_names(noise: Noise, name: str, rate: float) -> None:
    assert (noise.name, noise.nominal_rate) == (name, rate)


@pytest.mark.parametrize("rate", [1.3, 1.0, -0.1, float("nan"), "0.5", True, None])
@pytest.mark.parametrize("kind", [Symmetric, Asymmetric, PairFlip])
def test_bad_rates(kind: type[Symmetric], rate: float) -> None:
    with pytest.raises(InputError, match=r"noise\.rate must be in \[0, 1\), got "):
        kind(rate)


@pytest.mark.parametrize("labels", [[0, 10], [-1, 0], [0.5], [[1]]])
def test_bad_labels(labels: list[int]) -> None:
    with pytest.raises(InputError, match="labels must be"):
        CleanLabels(np.array(labels), 10)


def test_arrays_that_do_not_fit() -> None:
    labels = np.zeros(3, np.int64)
    with pytest.raises(InputError, match="3 labels, but 2 indices"):
        CleanLabels(labels, 10, index=np.arange(2))
    with pytest.raises(InputError, match="3 labels, but 1 images"):
        CleanLabels(labels, 10, images=np.zeros((1, 1, 8, 8), np.uint8))
    with pytest.raises(InputError, match="at least 2 classes"):
        CleanLabels(labels, 1)
