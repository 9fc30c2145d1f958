"""The data module: a source, a noise, and batches of views on the device."""

import getpass
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from pmnar.augment import Augmentation, Normalize
from pmnar.data.arrays import ImageData, Source, Split
from pmnar.data.batches import (
    Batch,
    Gather,
    OrderedBatches,
    Request,
    ShuffledBatches,
    check_batch_size,
)
from pmnar.data.subsets import choose_held_out, choose_subset, held_out_size, take
from pmnar.errors import InputError
from pmnar.noise import CleanLabels, Noise, NoisyLabels, inject

RESIDENT = ("auto", "device", "host")
HELD_OUT = "noisy_validation"
"""The evaluation split that is held out of the training set, under its given labels."""


class NoisyDataModule(L.LightningDataModule):
    """Images in memory, noisy labels injected once, views drawn on the device.

    Training is handed the given labels only; `labels.true` is for evaluation code. `labels`
    describes what is trained on, `labels.held_out` what was held out of it.

    Args:
        source: where images and labels come from.
        noise: turns true labels into given ones.
        noise_seed: seeds the noise.
        seed: seeds the order of training and all draws of the views.
        batch_size: samples in a training batch, over all devices together.
        views: the augmentations by name; a method names those it needs in `train_views`.
        mean, std: per-channel statistics of images scaled to [0, 1].
        eval_batch_size: samples in a batch where no gradient is needed.
        train_subset: train on this many images, a random choice fixed by `subset_seed`.
        noisy_validation: share in [0, 1) of the training set that is held out once the noise is on
            it, with its given labels, as the last evaluation split `noisy_validation`: settings
            can be chosen by it without any true label. The same share of each given class.
        noisy_validation_seed: seeds which images those are.
        num_workers: processes that gather images; 0 is right while images are in memory.
        resident: where the training images live: `device`, `host`, or `auto` (the device where
            they fill less than a quarter of its free memory).
    """

    def __init__(
        self,
        source: Source,
        noise: Noise,
        *,
        views: Mapping[str, Augmentation],
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int,
        seed: int = 0,
        noise_seed: int = 0,
        eval_batch_size: int = 512,
        train_subset: int | None = None,
        subset_seed: int = 0,
        noisy_validation: float = 0,
        noisy_validation_seed: int = 0,
        num_workers: int = 0,
        resident: str = "auto",
    ) -> None:
        super().__init__()
        if resident not in RESIDENT:
            raise InputError(f"data.resident must be one of {', '.join(RESIDENT)}, got {resident}")
        if eval_batch_size < 1:
            raise InputError(f"data.eval_batch_size must be at least 1, got {eval_batch_size}")
        self.source, self.noise, self.noise_seed, self.seed = source, noise, noise_seed, seed
        self.views, self.normalize = dict(views), Normalize(mean, std)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.train_subset, self.subset_seed = train_subset, subset_seed
        self.noisy_validation, self.held_out_seed = noisy_validation, noisy_validation_seed
        self.num_workers, self.resident = num_workers, resident
        self.train_views: tuple[str, ...] = ("weak",)
        self.splits: dict[str, Split] = {}
        self._on_device: dict[tuple[str, torch.device], Tensor] = {}
        self._resident: dict[str, bool] = {}

    def prepare_data(self) -> None:
        """Download or decode what is missing, one process at a time."""
        with FileLock(_lock_path(self.source.name)):
            self.source.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Load the images and inject the noise; a second call changes nothing."""
        if self.splits:
            return
        data = self.source.load()
        index = choose_subset(len(data.train), self.train_subset, self.subset_seed)
        train = take(data.train, index)
        held_out = held_out_size(len(train), self.noisy_validation)
        check_batch_size(self.batch_size, len(train) - held_out)
        self.labels = self._inject(data, train, index)
        self.class_names, self.num_classes = data.class_names, data.num_classes
        given = Split(train.images, torch.from_numpy(self.labels.given), train.paths)
        self.splits = {"train": given, **data.test}
        if held_out:
            self._hold_out(given, held_out)
        self.test_names = tuple(name for name in self.splits if name != "train")

    def _hold_out(self, given: Split, size: int) -> None:
        held = choose_held_out(self.labels.given, size, self.held_out_seed)
        self.labels = self.labels.without(held)
        places = torch.from_numpy(held)
        self.splits["train"] = take(given, (~places).nonzero()[:, 0])
        self.splits[HELD_OUT] = take(given, places.nonzero()[:, 0])

    def _inject(self, data: ImageData, train: Split, index: Tensor) -> NoisyLabels:
        clean = CleanLabels(
            labels=train.labels.numpy(),
            num_classes=data.num_classes,
            dataset=data.name,
            index=index.numpy(),
            images=train.images.numpy(),
        )
        return inject(self.noise, clean, self.noise_seed, truth_known=data.labels_are_true)

    # -- loaders ----------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Request]:
        """Shuffled batches of indices for this rank, with images where they stay on the host."""
        rank, world = self._rank_and_world()
        sampler = ShuffledBatches(
            len(self.splits["train"]), self.batch_size, self.seed, rank, world, self._epoch
        )
        return self._loader("train", sampler)

    def val_dataloader(self) -> list[DataLoader[Request]]:
        """One loader a test split; each sample once over all ranks."""
        rank, world = self._rank_and_world()
        loaders = []
        for name in self.test_names:
            size = len(self.splits[name])
            # Lightning skips testing on a rank without a batch, and the others would wait for it.
            batch_size = min(self.eval_batch_size, max(size // world, 1))
            batches = OrderedBatches(name, size, batch_size, rank, world)
            loaders.append(self._loader(name, batches))
        return loaders

    def test_dataloader(self) -> list[DataLoader[Request]]:
        """The same as in validation."""
        return self.val_dataloader()

    def ordered_batches(
        self, device: torch.device, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """A rank's share of the training set, in order, as it is (no augmentation)."""
        size = len(self.splits["train"])
        for request in OrderedBatches("train", size, self.eval_batch_size, rank, world):
            moved = request._replace(indices=request.indices.to(device, non_blocking=True))
            yield self._batch(moved, request.indices)

    def on_after_batch_transfer(self, batch: Request, dataloader_idx: int) -> Batch:
        """Gather the images on the device and draw the views."""
        return self._batch(batch, batch.indices)

    def _batch(self, request: Request, index: Tensor) -> Batch:
        device = request.indices.device
        images = request.images
        if images is None:
            images = self._images(request.split, device, index)
        label = self._labels(request.split, device)[request.indices]
        if request.share is None:
            return Batch(request.indices, (self.normalize(images),), label, None)
        views = tuple(self._view(name, images, request) for name in self.train_views)
        return Batch(request.indices, views, label, request.share)

    def _view(self, name: str, images: Tensor, request: Request) -> Tensor:
        share = request.share
        assert share is not None
        channels, height, width = images.shape[1:]
        view = self.views[name]
        draws = view.draw(share.size, (channels, height, width), share.generator(name))
        mine = {key: share.take(value) for key, value in draws.items()}
        return self.normalize(view.apply(images, mine))

    # -- where the images live --------------------------------------------------------------------

    def _loader(self, split: str, sampler: Sampler[Request]) -> DataLoader[Request]:
        on_device = self._lives_on_device(split)
        return DataLoader(
            Gather(None if on_device else self.splits[split].images),
            batch_size=None,
            sampler=sampler,
            # Its own, so that loaders leave the default generator to the networks (dropout).
            generator=torch.Generator(),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=not on_device and torch.cuda.is_available(),
        )

    def _lives_on_device(self, split: str) -> bool:
        if split not in self._resident:
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
            fits = True
            if self.resident == "auto" and device.type == "cuda":
                fits = self.splits[split].images.nbytes < torch.cuda.mem_get_info(device)[0] / 4
            self._resident[split] = fits and self.resident != "host"
        return self._resident[split]

    def _images(self, split: str, device: torch.device, index: Tensor) -> Tensor:
        if not self._lives_on_device(split):
            return self.splits[split].images[index].to(device, non_blocking=True)
        images = self._placed(split, self.splits[split].images, device)
        return images[index.to(device, non_blocking=True)]

    def _labels(self, split: str, device: torch.device) -> Tensor:
        return self._placed(f"{split} labels", self.splits[split].labels, device)

    def _placed(self, name: str, values: Tensor, device: torch.device) -> Tensor:
        if (name, device) not in self._on_device:
            self._on_device[name, device] = values.to(device)
        return self._on_device[name, device]

    def _rank_and_world(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _epoch(self) -> int:
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        return int(progress.processed)


def _lock_path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"pmnar-{getpass.getuser()}-{name}.lock"
