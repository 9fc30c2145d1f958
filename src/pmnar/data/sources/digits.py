"""scikit-learn's bundled handwritten digits."""

import numpy as np
import torch

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.splitting import check_fraction, stratified_split

MAX_VALUE = 16  # the images count the set pixels of 4×4 blocks


class Digits:
    """1,797 real 8×8 images of ten digits; needs no file and no network.

    Args:
        test_fraction: share of each class that is set aside as test split, in (0, 1).
        split_seed: seed of that choice. The defaults give 1,347 training and 450 test images.
    """

    name = "digits"

    def __init__(self, test_fraction: float = 0.25, split_seed: int = 0) -> None:
        check_fraction(test_fraction)
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def prepare(self) -> None:
        """Nothing: the images come with scikit-learn."""

    def load(self) -> ImageData:
        """Images uint8 `[N, 1, 8, 8]`, values 0..16 scaled to 0..255."""
        from sklearn.datasets import load_digits  # a slow import, needed for this data set alone

        values, labels = load_digits(return_X_y=True)
        labels = labels.astype(np.int64)
        scaled = np.round(values * (255 / MAX_VALUE)).astype(np.uint8).reshape(-1, 1, 8, 8)
        train, test = (
            Split(torch.from_numpy(scaled[chosen]), torch.from_numpy(labels[chosen]))
            for chosen in stratified_split(labels, self.test_fraction, self.split_seed)
        )
        names = tuple(str(digit) for digit in range(10))
        return ImageData(self.name, names, train, {"test": test})
