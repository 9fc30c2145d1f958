"""Tiny-ImageNet, from its official folder."""

from pathlib import Path

from pmnar.data.arrays import ImageData
from pmnar.data.sources.cache import CachedImages, OnError
from pmnar.data.sources.decode import Decoder
from pmnar.data.sources.finding import image_files
from pmnar.data.sources.listing import Listing, make_listing, read_lines, short_names
from pmnar.errors import InputError

LAYOUT = "where the folder tiny-imagenet-200 of http://cs231n.stanford.edu/tiny-imagenet-200.zip is"


class TinyImageNet:
    """Tiny-ImageNet: 200 classes, 100,000 training images; the 10,000 of `val` are the test split.

    Class ids follow the order of `wnids.txt`, training images are ordered by class and name.

    Args:
        data_dir: the official folder: `wnids.txt`, `words.txt`, `train/<wnid>/images/`,
            `val/images/`, `val/val_annotations.txt`.
        image_size: 64 is native; others are resized to (the paper has 84).
        on_error: what an unreadable image does: `raise` an error, or `skip` it.
    """

    name = "tiny_imagenet"

    def __init__(
        self, data_dir: str | Path, image_size: int = 64, on_error: OnError = "raise"
    ) -> None:
        self.data_dir = Path(data_dir).expanduser()
        self.decoder = Decoder(image_size)
        self.on_error = on_error

    def prepare(self) -> None:
        """Decode the folder into its cache.

        Raises:
            InputError: the folder is not the official one, or an image is unreadable.
        """
        wnids = self._wnids()
        self._cached("train", self._train(wnids)).store()
        self._cached("val", self._val(wnids)).store()

    def load(self) -> ImageData:
        """Images uint8 `[N, 3, image_size, image_size]`.

        Raises:
            InputError: the folder is not the official one, or an image is unreadable.
        """
        wnids = self._wnids()
        train = self._cached("train", self._train(wnids)).load()
        test = self._cached("val", self._val(wnids)).load()
        return ImageData(self.name, self._class_names(wnids), train, {"test": test})

    def _cached(self, slot: str, listing: Listing) -> CachedImages:
        return CachedImages(listing, f"{self.name}-{slot}", self.decoder, self.on_error)

    def _wnids(self) -> list[str]:
        return [line.strip() for line in read_lines(self.data_dir / "wnids.txt", LAYOUT)]

    def _class_names(self, wnids: list[str]) -> tuple[str, ...]:
        lines = read_lines(self.data_dir / "words.txt", LAYOUT)
        words = dict(line.rstrip().split("\t", 1) for line in lines)
        return short_names({wnid: words.get(wnid, wnid) for wnid in wnids})

    def _train(self, wnids: list[str]) -> Listing:
        files = []
        for label, wnid in enumerate(wnids):
            folder = self.data_dir / "train" / wnid / "images"
            names = image_files(folder)
            if not names:
                raise InputError(f"{folder} holds no image: data_dir must be {LAYOUT}")
            files += [(f"train/{wnid}/images/{name}", label) for name in names]
        return make_listing(self.data_dir, files)

    def _val(self, wnids: list[str]) -> Listing:
        label_of = {wnid: label for label, wnid in enumerate(wnids)}
        path = self.data_dir / "val" / "val_annotations.txt"
        files = []
        for line in read_lines(path, LAYOUT):
            name, _, rest = line.partition("\t")
            wnid = rest.split("\t")[0].strip()
            if wnid not in label_of:
                raise InputError(f"{path} gives {name} the class '{wnid}', not one of wnids.txt")
            files.append((f"val/images/{name}", label_of[wnid]))
        return make_listing(self.data_dir, files)
