"""Features that were computed elsewhere, with labels that may be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.feature_files import FeatureFile, open_features
from pmnar.data.sources.feature_matrices import KEY, Array
from pmnar.data.sources.feature_rows import Places, SplitRows
from pmnar.data.sources.layout import SPLITS, split_of
from pmnar.data.sources.splitting import (
    check_labels_are_true,
    check_split,
    stratified_split,
)
from pmnar.errors import InputError

IntArray = Places
FIRST = 5
"""How many names a line shows."""


@dataclass(frozen=True)
class Contents:
    """What a file says of its samples.

    Attributes:
        classes: K names.
        given: int64 `[N]`.
        true: int64 `[N]`, where they are known.
        paths: N, where there are any.
        places: of each split its rows, ascending; `train` first.
        rows: the features.
    """

    classes: tuple[str, ...]
    given: IntArray
    true: IntArray | None
    paths: list[str] | None
    places: dict[str, Places]
    rows: SplitRows


class Features:
    """A file of features `[N, D]`, one row a sample, with the labels that they were given.

    `.npz` and `.parquet` hold `features` (in a `.parquet` a column of lists), `labels` and, where
    these are known, `true_labels`, `paths` and `split`; the latter's names are train (training),
    test (testing) and val (valid, validation, dev), in any case. Beside `clip.npy` there are
    `clip.labels.npy` and so on. Labels are numbers in [0, K), or names, which are ordered; numbers
    are named by `class_names`, where an `.npz` or a file beside an `.npy` has them.

    Without a split, or with nothing but train, a test split is drawn. Tests are judged by true
    labels where there are any, else by given ones.

    Args:
        path: the file; there is none by default, and None is refused.
        test_fraction: share of each given class that becomes the test split, where there is none;
            in [0, 1). With 0 every sample is trained on.
        split_seed: seed of that choice.
        labels_are_true: whether the labels are known to be right, where there are no true ones.
    """

    name = "features"

    def __init__(
        self,
        path: str | Path | None,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        labels_are_true: bool = False,
    ) -> None:
        if path is None:
            raise InputError(f"{KEY} must be the file of the features: {KEY}=my_features.npz")
        check_split(test_fraction, split_seed)
        check_labels_are_true(labels_are_true)
        self.path = Path(path).expanduser()
        self.test_fraction, self.split_seed = test_fraction, split_seed
        self.labels_are_true = labels_are_true

    def prepare(self) -> None:
        """Convert what cannot be mapped as it is into the cache.

        Raises:
            InputError: the file cannot be used; the line says why.
        """
        self._contents().rows.load()

    def load(self) -> ImageData:
        """Features float32 `[N, D, 1, 1]`, mapped, each split in the file's order.

        Raises:
            InputError: as `prepare`.
        """
        found = self._contents()
        best = found.given if found.true is None else found.true
        splits = {
            name: Split(
                torch.from_numpy(features)[:, :, None, None],
                torch.from_numpy(best[places]),
                None if found.paths is None else tuple(found.paths[at] for at in places.tolist()),
            )
            for (name, places), features in zip(
                found.places.items(), found.rows.load(), strict=True
            )
        }
        rows = found.places["train"]
        return ImageData(
            self.name,
            found.classes,
            splits.pop("train"),
            splits,
            labels_are_true=found.true is not None or self.labels_are_true,
            given=None if found.true is None else torch.from_numpy(found.given[rows]),
            rows=torch.from_numpy(rows),
        )

    def _contents(self) -> Contents:
        file = open_features(self.path)
        columns, size = file.columns, file.features.shape[0]
        for name, column in columns.items():
            if name != "class_names" and column.shape != (size,):
                raise InputError(
                    f"{KEY}: {self.path}: {name} must be one value for each of {size} rows of "
                    f"features, got {list(column.shape)}"
                )
        classes, given = _numbered(file, "labels", _class_names(file))
        true = _numbered(file, "true_labels", classes)[1] if "true_labels" in columns else None
        places = self._places(file, given)
        _check_classes(self.path, classes, given[places["train"]])
        paths = [str(each) for each in columns["paths"].tolist()] if "paths" in columns else None
        return Contents(
            classes, given, true, paths, places, SplitRows(file, tuple(places.values()))
        )

    def _places(self, file: FeatureFile, given: IntArray) -> dict[str, Places]:
        """The rows of each split, drawn where there is none beside train."""
        places = _splits(self.path, file.columns.get("split"), len(given))
        if len(places) == 1 and self.test_fraction > 0:
            everything = places["train"]
            train, test = stratified_split(given[everything], self.test_fraction, self.split_seed)
            if not len(test):
                raise InputError(
                    f"{KEY}: {self.path} has one sample a class, which leaves no test split: give "
                    "it a split, or set dataset.source.test_fraction=0"
                )
            places = {"train": everything[train], "test": everything[test]}
        return places


def _splits(path: Path, column: Array | None, size: int) -> dict[str, Places]:
    if column is None:
        return {"train": np.arange(size)}
    written, of_row = np.unique(column.astype(str), return_inverse=True)
    known = [split_of(name) for name in written.tolist()]
    if None in known or "train" not in known:
        wanted = ", ".join("/".join(names) for names in SPLITS.values())
        raise InputError(
            f"{KEY}: {path}: split must be train and others of {wanted}, "
            f"got {_few(written.tolist())}"
        )
    split = np.array(known)[of_row]
    return {name: np.flatnonzero(split == name) for name in SPLITS if name in known}


def _class_names(file: FeatureFile) -> tuple[str, ...] | None:
    """The names that a file has for numbers."""
    if "class_names" not in file.columns:
        return None
    names = [str(name) for name in file.columns["class_names"].ravel().tolist()]
    if len(set(names)) < len(names):
        raise InputError(f"{KEY}: {file.path}: class_names must differ, got {_few(names)}")
    return tuple(names)


def _numbered(
    file: FeatureFile, name: str, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], IntArray]:
    """The names of all classes, and a column of labels as their numbers, int64 `[N]`.

    Args:
        file: where the column is.
        name: the column's.
        classes: the names, where they are known; else the column says.
    """
    column = file.columns[name]
    if column.dtype.kind in "US":
        found, numbers = np.unique(column.astype(str), return_inverse=True)
        names = tuple(found.tolist()) if classes is None else classes
        if strange := [each for each in found.tolist() if each not in names]:
            raise InputError(
                f"{KEY}: {file.path}: {name} must be among the classes {_few(names)}, "
                f"got {strange[0]!r}"
            )
        places = {each: k for k, each in enumerate(names)}
        return names, np.array([places[each] for each in found.tolist()], np.int64)[numbers]
    whole = column.dtype.kind in "biu" or (
        column.dtype.kind == "f" and bool((np.isfinite(column) & (column % 1 == 0)).all())
    )
    if not whole:
        raise InputError(
            f"{KEY}: {file.path}: {name} must be whole numbers or text, got {column.dtype} such "
            f"as {column[:1].tolist()}"
        )
    last = len(classes) - 1 if classes else np.iinfo(np.int32).max
    outside = np.flatnonzero((column < 0) | (column > last))
    if len(outside):
        known = f"in [0, {last + 1}), the classes that there are" if classes else "0 to K - 1"
        raise InputError(
            f"{KEY}: {file.path}: {name} must be {known}, got {column[outside[0]]} in row "
            f"{outside[0]}"
        )
    numbers = column.astype(np.int64)
    if classes:
        return classes, numbers
    there = np.unique(numbers)
    if len(there) <= there[-1]:
        missing = int(np.flatnonzero(there != np.arange(len(there)))[0])
        raise InputError(
            f"{KEY}: {file.path}: {name} must be 0 to K - 1, each there, or text: there is "
            f"{there[-1]}, and no {missing}"
        )
    return tuple(map(str, there.tolist())), numbers


def _check_classes(path: Path, classes: Sequence[str], trained: IntArray) -> None:
    """Raise `InputError` unless there are two classes, each with a training sample."""
    if len(classes) < 2 or len(np.unique(trained)) < 2:
        names = [classes[k] for k in np.unique(trained).tolist()]
        raise InputError(
            f"{KEY}: {path}: training samples must be of at least 2 classes, got {_few(names)}"
        )
    counts = np.bincount(trained, minlength=len(classes))
    if counts.min() == 0:
        raise InputError(
            f"{KEY}: {path}: class {classes[int(counts.argmin())]} has no training sample: each of "
            f"{len(classes)} classes must have one"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:FIRST])) + (", …" if len(names) > FIRST else "")
