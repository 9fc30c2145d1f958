"""scikit-learn's bundled handwritten digits."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from pmnar.data.arrays import ImageData, Split
from pmnar.data.sources.splitting import check_split, stratified_split
from pmnar.noise.base import FloatArray

MAX_VALUE = 16  # the images count the set pixels of 4×4 blocks
FILE = Path("datasets") / "data" / "digits.csv.gz"
"""Where scikit-learn keeps the images: a row an image, 64 pixels and the digit."""


class Digits:
    """1,797 real 8×8 images of ten digits; needs no file and no network.

    Args:
        test_fraction: share of each class that is set aside as test split, in [0, 1).
        split_seed: seed of that choice. The defaults give 1,347 training and 450 test images.
    """

    name = "digits"

    def __init__(self, test_fraction: float = 0.25, split_seed: int = 0) -> None:
        check_split(test_fraction, split_seed)
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def prepare(self) -> None:
        """Nothing: the images come with scikit-learn."""

    def load(self) -> ImageData:
        """Images uint8 `[N, 1, 8, 8]`, values 0..16 scaled to 0..255."""
        rows = read_digits()
        values, labels = rows[:, :-1], rows[:, -1].astype(np.int64)
        scaled = np.round(values * (255 / MAX_VALUE)).astype(np.uint8).reshape(-1, 1, 8, 8)
        train, test = (
            Split(torch.from_numpy(scaled[chosen]), torch.from_numpy(labels[chosen]))
            for chosen in stratified_split(labels, self.test_fraction, self.split_seed)
        )
        names = tuple(str(digit) for digit in range(10))
        return ImageData(self.name, names, train, {"test": test} if len(test) else {})


def read_digits() -> FloatArray:
    """The rows of scikit-learn's file, float64 `[1797, 65]`: 64 pixels in 0..16, and the digit.

    Read without scikit-learn, whose import takes longer than all else that is done to the images.
    """
    package = find_spec("sklearn")  # finds it, and imports nothing
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / FILE
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # where the file has another place

    values, labels = load_digits(return_X_y=True)
    return np.column_stack([values, labels])
