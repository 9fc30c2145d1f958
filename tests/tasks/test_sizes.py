"""How long to train, and what, by how many images there are."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pmnar.data.batches import check_batch_size
from pmnar.networks import PreActResNet18
from pmnar.tasks import sizes


@pytest.mark.parametrize("images", [8, 9, 79, 80, 159, 160, 640, 1347, 3000, 50_000, 1_000_000])
def test_a_recipe_has_its_steps_within_its_epochs(images: int) -> None:
    batch = sizes.batch_size(images)
    check_batch_size(batch, images, 1)
    steps = sizes.steps(images, batch)
    assert steps == sum(min(batch, images - at) >= 2 for at in range(0, images, batch))
    assert steps >= sizes.STEPS_OF_AN_EPOCH or batch == min(sizes.BATCH_SIZES[-1], images)
    epochs = sizes.epochs(images, batch)
    assert sizes.FEWEST <= epochs <= sizes.MOST
    assert epochs * steps >= sizes.STEPS or epochs == sizes.MOST
    assert epochs == sizes.FEWEST or (epochs - 1) * steps < sizes.STEPS
    warm_up = sizes.warm_up(10, steps, epochs)
    assert warm_up * steps >= sizes.WARM_UP or warm_up == epochs // 2
    assert 10 <= warm_up <= epochs // 2


def test_a_method_without_a_warm_up_gets_none() -> None:
    assert sizes.warm_up(0, 10, 400) == 0


def test_places_keep_their_share_of_the_epochs() -> None:
    assert sizes.scaled([120, 240], 300, 100) == [40, 80]
    assert sizes.scaled([1, 2], 300, 100) == [1, 1]
    assert sizes.milestones(90) == [45, 68]


def test_cycles_are_whole_and_about_as_long_as_configured() -> None:
    assert [sizes.cycle(epochs, 10) for epochs in (150, 90, 36, 37, 4, 1)] == [10, 10, 9, 37, 4, 1]
    for epochs in range(1, 200):
        assert epochs % sizes.cycle(epochs, 10) == 0


def test_stages_fill_a_shorter_run_without_going_past_it() -> None:
    assert sizes.shortened([10, 6, 10], 36) == [14, 8, 14]
    assert sizes.shortened([720, 100, 100], 12) == [9, 2, 1]
    assert sizes.shortened([100, 1, 100], 10) == [5, 1, 5]  # none is left out


def test_images_are_scaled_to_what_is_worth_its_cost() -> None:
    sides = (4, 8, 28, 32, 95, 96, 500)
    assert [sizes.image_size(side) for side in sides] == [8, 8, 28, 32, 32, 64, 64]
    assert [sizes.padding(size) for size in (8, 28, 32, 64)] == [1, 3, 4, 8]


@pytest.mark.parametrize("side", [8, 16, 28, 32, 63, 64, 84])
def test_each_network_is_at_least_twice_as_dear_as_the_one_before(side: int) -> None:
    """By what a forward multiplies: a search in a budget leaves out those that cannot fit."""
    costs = []
    for network in sizes.networks(side):
        with torch.device("meta"), FlopCounterMode(display=False) as counted:
            built = PreActResNet18(10, **network._asdict()).eval()
            built(torch.zeros(1, 3, side, side))
        costs.append(counted.get_total_flops())
    assert all(dearer >= 2 * cheaper for cheaper, dearer in pairwise(costs)), costs


def test_more_images_or_classes_never_get_a_smaller_network() -> None:
    for choices in (1, 4, 5):
        by_images = [sizes.network_for(n, 10, choices) for n in (100, 9_999, 10_000, 25_000)]
        assert by_images == sorted(by_images)
        assert max(by_images) == choices - 1
        assert sizes.network_for(100, 100, choices) >= by_images[0]


@pytest.mark.parametrize("seconds", [1, 5, 10, 19, 20, 39, 40, 100, 10_000])
def test_the_dearest_network_that_fits_is_taken(seconds: float) -> None:
    paces, wanted = (0.5, 1.0, 3.9, 8.0), 10

    def pace(place: int) -> float:
        asked.append(place)
        return paces[place]

    asked: list[int] = []
    found = sizes.fitted(seconds, wanted, len(paces), pace)
    fits = [k for k, its in enumerate(paces) if its * wanted <= seconds]
    assert found.place == (fits[-1] if fits else 0)
    assert found.seconds == paces[found.place]
    assert found.epochs == (wanted if fits else max(int(seconds / paces[0]), 1))
    assert len(asked) == len(set(asked)) <= found.place + 2
