"""MNIST and Fashion-MNIST, read by torchvision."""

import math
import struct
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from torchvision import datasets
from torchvision.datasets.mnist import read_image_file, read_label_file

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.files import download, require_md5, unpack
from pmnar.errors import InputError

UNSIGNED_BYTES = 0x08


class MNIST:
    """MNIST: 60,000 training and 10,000 test images of ten digits, 28×28 in gray.

    Args:
        data_dir: folder that holds, or will hold, `MNIST/raw` with the four official files,
            gzipped or not.
        download: fetch the files that are absent.
    """

    name = "mnist"
    dataset: ClassVar[type[datasets.MNIST]] = datasets.MNIST

    def __init__(self, data_dir: str | Path, download: bool = True) -> None:
        self.data_dir = Path(data_dir).expanduser()
        self.download = download

    @property
    def raw_dir(self) -> Path:
        """The folder of the official files."""
        return self.data_dir / self.dataset.__name__ / "raw"

    def prepare(self) -> None:
        """Unzip each file, downloaded first where it is absent, that is not there unzipped.

        Raises:
            InputError: a gzipped file is damaged, or absent and not to be had.
        """
        for name, md5 in self.dataset.resources:
            zipped = self.raw_dir / name
            if zipped.with_suffix("").is_file():
                continue
            if not zipped.is_file():
                if not self.download:
                    raise self._missing(zipped.stem)
                download([mirror + name for mirror in self.dataset.mirrors], self.raw_dir, md5)
            require_md5(zipped, md5)
            unpack(zipped, self.raw_dir)

    def load(self) -> ImageData:
        """Images uint8 `[N, 1, 28, 28]` in the official order.

        Raises:
            InputError: a file is missing, or is not the whole of what its header says.
        """
        # torchvision's MNIST class would prefer an old `processed/*.pt` to the checked files
        names = tuple(name.split(" - ")[0] for name in self.dataset.classes)
        train, test = self._split("train", len(names)), self._split("t10k", len(names))
        return ImageData(self.name, names, train, {"test": test})

    def _split(self, prefix: str, num_classes: int) -> Split:
        images_path = self._checked(f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels_path = self._checked(f"{prefix}-labels-idx1-ubyte", dimensions=1)
        images: Tensor = read_image_file(str(images_path)).unsqueeze(1)
        labels: Tensor = read_label_file(str(labels_path))
        if len(images) != len(labels):
            raise InputError(
                f"{images_path} has {len(images)} images, but {labels_path.name} has "
                f"{len(labels)} labels; {self._remedy(images_path)}"
            )
        if len(labels) and int(labels.max()) >= num_classes:
            raise InputError(
                f"{labels_path} is damaged: label {int(labels.max())} of {num_classes} classes; "
                f"{self._remedy(labels_path)}"
            )
        return Split(images, labels)

    def _checked(self, name: str, dimensions: int) -> Path:
        """The file, once its header and length agree: torchvision has md5 sums of the zips only."""
        path = self.raw_dir / name
        if not path.is_file():
            raise self._missing(name)
        length = path.stat().st_size
        header = struct.Struct(f">4B{dimensions}I")
        with path.open("rb") as file:
            start = file.read(header.size)
        if len(start) < header.size or start[:4] != bytes([0, 0, UNSIGNED_BYTES, dimensions]):
            raise InputError(f"{path} is no idx{dimensions}-ubyte file; {self._remedy(path)}")
        expected = header.size + math.prod(header.unpack(start)[4:])
        if length != expected:
            raise InputError(
                f"{path} is damaged: {length} bytes, its header says {expected}; "
                f"{self._remedy(path)}"
            )
        return path

    def _remedy(self, path: Path) -> str:
        zipped = path.with_name(f"{path.name}.gz")
        again = f"unzip it again from {zipped.name}" if zipped.is_file() else "download it again"
        return f"delete it to {again}, or change data_dir"

    def _missing(self, name: str) -> InputError:
        return InputError(
            f"{self.name} is not complete in {self.raw_dir}: put {name} or {name}.gz there, "
            "or change data_dir"
        )


class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 training and 10,000 test images of ten kinds of clothing, 28×28, gray.

    Args:
        data_dir: folder that holds, or will hold, `FashionMNIST/raw` with the four official
            files, gzipped or not.
        download: fetch the files that are absent.
    """

    name = "fashion_mnist"
    dataset: ClassVar[type[datasets.MNIST]] = datasets.FashionMNIST
