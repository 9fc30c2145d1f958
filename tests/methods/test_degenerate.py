"""Divisions and labels at their bounds, of every method found in conf/method."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from every import METHODS, build, settings_of
from torch import Tensor, nn
from torch.nn.functional import one_hot
from toy import SIZE, FewDigits, GivenAsTheyAre, TinyNet, fit, make_data

from pmnar.data import ImageData
from pmnar.errors import InputError

EPOCHS = 5
"""All stages of all methods."""
STEP, SURE = 25, 8.0
"""Of the grey value that stands for a class, and of the logit that it is worth."""


class Told(FewDigits):
    """Digits in whose middle is written what a network is to say of them."""

    def __init__(self, told: Tensor, given: Tensor) -> None:
        super().__init__(labels=given)
        self.told = told

    def load(self) -> ImageData:
        data = super().load()
        images = data.train.images.clone()
        # Wide enough for a crop that is shifted.
        images[:, :, 2:6, 2:6] = (STEP * self.told + STEP // 2)[:, None, None, None].to(torch.uint8)
        return replace(data, train=replace(data.train, images=images))


class Beside(nn.Linear):
    """A head of the first features; the others are added to its logits."""

    def forward(self, input: Tensor) -> Tensor:
        own: Tensor = super().forward(input[:, : self.in_features])
        return own + input[:, self.in_features :]


class Telling(TinyNet):
    """Says what is written in the middle of an image, and learns beside that."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.head, self.feature_size = Beside(8, num_classes), 8 + num_classes

    def features(self, x: Tensor) -> Tensor:
        grey = 255 * (0.3760 * x[:, 0, 4, 4] + 0.3057)
        told = (grey / STEP).long().clamp(0, self.head.out_features - 1)
        return torch.cat([super().features(x), SURE * one_hot(told, self.head.out_features)], 1)


def spread(told: Tensor) -> Tensor:
    """Labels none of which is what is said; and of those of whom the same is said, all differ."""
    return (told + 1 + torch.arange(SIZE) // 10) % 10


def all_but_of(told: Tensor, label: int) -> Tensor:
    """Labels that are what is said, but for a class whose samples are each in another's place."""
    given = torch.where(told == label, spread(told), told)
    return torch.where(torch.arange(SIZE) // 10 == told - 4, label, given)


EVEN = torch.arange(SIZE) % 10
FIRST = torch.arange(SIZE) < 5
JUDGED: dict[str, tuple[Tensor, int]] = {
    "everything is clean": (EVEN, SIZE),
    "everything is noisy": (spread(EVEN), 0),
    "a class has no clean sample": (all_but_of(EVEN, 3), SIZE - 12),
    "fewer are clean than a batch has": (torch.where(FIRST, EVEN, spread(EVEN)), 5),
}
"""Given labels where sample i is said to be of class i mod 10; how many are what is said."""
ONE, NINE = torch.zeros(SIZE, dtype=torch.int64), torch.arange(SIZE) % 8
ONE[7], NINE[7] = 1, 8
COUNTED: dict[str, tuple[Tensor, int]] = {
    "two classes": (torch.arange(SIZE) % 2, 2),
    "two classes, one sample in one of them": (ONE, 2),
    "a class with one sample, and one with none": (NINE, 10),
}
"""Given labels, and K."""


def trains_on_or_says_what_to_change(
    name: str, source: FewDigits, network: Callable[[], nn.Module], classes: int
) -> None:
    data = make_data(noise=GivenAsTheyAre(), source=source)
    names, said = tuple(map(str, range(classes))), ""
    try:
        # A loss that is not finite would end it.
        asks = isinstance(settings_of(name).get("neighbours"), int)
        more = {"neighbours": 5} if asks else {}  # a single one is often its own neighbour's
        method = build(name, data, network, 0.02, class_names=names, **more)
        fit(method, data, epochs=EPOCHS, limit_val_batches=0)
    except InputError as error:
        said = str(error)
    if said:
        assert re.search(r"(raise|lower|set) (method|data)\.", said), said
        assert "\n" not in said
        return
    assert all(value.isfinite().all() for value in method.state_dict().values())
    assert all(column.isfinite().all() for column in method.scores().values())
    assert all(-float("inf") < float(value) < float("inf") for value in method.record.values())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("judged", JUDGED)
def test_any_judgement_is_trained_on(name: str, judged: str) -> None:
    given, _ = JUDGED[judged]
    source = Told(EVEN, given)
    trains_on_or_says_what_to_change(name, source, partial(Telling, 10), 10)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("counted", COUNTED)
def test_classes_of_any_size_are_trained_on(name: str, counted: str) -> None:
    given, classes = COUNTED[counted]
    source = FewDigits(labels=given)
    trains_on_or_says_what_to_change(name, source, partial(TinyNet, classes), classes)


@pytest.mark.parametrize("judged", JUDGED)
def test_networks_say_what_they_are_told(judged: str) -> None:
    """Trained for as long, of the images that methods judge by."""
    given, right = JUDGED[judged]
    assert int((given == EVEN).sum()) == right
    data = make_data(noise=GivenAsTheyAre(), source=Told(EVEN, given))
    method = build("ce", data, partial(Telling, 10), 0.02)
    fit(method, data, epochs=EPOCHS, limit_val_batches=0)
    confidence = method.measure().confidence["first"]
    assert ((confidence > 0.9) == (given == EVEN)).all()
    assert ((confidence < 0.1) == (given != EVEN)).all()
