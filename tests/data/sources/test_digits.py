import hashlib
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from pmnar.data.sources import Digits
from pmnar.data.sources.digits import read_digits
from pmnar.errors import InputError


def test_sizes_types_and_names() -> None:
    data = Digits().load()
    assert data.train.images.shape == (1347, 1, 8, 8)
    assert data.test["test"].images.shape == (450, 1, 8, 8)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.class_names == tuple("0123456789")
    assert data.labels_are_true


def test_splits_together_are_sklearns_images_scaled_to_255() -> None:
    data = Digits().load()
    bunch = load_digits()
    expected = torch.from_numpy(bunch.images).mul(255 / 16).round()
    images = torch.cat([data.train.images, data.test["test"].images])
    labels = torch.cat([data.train.labels, data.test["test"].labels])
    pairs = [
        sorted((int(label), *image.flatten().tolist()) for label, image in zip(y, x, strict=True))
        for x, y in ((images, labels), (expected.long(), torch.from_numpy(bunch.target)))
    ]
    assert pairs[0] == pairs[1]


def test_split_is_stratified_and_follows_the_seed() -> None:
    first, again, other = (Digits(split_seed=seed).load() for seed in (0, 0, 1))
    assert torch.equal(first.train.images, again.train.images)
    assert not torch.equal(first.train.images, other.train.images)
    counts = first.test["test"].labels.bincount()
    assert counts.min() >= 43
    assert counts.max() <= 46


def test_the_configured_mean_and_std_are_those_of_the_training_images() -> None:
    images = Digits().load().train.images.double() / 255
    assert images.mean().item() == pytest.approx(0.3057, abs=5e-5)
    assert images.std().item() == pytest.approx(0.3760, abs=5e-5)


@pytest.mark.parametrize("fraction", [1.0, -0.1])
def test_refuses_a_fraction_that_is_no_share(fraction: float) -> None:
    with pytest.raises(InputError, match=r"dataset.source.test_fraction must be in \[0, 1\)"):
        Digits(test_fraction=fraction)


def test_the_split_is_the_one_that_figures_were_published_for() -> None:
    """numpy promises its generators' streams to no later version: a change must be seen."""
    labels = Digits().load().test["test"].labels
    assert hashlib.sha256(labels.numpy().tobytes()).hexdigest()[:16] == "298691e258775a75"


def test_the_file_is_read_as_scikit_learn_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_digits()
    monkeypatch.setattr("pmnar.data.sources.digits.FILE", Path("nowhere"))
    assert rows.shape == (1797, 65)
    assert (rows == read_digits()).all()
