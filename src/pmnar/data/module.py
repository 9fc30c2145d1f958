"""The data module: a source, a noise, and batches of views on the device."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from filelock import FileLock
from torch import Tensor
from torch.utils.data import DataLoader

from pmnar.augment import Augmentation, Normalize
from pmnar.checks import check_counts
from pmnar.data.arrays import ImageData, Source, Split
from pmnar.data.batches import (
    Batch,
    OrderedBatches,
    Request,
    Share,
    ShuffledBatches,
    Stream,
    check_batch_size,
    check_clean,
)
from pmnar.data.images import Images
from pmnar.data.residence import check_resident
from pmnar.data.statistics import feature_statistics
from pmnar.data.subsets import choose_clean, choose_held_out, choose_subset, held_out_size, take
from pmnar.data.views import Views
from pmnar.errors import InputError
from pmnar.names import CLEAN, HELD_OUT, TRAIN
from pmnar.noise import CleanLabels, Noise, NoisyLabels, inject
from pmnar.noise.base import BoolArray
from pmnar.runtime.process import private_folder


class NoisyDataModule(L.LightningDataModule):
    """Images in memory, noisy labels injected once, views drawn on the device.

    Training is handed the given labels only, but for those of the split `clean`; `labels.true` is
    for evaluation code. `labels` describes what is trained on, `labels.held_out` what was held out
    of it. A method says what it wants by `train_views` (names of `views`, or `plain` for the
    images as they are), `streams` and `uses_truth`; and how many `true_labels` it learns from.
    `given_of_clean` are the labels int64 `[n]` that the split `clean` was given.

    Args:
        source: where images and labels come from.
        noise: turns true labels into given ones.
        noise_seed: seeds the noise.
        seed: seeds the order of training and all draws of the views.
        batch_size: samples in a training batch, over all devices together.
        views: the augmentations by name.
        mean, std: per-channel statistics of images scaled to [0, 1]; None, for features: those of
            each over what is trained on.
        eval_batch_size: samples in a batch where no gradient is needed.
        train_subset: train on this many images, a random choice fixed by `subset_seed`.
        noisy_validation: share in [0, 1) of the training set that is held out once the noise is on
            it, with its given labels, as the last evaluation split `noisy_validation`: settings
            can be chosen by it without any true label. The same share of each given class.
        noisy_validation_seed: seeds which images those are.
        clean: how many training samples are held out with their true labels, as the split `clean`,
            for methods that need such; as many of each class as its share of all asks for.
        clean_seed: seeds which those are.
        num_workers: threads that gather images; `auto` is 0 while images are in memory, and up
            to 4 where they are streamed.
        resident: where the training images live: on the `device` (padded once), or as the source
            holds them, in memory or mapped from its cache on the disk: gathered by this process
            (`host`), or by threads of the loader (`stream`), which read ahead of the training;
            `auto` goes by the memory that is free (`choose_place`).
    """

    def __init__(
        self,
        source: Source,
        noise: Noise,
        *,
        views: Mapping[str, Augmentation],
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        batch_size: int,
        seed: int = 0,
        noise_seed: int = 0,
        eval_batch_size: int = 512,
        train_subset: int | None = None,
        subset_seed: int = 0,
        noisy_validation: float = 0,
        noisy_validation_seed: int = 0,
        clean: int = 0,
        clean_seed: int = 0,
        num_workers: int | str = "auto",
        resident: str = "auto",
    ) -> None:
        super().__init__()
        check_resident(resident)
        if num_workers != "auto" and not (isinstance(num_workers, int) and num_workers >= 0):
            raise InputError(f"data.num_workers must be auto or at least 0, got {num_workers}")
        check_counts(1, False, "data", eval_batch_size=eval_batch_size)
        self.source, self.noise, self.noise_seed, self.seed = source, noise, noise_seed, seed
        self.augmentations = dict(views)
        self.normalize = None if mean is None or std is None else Normalize(mean, std)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.train_subset, self.subset_seed = train_subset, subset_seed
        self.noisy_validation, self.held_out_seed = noisy_validation, noisy_validation_seed
        self.clean, self.clean_seed = clean, clean_seed
        self.num_workers, self.resident = num_workers, resident
        self.train_views: tuple[str, ...] = ("weak",)
        self.streams: Callable[[int], Mapping[str, Stream]] | None = None
        self.uses_truth, self.true_labels = False, 0
        self.splits: dict[str, Split] = {}
        self.given_of_clean = torch.empty(0, dtype=torch.int64)
        self._labels: dict[tuple[str, torch.device], Tensor] = {}

    def prepare_data(self) -> None:
        """Download or decode what is missing, one process at a time."""
        with FileLock(private_folder() / f"{self.source.name}.lock"):
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
        self.splits = {TRAIN: given, **data.test}
        self._hold_out(given, held_out)
        self.images = Images(
            self.splits, self.resident, self.num_workers, self._border, self._device_and_sharers
        )
        self.test_names = tuple(name for name in self.splits if name not in (TRAIN, CLEAN))
        self.views = Views(self.augmentations, self.normalize or self._standardising())

    def _standardising(self) -> Normalize:
        images = self.splits[TRAIN].images
        if not images.is_floating_point():
            raise InputError("dataset.mean and dataset.std must be given for images, got null")
        return Normalize(*feature_statistics(images))

    def check_views(self) -> None:
        """Draw the views of two images, for nothing.

        Raises:
            InputError: a view, or the normalisation, does not fit them.
        """
        images = self.splits["train"].images[:2]
        self.views.draw(self.train_views, images, 0, Share(self.seed, len(images)))

    def _hold_out(self, given: Split, size: int) -> None:
        """Take `size` samples with their given labels, and `clean` with their true ones, apart."""
        true = self.labels.true
        noisy = choose_held_out(self.labels.given, size, self.held_out_seed)
        clean = choose_clean(true, self.clean, ~noisy, self.clean_seed)
        check_batch_size(self.batch_size, int((~noisy & ~clean).sum()))
        if noisy.any():
            self.splits[HELD_OUT] = take(given, _positions(noisy))
        if true is not None and clean.any():
            correct = Split(given.images, torch.from_numpy(true), given.paths)
            self.splits[CLEAN] = take(correct, _positions(clean))
            self.given_of_clean = given.labels[_positions(clean)]
        if (held_out := noisy | clean).any():
            self.labels = self.labels.without(held_out)
            self.splits[TRAIN] = take(given, _positions(~held_out))

    def _inject(self, data: ImageData, train: Split, index: Tensor) -> NoisyLabels:
        clean = CleanLabels(
            labels=train.labels.numpy(),
            num_classes=data.num_classes,
            dataset=data.name,
            index=(index if data.rows is None else data.rows[index]).numpy(),
            images=train.images.numpy(),
            class_names=tuple(data.class_names),
            paths=None if train.paths is None else tuple(train.paths),
            given=None if data.given is None else data.given[index].numpy(),
        )
        return inject(self.noise, clean, self.noise_seed, truth_known=data.labels_are_true)

    # -- loaders ----------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Request]:
        """Shuffled batches of indices for this rank, with images where they stay on the host."""
        batches = self.shuffled(self._epoch, *self._rank_and_world())
        return self.images.loader(batches, TRAIN, *({CLEAN} & self.splits.keys()))

    def shuffled(self, epoch: Callable[[], int], rank: int = 0, world: int = 1) -> ShuffledBatches:
        """A rank's requests of the epoch, counted from 0, that is about to begin.

        Raises:
            InputError: there are fewer than two samples a rank.
            ValueError: a method draws from a split that is not for it.
        """
        size = len(self.splits[TRAIN])
        check_batch_size(self.batch_size, size, world)
        everything = {TRAIN: Stream(torch.arange(size))}
        streams = everything if self.streams is None else self.streams(epoch() + 1)
        for name, stream in streams.items():
            if stream.split != TRAIN and not (stream.split == CLEAN and self.uses_truth):
                raise ValueError(f"stream {name}: the method may not draw from {stream.split}")
            if stream.split == CLEAN:
                check_clean(len(self.splits[CLEAN]), world)
        return ShuffledBatches(streams, self.batch_size, self.seed, rank, world, epoch)

    def val_dataloader(self) -> list[DataLoader[Request]]:
        """One loader a test split; each sample once over all ranks."""
        rank, world = self._rank_and_world()
        loaders: list[DataLoader[Request]] = []
        for name in self.test_names:
            size = len(self.splits[name])
            # Lightning skips testing on a rank without a batch, and the others would wait for it.
            batch_size = min(self.eval_batch_size, max(size // world, 1))
            batches = OrderedBatches(name, size, batch_size, rank, world)
            loaders.append(self.images.loader(batches, name))
        return loaders

    def test_dataloader(self) -> list[DataLoader[Request]]:
        """The same as in validation."""
        return self.val_dataloader()

    def ordered_batches(
        self, device: torch.device, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """A rank's share of the training set, in order, as it is (no augmentation)."""
        size = len(self.splits[TRAIN])
        batches = OrderedBatches(TRAIN, size, self.eval_batch_size, rank, world)
        for request in self.images.loader(batches, TRAIN):
            yield self._batch(_moved(request, device))

    def on_after_batch_transfer(self, batch: Request, dataloader_idx: int) -> Batch:
        """Gather the images on the device and draw the views."""
        return self._batch(batch)

    def _batch(self, request: Request) -> Batch:
        if request.parts:
            parts = {name: self._batch(part) for name, part in request.parts.items()}
            return next(iter(parts.values()))._replace(parts=parts)
        split, index = request.split, request.indices
        label = self._labels_on(split, index.device)[index]
        images, border = self.images.gather(request)
        if request.share is None:
            return Batch(index, (self.views.plain(images, border),), label, None)
        views = self.views.draw(self.train_views, images, border, request.share)
        return Batch(index, views, label, request.share)

    # -- what the images are for ------------------------------------------------------------------

    def _border(self, split: str) -> int:
        """Pixels of zeros that all views of the split can be cut from."""
        return self.views.border(self.train_views) if split == TRAIN else 0

    def _device_and_sharers(self) -> tuple[torch.device, int]:
        """Where training goes on, and how many processes share a host's memory."""
        if self.trainer is None:
            return torch.device("cpu"), 1
        return self.trainer.strategy.root_device, self.trainer.world_size // self.trainer.num_nodes

    def _labels_on(self, split: str, device: torch.device) -> Tensor:
        if (split, device) not in self._labels:
            self._labels[split, device] = self.splits[split].labels.to(device)
        return self._labels[split, device]

    def _rank_and_world(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _epoch(self) -> int:
        assert self.trainer is not None
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        return int(progress.processed)


def _positions(chosen: BoolArray) -> Tensor:
    """Where a bool `[N]` is true, int64."""
    return torch.from_numpy(chosen).nonzero()[:, 0]


def _moved(request: Request, device: torch.device) -> Request:
    """A request's tensors on a device."""
    images = None if request.images is None else request.images.to(device, non_blocking=True)
    indices = request.indices.to(device, non_blocking=True)
    return request._replace(indices=indices, images=images)
