"""What is held out with its true labels."""

import pytest
import torch
from toy import SIZE, FewDigits, make_data

from pmnar.data.batches import Stream
from pmnar.errors import InputError
from pmnar.noise.class_conditional import Clean


def test_the_clean_split_has_true_labels_and_is_not_trained_or_tested_on() -> None:
    whole, data = make_data(), make_data(clean=13)
    assert whole.labels.true is not None
    assert data.labels.held_out is not None
    held = data.labels.held_out.index
    clean = data.splits["clean"]
    assert len(clean) == len(held) == 13
    assert clean.labels.tolist() == whole.labels.true[held].tolist()
    assert clean.labels.tolist() != whole.labels.given[held].tolist()
    assert torch.equal(clean.images, whole.splits["train"].images[torch.from_numpy(held)])
    assert sorted([*held.tolist(), *data.labels.index.tolist()]) == list(range(SIZE))
    assert data.test_names == whole.test_names


def test_each_class_has_its_share_of_it() -> None:
    data = make_data(clean=30)
    assert data.labels.true is not None
    of_rest = torch.bincount(torch.from_numpy(data.labels.true), minlength=10)
    of_clean = torch.bincount(data.splits["clean"].labels, minlength=10)
    expected = (of_rest + of_clean) * 30 / SIZE
    assert ((of_clean - expected).abs() <= 1).all()


def test_it_is_apart_from_what_is_held_out_with_given_labels() -> None:
    data = make_data(clean=10, noisy_validation=0.25)
    assert [len(data.splits[n]) for n in ("train", "noisy_validation", "clean")] == [35, 15, 10]
    alone = make_data(noisy_validation=0.25).splits["noisy_validation"]
    assert torch.equal(data.splits["noisy_validation"].images, alone.images)
    assert torch.equal(data.splits["noisy_validation"].labels, alone.labels)


def test_another_seed_holds_out_others_and_the_same_the_same() -> None:
    found = [make_data(clean=10, clean_seed=seed).splits["clean"].images for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("clean", [-1, 60, 61, 0.5, True])
def test_a_number_out_of_range_is_told(clean: int) -> None:
    with pytest.raises(InputError, match=r"data\.clean must be a number of samples in \[0, 60\)"):
        make_data(clean=clean)


def test_true_labels_that_nobody_knows_cannot_be_held_out() -> None:
    unknown = FewDigits(labels_are_true=False)
    with pytest.raises(InputError, match=r"data\.clean=5 needs true labels, and none is known"):
        make_data(source=unknown, noise=Clean(), clean=5)


def test_only_a_method_that_says_so_draws_from_it() -> None:
    data = make_data(clean=10)
    data.streams = lambda epoch: {"clean": Stream(torch.arange(10), split="clean")}
    with pytest.raises(ValueError, match="stream clean: the method may not draw from clean"):
        data.shuffled(lambda: 0)
    data.uses_truth = True
    [request] = data.shuffled(lambda: 0)
    batch = data.on_after_batch_transfer(request, 0)
    part = batch.parts["clean"]
    assert torch.equal(part.labels, data.splits["clean"].labels[part.indices])
