"""The data module on real digits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from toy import BATCH, SEED, SIZE, FewDigits, Flipped, GivenAsTheyAre, make_data, train_batches

from pmnar.augment import Normalize
from pmnar.data import Batch, NoisyDataModule
from pmnar.data.batches import Request
from pmnar.data.subsets import choose_subset
from pmnar.errors import InputError
from pmnar.noise.class_conditional import Clean


def share_of(data: NoisyDataModule, rank: int, world: int, epoch: int = 0) -> Iterator[Batch]:
    """The training batches of one rank."""
    for request in data.shuffled(lambda: epoch, rank, world):
        yield data.on_after_batch_transfer(request, 0)


def same(left: Batch, right: Batch) -> bool:
    views = zip(left.views, right.views, strict=True)
    return (
        torch.equal(left.indices, right.indices)
        and torch.equal(left.labels, right.labels)
        and left.share == right.share
        and all(torch.equal(a, b) for a, b in views)
    )


def test_training_is_handed_the_given_labels() -> None:
    data = make_data()
    given, true = data.labels.given, data.labels.true
    assert true is not None
    assert np.mean(given != true) == 0.5
    assert data.splits["train"].labels.tolist() == given.tolist()
    for batch in train_batches(data):
        assert batch.labels.tolist() == given[batch.indices.numpy()].tolist()


def test_labels_of_an_untrusted_source_are_no_truth() -> None:
    data = make_data(source=FewDigits(labels_are_true=False), noise=Clean())
    assert data.labels.true is None
    assert data.splits["train"].labels.tolist() == data.labels.given.tolist()


def test_a_batch_has_the_views_asked_for_in_their_order() -> None:
    both = next(train_batches(make_data(("weak", "strong"))))
    swapped = next(train_batches(make_data(("strong", "weak"))))
    alone = next(train_batches(make_data(("weak",))))
    assert [view.shape for view in both.views] == [(BATCH, 1, 8, 8)] * 2
    assert torch.equal(both.views[0], swapped.views[1])
    assert torch.equal(both.views[1], swapped.views[0])
    assert torch.equal(both.views[0], alone.views[0])
    assert not torch.equal(both.views[0], both.views[1])


def test_a_view_is_the_augmentation_of_the_normalised_images() -> None:
    data = make_data(("weak",))
    for batch in train_batches(data):
        assert batch.share is not None
        images = data.splits["train"].images[batch.indices]
        draws = data.views.by_name["weak"].draw(
            len(images), (1, 8, 8), batch.share.generator("weak")
        )
        expected = Normalize([0.3057], [0.3760])(data.views.by_name["weak"].apply(images, draws))
        assert torch.equal(batch.views[0], expected)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("size", [60, 67])
def test_ranks_together_see_the_views_of_a_single_process(world: int, size: int) -> None:
    data = make_data(source=FewDigits(size))
    single = list(share_of(data, 0, 1))
    ranks = [list(share_of(data, rank, world)) for rank in range(world)]
    for step, whole in enumerate(single):
        for rank in range(world):
            mine = ranks[rank][step]
            assert torch.equal(mine.indices, whole.indices[rank::world])
            assert torch.equal(mine.labels, whole.labels[rank::world])
            for view, of_all in zip(mine.views, whole.views, strict=True):
                assert torch.equal(view, of_all[rank::world])


def test_views_are_drawn_anew_each_epoch_and_each_seed() -> None:
    def view_of_sample_0(data: NoisyDataModule, epoch: int) -> Tensor:
        found = [b.views[1][b.indices == 0] for b in train_batches(data, epoch)]
        return torch.cat(found)

    data = make_data()
    views = [view_of_sample_0(data, epoch) for epoch in range(6)]
    assert all(torch.equal(view, view_of_sample_0(data, e)) for e, view in enumerate(views))
    assert len({tuple(view.flatten().tolist()) for view in views}) > 1
    other = make_data(seed=SEED + 1)
    assert any(not torch.equal(v, view_of_sample_0(other, e)) for e, v in enumerate(views))


def test_the_seed_of_training_does_not_touch_the_labels() -> None:
    assert make_data(seed=1).labels.given.tolist() == make_data(seed=2).labels.given.tolist()


def test_images_on_the_host_and_on_the_device_give_the_same_batches() -> None:
    host, device = make_data(resident="host"), make_data(resident="device")
    gathered = [
        host.on_after_batch_transfer(
            request._replace(images=host.splits["train"].images[request.indices]), 0
        )
        for request in host.shuffled(lambda: 0)
    ]
    assert all(same(a, b) for a, b in zip(gathered, train_batches(device), strict=True))
    cpu = torch.device("cpu")
    ordered = zip(host.ordered_batches(cpu), device.ordered_batches(cpu), strict=True)
    assert all(same(a, b) for a, b in ordered)


@pytest.mark.parametrize("resident", ["host", "device"])
def test_two_workers_give_what_none_gives(resident: str) -> None:
    def tested(num_workers: int) -> list[Batch]:
        data = make_data(num_workers=num_workers, resident=resident)
        batches = []
        for request in data.val_dataloader()[0]:
            assert isinstance(request, Request)
            assert (request.images is not None) == (resident == "host")
            batches.append(data.on_after_batch_transfer(request, 0))
        return batches

    pairs = zip(tested(0), tested(2), strict=True)
    assert all(same(a, b) for a, b in pairs)


def test_the_ordered_pass_sees_the_training_images_as_they_are() -> None:
    data = make_data()
    batches = list(data.ordered_batches(torch.device("cpu")))
    assert [len(batch.indices) for batch in batches] == [25, 25, 10]
    assert torch.equal(torch.cat([b.indices for b in batches]), torch.arange(SIZE))
    images = torch.cat([batch.views[0] for batch in batches])
    expected = Normalize([0.3057], [0.3760])(data.splits["train"].images)
    assert torch.equal(images, expected)
    assert torch.cat([b.labels for b in batches]).tolist() == data.labels.given.tolist()
    assert all(batch.share is None for batch in batches)


def test_test_splits_keep_their_own_labels_and_order() -> None:
    data = make_data()
    assert data.test_names == ("test", "other")
    for name, loader in zip(data.test_names, data.val_dataloader(), strict=True):
        batches = [data.on_after_batch_transfer(request, 0) for request in loader]
        split = data.splits[name]
        assert torch.equal(torch.cat([b.labels for b in batches]), split.labels)
        images = torch.cat([b.views[0] for b in batches])
        assert torch.equal(images, Normalize([0.3057], [0.3760])(split.images))


def test_a_second_setup_changes_nothing() -> None:
    data = make_data()
    splits, labels = data.splits, data.labels
    data.setup("fit")
    assert data.splits is splits
    assert data.labels is labels


def test_a_subset_is_a_fixed_random_choice_in_order() -> None:
    chosen = choose_subset(1000, 100, seed=4)
    assert torch.equal(chosen, choose_subset(1000, 100, seed=4))
    assert not torch.equal(chosen, choose_subset(1000, 100, seed=5))
    assert torch.equal(chosen, chosen.sort().values)
    assert len(set(chosen.tolist())) == 100
    assert 300 < chosen.double().mean() < 700
    assert torch.equal(choose_subset(10, None, 0), torch.arange(10))
    assert torch.equal(choose_subset(10, 10, 0), torch.arange(10))


@pytest.mark.parametrize("subset", [-1, 0, 1])
def test_a_subset_too_small_is_told(subset: int) -> None:
    with pytest.raises(InputError, match=rf"train_subset must be at least 2, got {subset}"):
        choose_subset(10, subset, 0)


def test_a_subset_of_more_than_there_are_is_all_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="train_subset=11, but there are 10: all"):
        assert torch.equal(choose_subset(10, 11, 0), torch.arange(10))


def test_a_subset_keeps_images_labels_and_positions_together() -> None:
    whole = make_data(noise=GivenAsTheyAre())
    data = make_data(noise=GivenAsTheyAre(), train_subset=40, subset_seed=2)
    index = torch.from_numpy(data.labels.index)
    assert torch.equal(index, choose_subset(SIZE, 40, 2))
    assert torch.equal(data.splits["train"].images, whole.splits["train"].images[index])
    assert torch.equal(data.splits["train"].labels, whole.splits["train"].labels[index])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"resident": "disk"},
            r"data\.resident must be one of auto, device, host, stream, got disk",
        ),
        ({"eval_batch_size": 0}, r"data\.eval_batch_size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_data(noise=Flipped(), **settings)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_no_rank_is_without_a_test_batch(world: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning leaves a rank without one out, and the others would wait for it."""
    data = make_data(eval_batch_size=512)
    seen: dict[str, list[Tensor]] = {name: [] for name in data.test_names}
    for rank in range(world):
        monkeypatch.setattr(data, "_rank_and_world", lambda rank=rank: (rank, world))
        for name, loader in zip(data.test_names, data.val_dataloader(), strict=True):
            assert len(loader) >= 1
            seen[name] += [request.indices for request in loader]
    for name, indices in seen.items():
        assert torch.equal(torch.cat(indices), torch.arange(len(data.splits[name])))
