from typing import Any

import numpy as np
import pytest

from pmnar.errors import InputError
from pmnar.noise.maps import CIFAR100_SUPERCLASSES, cifar100_map, class_map, next_in_block

CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
FASHION = "t-shirt trouser pullover dress coat sandal shirt sneaker bag boot"
DIGITS = "0 1 2 3 4 5 6 7 8 9"


@pytest.mark.parametrize(
    ("name", "classes", "flips"),
    [
        ("cifar10", CIFAR10, "truck>automobile bird>airplane deer>horse cat>dog dog>cat"),
        ("mnist", DIGITS, "2>7 3>8 5>6 6>5 7>1"),
        ("digits", DIGITS, "2>7 3>8 5>6 6>5 7>1"),
        (
            "fashion_mnist",
            FASHION,
            "boot>sneaker sneaker>sandal pullover>shirt coat>dress dress>coat",
        ),
    ],
)
def test_ten_class_maps_by_name(name: str, classes: str, flips: str) -> None:
    names = classes.split()
    targets = class_map(name, 10).tolist()
    found = {f"{names[i]}>{names[t]}" for i, t in enumerate(targets) if t != i}
    assert found == set(flips.split())


def test_superclasses_hold_each_class_once() -> None:
    members = [name for group in CIFAR100_SUPERCLASSES.values() for name in group]
    assert [len(group) for group in CIFAR100_SUPERCLASSES.values()] == [5] * 20
    assert len(set(members)) == 100


def test_fine_ids_are_alphabetical() -> None:
    """Ids that the official file is known to have: apple 0, bear 3, boy 11, wolf 97, worm 99."""
    fine = sorted(name for group in CIFAR100_SUPERCLASSES.values() for name in group)
    assert [fine.index(n) for n in ("apple", "bear", "boy", "wolf", "worm")] == [0, 3, 11, 97, 99]


def test_cifar100_stays_inside_the_superclass_and_returns_after_five_steps() -> None:
    fine = sorted(name for group in CIFAR100_SUPERCLASSES.values() for name in group)
    group_of = {name: group for group, names in CIFAR100_SUPERCLASSES.items() for name in names}
    targets = cifar100_map()
    ids = reached = np.arange(100)
    for _ in range(4):
        reached = targets[reached]
        assert (reached != ids).all()
        assert [group_of[fine[i]] for i in reached] == [group_of[name] for name in fine]
    assert np.array_equal(targets[reached], ids)
    assert fine[targets[fine.index("beaver")]] == "dolphin"
    assert fine[targets[fine.index("whale")]] == "beaver"


def test_blocks_and_next() -> None:
    assert class_map("cifar100_blocks", 100)[:7].tolist() == [1, 2, 3, 4, 0, 6, 7]
    assert class_map("next", 4).tolist() == [1, 2, 3, 0]
    assert np.array_equal(next_in_block(100, 100), (np.arange(100) + 1) % 100)


def test_explicit_mapping_also_with_text_keys() -> None:
    assert class_map({0: 2}, 3).tolist() == [2, 1, 2]
    text_keys: Any = {"1": 0}
    assert class_map(text_keys, 3).tolist() == [0, 0, 2]


def test_explicit_mapping_by_names() -> None:
    names = ("cat", "dog", "emu")
    assert class_map({"cat": "dog"}, 3, class_names=names).tolist() == [1, 1, 2]
    assert class_map({"emu": 0, 1: "cat"}, 3, class_names=names).tolist() == [0, 0, 0]
    # Text is a name first, a number is a number.
    assert class_map({"2": "10"}, 3, class_names=("1", "10", "2")).tolist() == [0, 1, 1]
    assert class_map({2: 1}, 3, class_names=("1", "10", "2")).tolist() == [0, 1, 1]
    wanted = "got cat: cow, or names of classes; the names are cat, dog, emu$"
    with pytest.raises(InputError, match=wanted):
        class_map({"cat": "cow"}, 3, class_names=names)
    with pytest.raises(InputError, match="to another one, got cat: 0"):
        class_map({"cat": 0}, 3, class_names=names)


@pytest.mark.parametrize(
    ("spec", "num_classes", "message"),
    [
        (None, 200, "tiny_imagenet has no asymmetric map of its own; use noise.map=next, a mappi"),
        ("cifar", 10, "noise.map must be cifar10, mnist, .*next or a mapping, got 'cifar'"),
        ("cifar10", 200, "noise.map=cifar10 is for 10 classes, but there are 200"),
        ("cifar100_blocks", 10, "noise.map=cifar100_blocks is for 100 classes"),
        ({3: 10}, 10, r"class ids in \[0, 10\), got 3: 10"),
        ({-1: 1}, 10, r"class ids in \[0, 10\), got -1: 1"),
        ({"cat": 1}, 10, "must hold class ids, got cat: 1"),
        ({2: 2}, 10, "must map a class to another one, got 2: 2"),
        ({}, 10, "got an empty mapping"),
    ],
)
def test_bad_maps(spec: Any, num_classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_map(spec, num_classes, "tiny_imagenet")
