"""A share of the training set held out under its given labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import SIZE, FewDigits, make_data, train_batches

from pmnar.augment import Normalize
from pmnar.data import ImageData, NoisyDataModule
from pmnar.data.subsets import choose_held_out
from pmnar.errors import InputError
from pmnar.noise import Clean, CleanLabels, FromFile, NoisyLabels
from pmnar.noise.base import IntArray


class Fixed:
    """Noise that gives these labels, whatever the true ones are."""

    name, nominal_rate = "fixed", None

    def __init__(self, given: IntArray) -> None:
        self.given = given

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return self.given.copy()


class WithPaths(FewDigits):
    """Digits that have come from files."""

    def load(self) -> ImageData:
        data = super().load()
        paths = tuple(f"{number}.png" for number in range(len(data.train)))
        return replace(data, train=replace(data.train, paths=paths))


def held_out_of(data: NoisyDataModule) -> NoisyLabels:
    assert data.labels.held_out is not None
    return data.labels.held_out


def truth(labels: NoisyLabels) -> IntArray:
    assert labels.true is not None
    return labels.true


def test_without_a_share_nothing_is_held_out() -> None:
    plain, data = make_data(), make_data(noisy_validation=0, noisy_validation_seed=7)
    assert data.labels.held_out is None
    assert data.labels.whole() is data.labels
    assert data.test_names == plain.test_names == ("test", "other")
    assert set(data.splits) == {"train", "test", "other"}
    pairs = zip(train_batches(data), train_batches(plain), strict=True)
    for one, other in pairs:
        assert torch.equal(one.indices, other.indices)
        assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


@pytest.mark.parametrize("subset", [None, 50])
def test_a_share_is_held_out_under_its_given_labels(subset: int | None) -> None:
    """Noise was put on all of the training set: what is held out and what is not make up it."""
    chosen: dict[str, Any] = {"train_subset": subset, "subset_seed": 3}
    plain, data = make_data(**chosen), make_data(noisy_validation=0.3, **chosen)
    size = len(plain.labels.given)
    kept, held = data.labels, held_out_of(data)
    assert (len(kept.given), len(held.given)) == (size - round(0.3 * size), round(0.3 * size))
    for labels, name in ((kept, "train"), (held, "noisy_validation")):
        assert (np.diff(labels.index) > 0).all()
        place = np.searchsorted(plain.labels.index, labels.index)
        assert (plain.labels.index[place] == labels.index).all()
        assert (labels.given == plain.labels.given[place]).all()
        assert truth(labels).tolist() == truth(plain.labels)[place].tolist()
        assert data.splits[name].labels.tolist() == labels.given.tolist()
        assert torch.equal(data.splits[name].images, plain.splits["train"].images[place])
    assert not set(kept.index) & set(held.index)
    assert np.mean(held.given != truth(held)) > 0.2
    whole = data.labels.whole()
    for one, other in ((whole.given, plain.labels.given), (whole.index, plain.labels.index)):
        assert one.tolist() == other.tolist()


def test_what_is_held_out_is_the_last_evaluation_split_and_not_trained_on() -> None:
    data = make_data(noisy_validation=0.25)
    assert data.test_names == ("test", "other", "noisy_validation")
    loader = data.val_dataloader()[-1]
    batches = [data.on_after_batch_transfer(request, 2) for request in loader]
    held = data.splits["noisy_validation"]
    images = torch.cat([batch.views[0] for batch in batches])
    assert torch.equal(images, Normalize([0.3057], [0.3760])(held.images))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), held.labels)
    seen = torch.cat([batch.indices for batch in train_batches(data)])
    assert torch.equal(seen.sort().values, torch.arange(45))
    assert len(list(data.ordered_batches(torch.device("cpu")))) == 2


def test_true_labels_do_not_reach_it() -> None:
    given = np.arange(SIZE) % 10
    modules = [
        make_data(
            source=FewDigits(labels=labels), noise=Fixed(given), noisy_validation=0.25, batch_size=9
        )
        for labels in (torch.arange(SIZE) % 10, torch.arange(SIZE).flip(0) % 10)
    ]
    one, other = (truth(held_out_of(data)) for data in modules)
    assert not np.array_equal(one, other)
    for name in ("train", "noisy_validation"):
        first, second = (data.splits[name] for data in modules)
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)


def test_paths_stay_with_their_images() -> None:
    data = make_data(source=WithPaths(), noisy_validation=0.25)
    for labels, name in ((data.labels, "train"), (held_out_of(data), "noisy_validation")):
        assert data.splits[name].paths == tuple(f"{number}.png" for number in labels.index)


def test_labels_that_are_not_known_stay_unknown() -> None:
    untrusted = FewDigits(labels_are_true=False)
    data = make_data(source=untrusted, noise=Clean(), noisy_validation=0.25)
    assert data.labels.true is held_out_of(data).true is data.labels.whole().true is None


def test_the_choice_has_a_seed_of_its_own() -> None:
    def chosen(**settings: Any) -> list[int]:
        index: list[int] = held_out_of(make_data(noisy_validation=0.25, **settings)).index.tolist()
        return index

    assert chosen(seed=1) == chosen(seed=2) != chosen(noisy_validation_seed=1)


@pytest.mark.parametrize("size", [1, 7, 100, 333, 999])
def test_each_given_class_is_held_out_in_its_share(size: int) -> None:
    given = np.repeat(np.arange(4), [500, 300, 150, 50])
    held = choose_held_out(given, size, seed=5)
    assert held.sum() == size
    share = np.bincount(given, minlength=4) * size / 1000
    assert (np.abs(np.bincount(given[held], minlength=4) - share) < 1).all()


@pytest.mark.parametrize("share", [0, 0.25, 0.5])
def test_saved_labels_serve_with_and_without_a_held_out_share(share: float, tmp_path: Path) -> None:
    first = make_data(noisy_validation=0.25)
    first.labels.save(tmp_path / "labels.npz")
    loaded = NoisyLabels.load(tmp_path / "labels.npz")
    assert loaded.given.tolist() == first.labels.given.tolist()
    assert loaded.held_out is not None
    assert loaded.held_out.given.tolist() == held_out_of(first).given.tolist()
    again = make_data(noise=FromFile(tmp_path), noisy_validation=share)
    direct = make_data(noisy_validation=share)
    assert set(again.splits) == set(direct.splits)
    for name, split in direct.splits.items():
        assert torch.equal(again.splits[name].images, split.images)
        assert torch.equal(again.splits[name].labels, split.labels)
    again.labels.save(tmp_path / "again.npz")
    whole = NoisyLabels.load(tmp_path / "again.npz").whole()
    assert whole.given.tolist() == make_data().labels.given.tolist()
    assert whole.true is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noisy_validation": 1}, r"noisy_validation must be in \[0, 1\), got 1$"),
        ({"noisy_validation": -0.1}, r"noisy_validation must be in \[0, 1\), got -0\.1$"),
        ({"noisy_validation": "half"}, r"noisy_validation must be in \[0, 1\), got 'half'$"),
        ({"noisy_validation": True}, r"noisy_validation must be in \[0, 1\), got True$"),
        ({"noisy_validation": float("nan")}, r"must be in \[0, 1\), got nan$"),
        ({"noisy_validation": 0.001}, r"at least one of 60 training images, and not all, got 0"),
        ({"noisy_validation": 0.999}, r"at least one of 60 training images, and not all, got 0"),
        ({"noisy_validation": 0.75}, r"batch_size must be in \[2, 15\] \(15 training samples"),
    ],
)
def test_a_share_that_cannot_be_is_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_data(**settings)
