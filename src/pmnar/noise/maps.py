"""Which class is mistaken for which: the maps of asymmetric noise.

A map is an int64 array `[K]`, class → mistaken class; a class that maps to itself is never flipped.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pmnar.errors import InputError
from pmnar.noise.base import IntArray

# Patrini et al. (CVPR 2017), Section 5, and their followers
_SIMILAR: dict[str, dict[int | str, int | str]] = {
    # truck → automobile, bird → airplane, deer → horse, cat ↔ dog
    "cifar10": {9: 1, 2: 0, 4: 7, 3: 5, 5: 3},
    "mnist": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1},
    "digits": {2: 7, 3: 8, 5: 6, 6: 5, 7: 1},
    # ankle boot → sneaker, sneaker → sandal, pullover → shirt, coat ↔ dress
    "fashion_mnist": {9: 7, 7: 5, 2: 6, 4: 3, 3: 4},
}

# Krizhevsky (2009), Section 3.1; fine label ids are the alphabetical order of these names
CIFAR100_SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}

MOST_SHOWN = 20  # names that a message lists
NAMES = (*_SIMILAR, "cifar100", "cifar100_blocks", "next")


def cifar100_map() -> IntArray:
    """The next class inside the superclass, in alphabetical order, cyclic; int64 `[100]`."""
    fine = sorted(name for members in CIFAR100_SUPERCLASSES.values() for name in members)
    position = {name: i for i, name in enumerate(fine)}
    targets = np.empty(len(fine), np.int64)
    for members in CIFAR100_SUPERCLASSES.values():
        ids = np.array(sorted(position[name] for name in members))
        targets[ids] = np.roll(ids, -1)
    return targets


def next_in_block(num_classes: int, block: int) -> IntArray:
    """c → c + 1, cyclic inside blocks of `block` consecutive ids; int64 `[K]`."""
    ids = np.arange(num_classes, dtype=np.int64)
    return ids // block * block + (ids + 1) % block


def class_map(
    spec: str | Mapping[int | str, int | str] | None,
    num_classes: int,
    dataset: str = "",
    class_names: Sequence[str] = (),
) -> IntArray:
    """The map that `noise.map` names, int64 `[K]`.

    Args:
        spec: one of `NAMES`, or `{source: target}`, of class numbers or names; text that is the
            name of a class is that class, whatever its number.
        num_classes: K.
        dataset: for messages.
        class_names: K names, where they are known.

    Raises:
        InputError: `spec` is None or unknown, or does not fit K classes.
    """
    if spec is None:
        raise InputError(
            f"noise.map: {dataset or 'this data set'} has no asymmetric map of its own; use "
            "noise.map=next, a mapping such as 'noise.map={2:0}', or noise=pair45"
        )
    if isinstance(spec, Mapping):
        return _from_mapping(spec, num_classes, class_names)
    if spec == "next":
        return next_in_block(num_classes, num_classes)
    if spec not in NAMES:
        raise InputError(f"noise.map must be {', '.join(NAMES)} or a mapping, got {spec!r}")
    size = 100 if spec.startswith("cifar100") else 10
    if num_classes != size:
        raise InputError(f"noise.map={spec} is for {size} classes, but there are {num_classes}")
    if spec == "cifar100":
        return cifar100_map()
    if spec == "cifar100_blocks":
        return next_in_block(num_classes, 5)
    return _from_mapping(_SIMILAR[spec], num_classes)


def _from_mapping(
    mapping: Mapping[int | str, int | str], num_classes: int, names: Sequence[str] = ()
) -> IntArray:
    targets = np.arange(num_classes, dtype=np.int64)
    if not mapping:
        raise InputError("noise.map must name at least one class, got an empty mapping")
    for key, value in mapping.items():
        try:
            source, target = _class_id(key, names), _class_id(value, names)
        except ValueError:
            known = f"; the names are {', '.join(names)}" if 0 < len(names) <= MOST_SHOWN else ""
            raise InputError(
                f"noise.map must hold class ids, got {key}: {value}, or names of classes{known}"
            ) from None
        if not (0 <= source < num_classes and 0 <= target < num_classes):
            raise InputError(
                f"noise.map must hold class ids in [0, {num_classes}), got {key}: {value}"
            )
        if source == target:
            raise InputError(f"noise.map must map a class to another one, got {key}: {value}")
        targets[source] = target
    return targets


def _class_id(key: int | str, names: Sequence[str]) -> int:
    if isinstance(key, str) and key in names:
        return names.index(key)
    return int(str(key))
