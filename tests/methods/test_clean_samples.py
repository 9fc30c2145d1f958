"""Methods that learn from samples with true labels too: what they ask for, and that they get it."""

import pytest
from every import METHODS, build, lend, uses_truth
from torch import nn
from toy import FewDigits, NoNorm, fit, make_data, train_batches

from pmnar.errors import InputError
from pmnar.noise.class_conditional import Clean

NAMES = [name for name in METHODS if uses_truth(name)]


@pytest.mark.parametrize("name", NAMES)
def test_without_true_labels_a_line_says_what_to_set(name: str) -> None:
    unknown = make_data(source=FewDigits(labels_are_true=False), noise=Clean())
    with pytest.raises(InputError, match=r"^this method learns .* set data\.clean to .*=1000$"):
        build(name, unknown)
    few = make_data(clean=1)
    method = build(name, few)
    with pytest.raises(InputError, match=r"^data\.clean must be at least 2, .*, got 1$"):
        fit(method, few)


@pytest.mark.parametrize("name", NAMES)
def test_its_networks_running_statistics_are_of_one_forward_a_step(name: str) -> None:
    data = make_data()
    method = build(name, data)
    fit(method, data)
    norm = method.networks["first"].norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert int(norm.num_batches_tracked or 0) == 3
    assert norm.track_running_stats


@pytest.mark.parametrize("name", NAMES)
def test_clean_samples_come_in_batches_of_their_own_size(name: str) -> None:
    data = make_data()
    lend(data)
    method = build(name, data, NoNorm, clean_batch_size=5)
    fit(method, data)
    assert {len(batch.parts["clean"].indices) for batch in train_batches(data)} == {5}
