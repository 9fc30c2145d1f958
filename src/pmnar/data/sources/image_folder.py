"""Any folder of images, one sub-folder a class."""

from pathlib import Path

import numpy as np
import torch

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.cache import CachedImages, OnError
from pmnar.data.sources.decode import SUFFIXES, Decoder, image_files
from pmnar.data.sources.listing import make_listing
from pmnar.data.sources.splitting import check_fraction, stratified_split
from pmnar.errors import InputError

KEY = "dataset.source.data_dir"
TEST_FOLDERS = ("test", "val")


class ImageFolder:
    """A folder of images, of which the labels may be wrong.

    Either `train/<class>/…` with `test/<class>/…` or `val/<class>/…` (the former is reported on
    where both are there), or `<class>/…` with a test split drawn from it. Images may lie deeper;
    other files and names that start with a dot are ignored. Classes are ordered by name.

    Args:
        data_dir: the folder.
        image_size: images are stretched to this square.
        channels: 1 (gray) or 3 (RGB); `Decoder` says how other kinds of image are converted.
        test_fraction: share of each class that becomes the test split, where there is no folder
            of tests; in [0, 1). Its labels are trusted no more than the others. With 0 there is no
            test split, and every image is trained on.
        split_seed: seed of that choice.
        on_error: what an unreadable image does: `raise` an error, or `skip` it.
        labels_are_true: whether the training labels are known to be right.
    """

    name = "image_folder"

    def __init__(
        self,
        data_dir: str | Path,
        image_size: int = 32,
        channels: int = 3,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        on_error: OnError = "raise",
        labels_are_true: bool = False,
    ) -> None:
        check_fraction(test_fraction)
        self.data_dir = Path(data_dir).expanduser()
        self.decoder = Decoder(image_size, channels)
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.on_error = on_error
        self.labels_are_true = labels_are_true

    def prepare(self) -> None:
        """Decode the folder into its cache.

        Raises:
            InputError: the folder is missing, has one class, an empty class, a test class that
                training lacks, or an unreadable image.
        """
        for images in self._splits()[1].values():
            images.store()

    def load(self) -> ImageData:
        """Images uint8 `[N, channels, image_size, image_size]`, ordered by class and path.

        Raises:
            InputError: as `prepare`.
        """
        classes, cached = self._splits()
        splits = {name: images.load() for name, images in cached.items()}
        train = splits.pop("train")
        counts = np.bincount(train.labels.numpy(), minlength=len(classes))
        if counts.min() == 0:
            name = classes[int(counts.argmin())]
            raise InputError(f"class '{name}' in {self.data_dir} has no readable image ({KEY})")
        if not splits and self.test_fraction > 0:
            train, splits["test"] = self._divide(train)
        return ImageData(self.name, classes, train, splits, self.labels_are_true)

    def _splits(self) -> tuple[tuple[str, ...], dict[str, CachedImages]]:
        """The class names and every split's images; `train` is all where there are no tests."""
        folders = self._folders()
        classes = tuple(_subfolders(folders["train"]))
        if len(classes) < 2:
            raise InputError(
                f"{folders['train']} must hold a folder for each of at least 2 classes, "
                f"got {len(classes)}{': ' if classes else ''}{', '.join(classes)} ({KEY})"
            )
        for name, folder in folders.items():
            unknown = sorted(set(_subfolders(folder)) - set(classes))
            if unknown:
                raise InputError(
                    f"class '{unknown[0]}' is in {folder}, but not in {folders['train']}: "
                    f"{name} must have no class that train lacks ({KEY})"
                )
        return classes, {name: self._cached(name, at, classes) for name, at in folders.items()}

    def _folders(self) -> dict[str, Path]:
        """The folder of each split that the layout has."""
        if not self.data_dir.is_dir():
            raise InputError(f"{KEY}: there is no folder {self.data_dir}")
        names = _subfolders(self.data_dir)
        tests = {name: self.data_dir / name for name in TEST_FOLDERS if name in names}
        if "train" in names and (tests or names == ["train"]):
            return {"train": self.data_dir / "train", **tests}
        return {"train": self.data_dir}

    def _cached(self, split: str, folder: Path, classes: tuple[str, ...]) -> CachedImages:
        files = []
        for name in _subfolders(folder):
            found = image_files(folder / name)
            if not found:
                raise InputError(
                    f"class '{name}' is empty: {folder / name} holds no image "
                    f"({' '.join(sorted(SUFFIXES))}); fill or remove it ({KEY})"
                )
            at = (folder / name).relative_to(self.data_dir).as_posix()
            files += [(f"{at}/{path}", classes.index(name)) for path in found]
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


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
