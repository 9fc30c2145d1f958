"""How a folder of images is laid out: splits of classes, or classes alone."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pmnar.data.sources.finding import image_files, subfolders
from pmnar.errors import InputError

Form = Literal["auto", "classes"]
SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
}
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
SUFFIX = re.compile(r"[ _-]?(set|data|images)$")
"""What may follow such a name: training_set, test-data."""

KEY = "data_dir"
SHOWN = 8


@dataclass(frozen=True)
class Layout:
    """Where the splits are.

    Attributes:
        folders: the folder of each: `train`, which is all where there are no others, then `test`
            and `val` as far as they are there.
        notice: what a user should know of the choice, or nothing.
    """

    folders: dict[str, Path]
    notice: str = ""


def find_layout(root: Path, form: Form = "auto") -> Layout:
    """The splits of `root`, known by their usual names in any case.

    Args:
        root: the folder.
        form: `classes` where every folder is a class, whatever its name.

    Raises:
        InputError: there is no such folder, or its folders are neither splits nor classes alone.
    """
    if form not in ("auto", "classes"):
        raise InputError(f"dataset.source.layout must be auto or classes, got {form}")
    if not root.is_dir():
        raise InputError(f"{KEY}: there is no folder {root}")
    names = subfolders(root)
    of_split = {name: split for name in names if (split := split_of(name))}
    if form == "classes" or not of_split:
        if form == "auto":
            _check_classes(root, names)
        return Layout({"train": root})
    # What holds no image (notes, annotations) is neither a split nor a class.
    classes = [name for name in names if name not in of_split and image_files(root / name)]
    if classes or "train" not in of_split.values() or len({*of_split.values()}) < len(of_split):
        raise InputError(_describe_mixture(root, list(of_split), classes))
    folders = {split: root / name for name, split in of_split.items()}
    ordered = {split: folders[split] for split in SPLITS if split in folders}
    labelled = {
        split: folder for split, folder in ordered.items() if split == "train" or subfolders(folder)
    }
    return Layout(labelled, _notice(root, ordered, labelled))


def split_of(name: str) -> str | None:
    """`train`, `test` or `val`, where it is one of their usual names; else None."""
    return SPLIT_OF.get(SUFFIX.sub("", name.lower()))


def _notice(root: Path, folders: dict[str, Path], labelled: dict[str, Path]) -> str:
    """What a user should know: folders without labels, and what accuracy is reported on."""
    bare = [f"{folder.name}/" for split, folder in folders.items() if split not in labelled]
    parts = [f"{root}: {' and '.join(bare)} left out, no <class>/ folders in it"] if bare else []
    if "test" not in labelled and "val" in labelled:
        name = labelled["val"].name
        parts.append(f"{root} has no test folder: {name}/ is what accuracy is reported on")
    elif bare and len(labelled) == 1:
        name = labelled["train"].name
        parts.append(f"a part of {name}/ is held out as a test set (dataset.source.test_fraction)")
    return "; ".join(parts)


def _describe_mixture(root: Path, splits: list[str], classes: list[str]) -> str:
    found = f"{root} holds the split folders {_named(splits)}"
    if classes:
        found += f" beside {_named(classes)}"
    return (
        f"{found}: it must hold one of {'/'.join(SPLITS['train'])}, at most one each of "
        f"{'/'.join(SPLITS['test'])} and {'/'.join(SPLITS['val'])}, and no class beside them; "
        f"or classes alone (dataset.source.layout=classes, where all of these are) ({KEY})"
    )


def _check_classes(root: Path, names: list[str]) -> None:
    """Raises `InputError` where each class is divided into splits, or named after one."""
    words = [{*map(split_of, re.findall("[a-z]+", name.lower()))} - {None} for name in names]
    if all(words) and len(set().union(*words)) > 1:
        raise InputError(
            f"{_named(names)} in {root} look like splits: name them train and test or val "
            f"(dataset.source.layout=classes, to take each as one class) ({KEY})"
        )
    inside = [{*map(split_of, subfolders(root / at))} for at in names]
    if inside and all("train" in splits and splits & {"test", "val"} for splits in inside):
        raise InputError(
            f"{root} has split folders inside {_named(names)}: it must hold <split>/<class>/, or "
            f"<class>/ (dataset.source.layout=classes, to take each as one class) ({KEY})"
        )


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown + (f", … ({len(names):,})" if len(names) > SHOWN else "")
