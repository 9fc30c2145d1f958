"""Any folder of images, one sub-folder a class."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.cache import CachedImages, OnError
from pmnar.data.sources.decode import Decoder, typical_side
from pmnar.data.sources.finding import (
    Found,
    describe_left_out,
    find_images,
    first_few,
    heic_hint,
    looping_links,
    loose_images,
    subfolders,
)
from pmnar.data.sources.layout import KEY, Form, find_layout
from pmnar.data.sources.listing import make_listing
from pmnar.data.sources.splitting import (
    check_labels_are_true,
    check_split,
    stratified_split,
)
from pmnar.errors import InputError


@dataclass(frozen=True)
class Contents:
    """What a folder holds: class names, the images of each split, and what to tell of it."""

    classes: tuple[str, ...]
    splits: dict[str, CachedImages]
    notices: tuple[str, ...]


class ImageFolder:
    """A folder of images, of which the labels may be wrong.

    Either `<split>/<class>/…`, or `<class>/…` with a test split drawn from it. The splits are
    train (or training), test (testing) and val (valid, validation, dev), in any case; accuracy is
    reported on test where it is there, else on val. Images may lie deeper, behind links, and under
    any name; what is left out is told. Classes are ordered by name.

    Args:
        data_dir: the folder; there is none by default, and None is refused.
        image_size: images are stretched to this square.
        channels: 1 (gray) or 3 (RGB); `Decoder` says how other kinds of image are converted.
        test_fraction: share of each class that becomes the test split, where there is no folder
            of tests; in [0, 1). Its labels are trusted no more than the others. With 0 there is no
            test split, and every image is trained on.
        split_seed: seed of that choice.
        on_error: what an unreadable image does: `raise` an error, or `skip` it.
        labels_are_true: whether the training labels are known to be right.
        layout: `auto`, or `classes` where every folder is one, even if it is called `test`.
        gray_bits: of 16-bit gray, the bits that are used; what else they hold is told.
    """

    name = "image_folder"

    def __init__(
        self,
        data_dir: str | Path | None,
        image_size: int = 32,
        channels: int = 3,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        on_error: OnError = "raise",
        labels_are_true: bool = False,
        layout: Form = "auto",
        gray_bits: int = 16,
    ) -> None:
        if data_dir is None:
            raise InputError(f"{KEY} must be the folder of the images: {KEY}=my_images")
        check_split(test_fraction, split_seed)
        check_labels_are_true(labels_are_true)
        self.data_dir = Path(data_dir).expanduser()
        self.decoder = Decoder(image_size, channels, gray_bits)
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.on_error = on_error
        self.labels_are_true = labels_are_true
        self.layout: Form = layout
        self._has_warned = False  # a Trainer has the source prepared again

    def prepare(self) -> None:
        """Decode the folder into its cache; tell what is left out.

        Raises:
            InputError: the folder is missing, neither splits nor classes, has one class, an empty
                class, a test class that training lacks, or an unreadable image.
        """
        contents = self._contents()
        for notice in () if self._has_warned else contents.notices:
            warnings.warn(notice, stacklevel=2)
        self._has_warned = True
        for images in contents.splits.values():
            images.store()

    def load(self) -> ImageData:
        """Images uint8 `[N, channels, image_size, image_size]`, ordered by class and path.

        Raises:
            InputError: as `prepare`.
        """
        contents = self._contents()
        classes = contents.classes
        splits = {name: images.load() for name, images in contents.splits.items()}
        train = splits.pop("train")
        counts = np.bincount(train.labels.numpy(), minlength=len(classes))
        if counts.min() == 0:
            name = classes[int(counts.argmin())]
            raise InputError(f"class '{name}' in {self.data_dir} has no readable image ({KEY})")
        if not splits and self.test_fraction > 0:
            train, splits["test"] = self._divide(train)
        return ImageData(self.name, classes, train, splits, self.labels_are_true)

    def side(self) -> int:
        """The median of the shorter sides, in pixels, of some of the training images.

        Raises:
            InputError: as `prepare`, but for unreadable images.
        """
        listing = self._contents().splits["train"].listing
        return typical_side(listing.root, listing.paths)

    def _contents(self) -> Contents:
        layout = find_layout(self.data_dir, self.layout)
        classes = tuple(subfolders(layout.folders["train"]))
        _check_classes(classes, layout.folders)
        found = Found()
        splits = {
            name: self._cached(name, folder, classes, found)
            for name, folder in layout.folders.items()
        }
        notices = [layout.notice] if layout.notice else []
        notices += describe_left_out(self.data_dir, found)
        return Contents(classes, splits, tuple(notices))

    def _cached(
        self, split: str, folder: Path, classes: tuple[str, ...], left_out: Found
    ) -> CachedImages:
        """The images of one split; what else there is goes into `left_out`."""
        base = folder.relative_to(self.data_dir)
        left_out.others += [(base / name).as_posix() for name in loose_images(folder)]
        left_out.loops += [(base / name).as_posix() for name in looping_links(folder)]
        files = []
        for name in subfolders(folder):
            found = find_images(folder / name)
            if not found.images:
                raise InputError(_describe_empty(name, folder / name, found))
            at = (base / name).as_posix()
            files += [(f"{at}/{path}", classes.index(name)) for path in found.images]
            left_out.others += [f"{at}/{path}" for path in found.others]
            left_out.loops += [f"{at}/{path}" for path in found.loops]
        listing = make_listing(self.data_dir, files)
        return CachedImages(listing, f"{self.name}-{split}", self.decoder, self.on_error)

    def _divide(self, everything: Split) -> tuple[Split, Split]:
        """Training and test split, drawn from one folder."""
        chosen = stratified_split(everything.labels.numpy(), self.test_fraction, self.split_seed)
        if len(chosen[1]) == 0:
            raise InputError(
                f"{self.data_dir} has one image a class, which leaves no test split: "
                f"give it train/ and test/ folders ({KEY})"
            )
        train, test = (_pick(everything, positions) for positions in map(torch.from_numpy, chosen))
        return train, test


def _pick(split: Split, positions: torch.Tensor) -> Split:
    paths = split.paths or ()
    chosen = tuple(paths[at] for at in positions.tolist())
    return Split(split.images[positions], split.labels[positions], chosen)


def _check_classes(classes: tuple[str, ...], folders: dict[str, Path]) -> None:
    """Raises `InputError` where there are under two classes, or a split has others."""
    if len(classes) < 2:
        raise InputError(
            f"{folders['train']} must hold a folder for each of at least 2 classes, "
            f"got {len(classes)}{': ' if classes else ''}{', '.join(classes)} ({KEY})"
        )
    for name, folder in folders.items():
        unknown = sorted(set(subfolders(folder)) - set(classes))
        if unknown:
            raise InputError(
                f"class '{unknown[0]}' is in {folder}, but not in {folders['train']}: "
                f"{name} must have no class that train lacks ({KEY})"
            )


def _describe_empty(name: str, folder: Path, found: Found) -> str:
    others = f", but {first_few(found.others)}" if found.others else ""
    return (
        f"class '{name}' is empty: {folder} holds no image that can be read{others}"
        f"{heic_hint(folder, found.others)}; fill or remove it ({KEY})"
    )
