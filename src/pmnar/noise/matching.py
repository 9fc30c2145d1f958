"""From a list of labels to the given labels of a training set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, IntArray, check_labels
from pmnar.noise.lists import LabelList

SHOWN = 5


def match(found: LabelList, clean: CleanLabels, path: Path) -> IntArray:
    """The labels of this run's samples, int64 `[N]`.

    By path, where the list has paths; else by index, where it has that; else in its order, which
    is that of the official training set, of this run's samples, or both.

    Args:
        found: what the file says.
        clean: the samples.
        path: the file, for messages.

    Raises:
        InputError: a label that is no class, a sample without a label, or another number.
    """
    labels = class_ids(found.labels, clean.num_classes, clean.class_names, f"noise.path: {path}")
    if found.paths is not None:
        return labels[_by_path(found.paths, clean, path)]
    if found.index is not None:
        return labels[_by_index(found.index, clean, path)]
    if len(labels) == len(clean.labels):
        return labels
    is_part = not np.array_equal(clean.index, np.arange(len(clean.labels)))
    if is_part and len(labels) > clean.index.max():
        return labels[clean.index]
    raise InputError(
        f"noise.path: {path} holds {len(labels)} labels, but there are {len(clean.labels)} "
        "training images; it must hold one for each, in the order of samples.parquet, or their "
        "paths in a column of their own"
    )


def class_ids(
    labels: Sequence[int | str], num_classes: int, names: Sequence[str], what: str
) -> IntArray:
    """Class numbers of labels that are numbers or names, int64 `[N]`.

    Text is a name if all text is; else it must be a number.

    Args:
        labels: whole numbers, names, or whole numbers as text.
        num_classes: K.
        names: the classes', where they are known.
        what: where the labels are from, for messages.

    Raises:
        InputError: neither a name nor a number in [0, K).
    """
    positions = {name: k for k, name in enumerate(names)}
    text = {label for label in labels if isinstance(label, str)}
    numbers = {label: int(label) for label in text if label.isascii() and label.isdecimal()}
    known = next((each for each in (positions, numbers) if text <= each.keys()), None)
    if known is None:
        strange = text - (positions if text & positions.keys() else numbers).keys()
        position, label = next((i, x) for i, x in enumerate(labels) if x in strange)
        raise InputError(
            f"{what}: {label!r} at {position} is no class of this data set, which has "
            f"{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
        )
    ids = [known[label] if isinstance(label, str) else label for label in labels]
    return check_labels(np.array(ids, np.int64), num_classes, f"{what}: labels")


def _by_index(index: Sequence[int], clean: CleanLabels, path: Path) -> IntArray:
    positions = {value: k for k, value in enumerate(index)}
    if len(positions) < len(index):
        raise InputError(f"noise.path: {path} has an index more than once")
    missing = [i for i in clean.index.tolist() if i not in positions]
    if missing:
        raise InputError(
            f"noise.path: {path} has no label for {len(missing)} of {len(clean.index)} training "
            f"images, such as that with index {missing[0]}"
        )
    return np.array([positions[i] for i in clean.index.tolist()], np.int64)


def _by_path(paths: Sequence[str], clean: CleanLabels, path: Path) -> IntArray:
    """The row of each training image; rows of other images, of the test set say, do not matter."""
    if clean.paths is None:
        raise InputError(
            f"noise.path: {path} names images by their paths, and those of "
            f"{clean.dataset or 'this data set'} have none; leave the column out"
        )
    rows: dict[str, int] = {}
    strangers = []
    ours = _Ends(clean.paths)
    for row, name in enumerate(paths):
        image = ours.find(name)
        if image is None:
            strangers.append(name)
        elif image in rows:
            raise InputError(
                f"noise.path: {path} has more than one label for {image}, in rows "
                f"{rows[image] + 1} and {row + 1}"
            )
        else:
            rows[image] = row
    missing = [image for image in clean.paths if image not in rows]
    if missing:
        also = f"; it names {strangers[0]}, which is none of them" if strangers else ""
        raise InputError(
            f"noise.path: {path} has no label for {len(missing)} of {len(clean.paths)} training "
            f"images, such as {missing[0]}{also}"
        )
    return np.array([rows[image] for image in clean.paths], np.int64)


class _Ends:
    """Finds images by a path that may begin above or below their common folder.

    `/data/my/train/cat/1.png` and `cat/1.png` both are `train/cat/1.png`, where no other image
    ends so.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.whole = set(paths)
        self.ends: dict[str, str | None] = {}
        for path in paths:
            for end in _ends(path)[1:]:
                self.ends[end] = None if end in self.ends else path

    def find(self, path: str) -> str | None:
        """The image, or None where there is none or more than one."""
        ends = _ends(path.replace("\\", "/").removeprefix("./"))
        above = next((end for end in ends if end in self.whole), None)
        return above or self.ends.get(ends[0])


def _ends(path: str) -> list[str]:
    """`a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[k:]) for k in range(len(parts))]
