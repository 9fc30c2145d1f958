"""How a folder of images is laid out: splits of classes, or classes alone."""

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
KEY = "dataset.source.data_dir"
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
    of_split = {name: SPLIT_OF[name.lower()] for name in names if name.lower() in SPLIT_OF}
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
    return Layout(ordered, _notice(root, ordered))


def _notice(root: Path, folders: dict[str, Path]) -> str:
    if "test" in folders or "val" not in folders:
        return ""
    return f"{root} has no test folder: {folders['val'].name}/ is what accuracy is reported on"


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
    """Raises `InputError` where each class is divided into splits, which would be mixed."""
    inside = [{SPLIT_OF.get(name.lower()) for name in subfolders(root / at)} for at in names]
    if inside and all("train" in splits and splits & {"test", "val"} for splits in inside):
        raise InputError(
            f"{root} has split folders inside {_named(names)}: it must hold <split>/<class>/, or "
            f"<class>/ (dataset.source.layout=classes, to take each as one class) ({KEY})"
        )


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown + (f", … ({len(names):,})" if len(names) > SHOWN else "")
