"""Parts of the public data sets, small enough for many runs, and an uneven one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from pmnar.data.arrays import ImageData, Source
from pmnar.data.subsets import take


class Part:
    """A data set of which less is kept.

    Args:
        source: the whole.
        sizes: training images of each class, drawn by `seed`; None: all.
        test: how many test images: the first ones, or, with `sizes`, as many of each class as has
            the same share; None: all.
        spare: set so many training images aside, the last ones, and test on them instead: for
            choosing settings by true labels without a look at the test set.
        seed: draws what `sizes` asks for.
    """

    def __init__(
        self,
        source: Source,
        sizes: Sequence[int] | None = None,
        test: int | None = None,
        spare: int = 0,
        seed: int = 0,
    ) -> None:
        self.source, self.sizes, self.test = source, sizes, test
        self.spare, self.seed, self.name = spare, seed, source.name

    def prepare(self) -> None:
        """As the whole does."""
        self.source.prepare()

    def load(self) -> ImageData:
        """The part."""
        data = self.source.load()
        train, test = data.train, data.test["test"]
        if self.spare:
            places = torch.arange(len(train))
            train, test = take(train, places[: -self.spare]), take(train, places[-self.spare :])
        if self.sizes is not None:
            train = take(train, drawn(train.labels, self.sizes, self.seed))
            wanted = len(test) if self.test is None else self.test
            shares = [size * wanted / sum(self.sizes) for size in self.sizes]
            test = take(test, drawn(test.labels, [round(share) for share in shares], self.seed))
        elif self.test is not None:
            test = take(test, torch.arange(min(self.test, len(test))))
        return replace(data, train=train, test={"test": test})


def keep_part(cfg: DictConfig, **kept: Any) -> None:
    """Let a configuration's data set be a `Part` of what it is, by these arguments."""
    whole = OmegaConf.to_container(cfg.dataset.source, resolve=True)
    with open_dict(cfg):
        cfg.dataset.source = {"_target_": "benchmarks.parts.Part", "source": whole, **kept}


def drawn(labels: Tensor, sizes: Sequence[int], seed: int) -> Tensor:
    """Sorted positions of so many samples of each class, or of all that there are."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(labels))
    shuffled = labels[order].numpy()
    of_class = [order[shuffled == k][:size] for k, size in enumerate(sizes)]
    return torch.from_numpy(np.sort(np.concatenate(of_class)))


def equal_ratios(largest: int, smallest: int, classes: int) -> list[int]:
    """Sizes that fall from class to class by the same ratio."""
    ratio = (smallest / largest) ** (1 / (classes - 1))
    return [round(largest * ratio**k) for k in range(classes)]
