"""The images of each split where they live, and a batch's gathered from there."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pmnar.data.arrays import Split
from pmnar.data.batches import Request
from pmnar.data.residence import ResidentImages, choose_place
from pmnar.names import TRAIN


class Images:
    """Images in memory, on a device, or mapped from the disk: where, is decided when asked first.

    Args:
        splits: images and labels by the split's name.
        resident: `auto`, `device`, `host` or `stream`.
        num_workers: threads that gather ahead; `auto` is 0 while images are in memory, and up to 4
            where they are streamed.
        border: tells the pixels of zeros that all views of a split can be cut from.
        device_and_sharers: tells the device that they are for, and how many processes share the
            host's memory.
    """

    def __init__(
        self,
        splits: dict[str, Split],
        resident: str,
        num_workers: int | str,
        border: Callable[[str], int],
        device_and_sharers: Callable[[], tuple[torch.device, int]],
    ) -> None:
        self.splits, self.resident, self.num_workers = splits, resident, num_workers
        self.border, self.device_and_sharers = border, device_and_sharers
        self._resident: dict[tuple[str, torch.device], ResidentImages] = {}
        self._places: dict[str, str] = {}

    def place(self, split: str = TRAIN) -> str:
        """Where a split's images live: `device`, `host` or `stream`."""
        if split not in self._places:
            needed = self.bytes_of(split)
            self._places[split] = choose_place(self.resident, needed, *self.device_and_sharers())
        return self._places[split]

    def bytes_of(self, split: str = TRAIN) -> int:
        """What a split's images take on the device, in bytes."""
        images, border = self.splits[split].images, 2 * self.border(split)
        size, channels, height, width = images.shape
        return size * channels * (height + border) * (width + border) * images.itemsize

    def workers(self, split: str) -> int:
        """Threads that gather a split's images."""
        if self.num_workers != "auto":
            return int(self.num_workers)
        return min(4, os.cpu_count() or 1) if self.place(split) == "stream" else 0

    def loader(self, sampler: Iterable[Request], *splits: str) -> "Ahead":
        """Requests of a sampler for these splits, with images where they stay on the host."""
        return Ahead(
            self.gathering(*splits),
            batch_size=None,
            sampler=sampler,
            # Its own, so that loaders leave the default generator to the networks (dropout).
            generator=torch.Generator(),
            workers=max(self.workers(split) for split in splits),
        )

    def gathering(self, *splits: str) -> "Gather":
        """What adds the images of these splits to a request, where they stay on the host."""
        return Gather({s: self.splits[s].images for s in splits if self.place(s) != "device"})

    def gather(self, request: Request) -> tuple[Tensor, int]:
        """A batch's images on the device of its indices, and the border of zeros around them."""
        if request.images is not None:
            return request.images, 0
        resident = self.hold(request.split, request.indices.device)
        return resident.gather(request.indices), resident.padding

    def hold(self, split: str, device: torch.device) -> ResidentImages:
        """A split's images on the device, put there the first time."""
        key = split, device
        if key not in self._resident:
            on_host = self.splits[split]
            self._resident[key] = ResidentImages(on_host.images, self.border(split), device)
            if device.type == "cpu":  # in memory once
                self.splits[split] = replace(on_host, images=self._resident[key].images)
        return self._resident[key]


class Ahead(DataLoader[Request]):
    """A loader whose `workers` threads gather the requests that come next.

    Threads, where a `DataLoader` has processes: to gather is one `index_select`, which lets others
    run meanwhile, and a worker that is forked beside the threads of ranks that exchange may find a
    lock taken that nobody gives back.

    Args:
        workers: threads, each two requests ahead at most; 0: each request when it is asked for.
    """

    def __init__(self, *args: Any, workers: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workers = workers

    def __iter__(self) -> Any:
        return self._ahead() if self.workers else super().__iter__()

    def _ahead(self) -> Iterator[Request]:
        with ThreadPoolExecutor(self.workers) as pool:
            gathered = (pool.submit(self.dataset.__getitem__, request) for request in self.sampler)
            coming = deque(islice(gathered, 2 * self.workers))
            while coming:
                yield coming.popleft().result()
                coming.extend(islice(gathered, 1))


class Gather(Dataset[Request]):
    """Adds the images to a request and its parts, pinned where there is a device to send them to.

    Args:
        images: by split; those of another are left to be gathered on the device.
    """

    def __init__(self, images: Mapping[str, Tensor]) -> None:
        self.images, self.pinned = dict(images), torch.cuda.is_available()

    def __getitem__(self, request: Request) -> Request:
        if request.parts:  # the request itself holds what its first part does
            return request._replace(parts={n: self[part] for n, part in request.parts.items()})
        if request.split not in self.images:
            return request
        images = self.images[request.split].index_select(0, request.indices)
        return request._replace(images=images.pin_memory() if self.pinned else images)
