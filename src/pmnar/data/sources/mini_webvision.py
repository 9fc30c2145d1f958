"""Mini-WebVision: the first 50 classes of WebVision 1.0, from its official files."""

import csv
from pathlib import Path

from pmnar.data.arrays import ImageData
from pmnar.data.sources.cache import CachedImages, OnError
from pmnar.data.sources.decode import Decoder
from pmnar.data.sources.finding import image_files
from pmnar.data.sources.listing import Listing, make_listing, read_lines, short_names
from pmnar.errors import InputError

NUM_CLASSES = 50
LAYOUT = (
    "where webvision/ is, the official WebVision 1.0 folder with info/, google/, val_images_256/"
)
IMAGENET_KEY = "dataset.source.imagenet_dir"
IMAGENET_LAYOUT = (
    "the ILSVRC2012 folder, with val/<wnid>/ folders, or a flat val/ beside LOC_val_solution.csv"
)


class MiniWebVision:
    """Google's images of the first 50 classes: their training labels are what the search said.

    Args:
        data_dir: the official folder: `info/synsets.txt`, `info/train_filelist_google.txt`,
            `info/val_filelist.txt`, `google/`, `val_images_256/`.
        imagenet_dir: the ILSVRC2012 folder, for a second test split: its validation images of the
            same classes in `val/<wnid>/` (or `<wnid>/`), or all in a flat `val/` with the wnids in
            `LOC_val_solution.csv` (the ground truth in the form of the ImageNet challenge on
            Kaggle; the devkit's numbers are not read).
        image_size: images are stretched to this square; 84 in the paper.
        on_error: what an unreadable image does: `raise` an error, or `skip` it.
    """

    name = "mini_webvision"

    def __init__(
        self,
        data_dir: str | Path,
        imagenet_dir: str | Path | None = None,
        image_size: int = 84,
        on_error: OnError = "raise",
    ) -> None:
        self.data_dir = Path(data_dir).expanduser()
        self.imagenet_dir = None if imagenet_dir is None else Path(imagenet_dir).expanduser()
        self.decoder = Decoder(image_size)
        self.on_error = on_error

    def prepare(self) -> None:
        """Decode the images of the 50 classes into a cache.

        Raises:
            InputError: a folder is not the official one, or an image is unreadable.
        """
        for images in self._splits().values():
            images.store()

    def load(self) -> ImageData:
        """Images uint8 `[N, 3, image_size, image_size]`; tests `webvision` and maybe `imagenet`.

        Raises:
            InputError: a folder is not the official one, or an image is unreadable.
        """
        tests = {split: images.load() for split, images in self._splits().items()}
        train = tests.pop("train")
        names = short_names(self._synsets())
        return ImageData(self.name, names, train, tests, labels_are_true=False)

    def _splits(self) -> dict[str, CachedImages]:
        listings = {
            "train": self._listed("train_filelist_google.txt", folder=""),
            "webvision": self._listed("val_filelist.txt", folder="val_images_256/"),
        }
        if self.imagenet_dir is not None:
            listings["imagenet"] = self._imagenet(self.imagenet_dir)
        return {
            split: CachedImages(listing, f"{self.name}-{split}", self.decoder, self.on_error)
            for split, listing in listings.items()
        }

    def _synsets(self) -> dict[str, str]:
        """The words of each of the 50 wnids, in the order of the label ids."""
        lines = read_lines(self.data_dir / "info" / "synsets.txt", LAYOUT)[:NUM_CLASSES]
        synsets = dict(line.strip().split(" ", 1) for line in lines)
        if len(synsets) < NUM_CLASSES:
            raise InputError(f"info/synsets.txt in {self.data_dir} has under {NUM_CLASSES} synsets")
        return synsets

    def _listed(self, file: str, folder: str) -> Listing:
        path = self.data_dir / "info" / file
        files = []
        for line in read_lines(path, LAYOUT):
            name, _, label = line.strip().rpartition(" ")
            if not (name and label.isdigit()):
                raise InputError(f"{path} has the line '{line.strip()}', not 'path label'")
            if int(label) < NUM_CLASSES:
                files.append((folder + name, int(label)))
        if not files:
            raise InputError(f"{path} lists no image of the first {NUM_CLASSES} classes")
        return make_listing(self.data_dir, files)

    def _imagenet(self, root: Path) -> Listing:
        """ILSVRC2012's validation images of the 50 classes."""
        label_of = {wnid: label for label, wnid in enumerate(self._synsets())}
        solution = root / "LOC_val_solution.csv"
        prefix = "val/" if (root / "val").is_dir() else ""
        files = [
            (f"{prefix}{wnid}/{name}", label)
            for wnid, label in label_of.items()
            for name in image_files(root / prefix / wnid)
        ]
        if not files and solution.is_file():
            files = _solution(solution, prefix, label_of)
        missing = len(set(label_of.values()) - {label for _, label in files})
        if missing:
            raise InputError(
                f"{root} lacks validation images of {missing} of the {NUM_CLASSES} classes: "
                f"{IMAGENET_KEY} must be {IMAGENET_LAYOUT}, or null"
            )
        return make_listing(root, files)


def _solution(path: Path, prefix: str, label_of: dict[str, int]) -> list[tuple[str, int]]:
    """Rows `ILSVRC2012_val_00000001,n01440764 1 2 3 4 ...` of the wanted wnids, by file name."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 2]
    wnids = {name: boxes.split(" ", 1)[0] for name, boxes in rows}
    return [
        (f"{prefix}{name}.JPEG", label_of[wnid])
        for name, wnid in sorted(wnids.items())
        if wnid in label_of
    ]
