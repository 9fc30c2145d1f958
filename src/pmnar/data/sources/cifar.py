"""CIFAR-10 and CIFAR-100, read by torchvision."""

from pathlib import Path
from typing import ClassVar

import torch
from torchvision import datasets

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.files import describe_damage, download, require_md5, unpack
from pmnar.errors import InputError


class CIFAR10:
    """CIFAR-10: 50,000 training and 10,000 test images of ten classes, 32×32 in colour.

    Args:
        data_dir: folder that holds, or will hold, `cifar-10-batches-py` (the official Python
            version) or its archive.
        download: fetch the archive where neither is there.
    """

    name = "cifar10"
    dataset: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR10

    def __init__(self, data_dir: str | Path, download: bool = True) -> None:
        self.data_dir = Path(data_dir).expanduser()
        self.download = download

    def prepare(self) -> None:
        """Unpack the archive, downloaded first where it is absent, unless all files are there.

        Raises:
            InputError: the archive is damaged, or absent and not to be had.
        """
        if all(path.is_file() for path, _ in self._members()):
            return
        archive = self.data_dir / self.dataset.filename
        if not archive.is_file():
            if not self.download:
                raise self._missing()
            download([self.dataset.url], self.data_dir, self.dataset.tgz_md5)
        require_md5(archive, self.dataset.tgz_md5)
        unpack(archive, self.data_dir)

    def load(self) -> ImageData:
        """Images uint8 `[N, 3, 32, 32]` in the official order.

        Raises:
            InputError: a file is missing, or damaged (with both md5 sums).
        """
        try:
            train = self.dataset(self.data_dir, train=True)
            test = self.dataset(self.data_dir, train=False)
        except RuntimeError:
            self._require_members()
            raise
        return ImageData(self.name, tuple(train.classes), _split(train), {"test": _split(test)})

    def _members(self) -> list[tuple[Path, str]]:
        """Path and md5 of every file that torchvision reads."""
        listed = [*self.dataset.train_list, *self.dataset.test_list]
        listed.append([self.dataset.meta["filename"], self.dataset.meta["md5"]])
        return [(self.data_dir / self.dataset.base_folder / name, md5) for name, md5 in listed]

    def _missing(self) -> InputError:
        kind = self.dataset
        return InputError(
            f"{self.name} is not in {self.data_dir}: put the folder {kind.base_folder} or the "
            f"archive {kind.filename} (md5 {kind.tgz_md5}) there, or change data_dir"
        )

    def _require_members(self) -> None:
        """Say which file torchvision refused, and why: its own message does not."""
        archive = self.data_dir / self.dataset.filename
        for path, md5 in self._members():
            if not path.is_file():
                raise self._missing()
            damage = describe_damage(path, md5)
            if damage is None:
                continue
            remedy = "delete it to get it again"
            if archive.is_file():
                bad_archive = describe_damage(archive, self.dataset.tgz_md5)
                remedy = bad_archive or f"delete it to unpack it again from {archive.name}"
            raise InputError(f"{damage}; {remedy}, or change data_dir")


class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 training and 10,000 test images of a hundred classes, 32×32 in colour.

    Args:
        data_dir: folder that holds, or will hold, `cifar-100-python` or its archive.
        download: fetch the archive where neither is there.
    """

    name = "cifar100"
    dataset: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR100


def _split(dataset: datasets.CIFAR10) -> Split:
    # torchvision's [N, H, W, C] is a view of [N, C, H, W] memory: undoing it costs no copy
    images = torch.from_numpy(dataset.data.transpose(0, 3, 1, 2))
    return Split(images, torch.tensor(dataset.targets, dtype=torch.int64))
