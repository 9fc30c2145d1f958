"""Labels given by people: CIFAR-10N and CIFAR-100N (Wei et al., ICLR 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, IntArray, check_labels

OFFICIAL_SIZE = 50_000
# data set → key in its file → name of the noise
KEYS = {
    "cifar10": {
        "aggre_label": "human_aggre",
        "random_label1": "human_random1",
        "random_label2": "human_random2",
        "random_label3": "human_random3",
        "worse_label": "human_worse",
    },
    "cifar100": {"noisy_label": "human_fine"},
}


def read_human_labels(path: str | Path) -> dict[str, object]:
    """The dict in an official CIFAR-N `.pt` file; nothing but arrays of whole numbers is unpickled.

    Raises:
        InputError: no such file, or one that cannot be read in this way.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"noise.path: there is no file {path}; get it from the repository "
            "UCSC-REAL/cifar-10-100n, or set noise.path to where it is"
        )
    try:
        with torch.serialization.safe_globals(_array_parts()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or foreign pickle can raise anything
        raise InputError(f"noise.path: {path} cannot be read as a CIFAR-N label file") from error
    if not isinstance(content, dict) or "clean_label" not in content:
        raise InputError(f"noise.path: {path} is no CIFAR-N label file: it has no clean_label")
    return content


def _array_parts() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What a pickled array of whole numbers is made of; numpy 2 moved the function of numpy 1."""
    rebuild: Any = np.empty(0).__reduce__()[0]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    kinds = [type(np.dtype(code)) for code in np.typecodes["AllInteger"]]
    return [np.ndarray, np.dtype, *kinds, *((rebuild, f"{m}._reconstruct") for m in modules)]


@dataclass(frozen=True)
class Human:
    """Human labels of CIFAR-10N or CIFAR-100N, from the official files.

    Attributes:
        path: `CIFAR-10_human.pt` or `CIFAR-100_human.pt`.
        key: `aggre_label`, `worse_label`, `random_label1`, `random_label2` or `random_label3` of
            CIFAR-10N; `noisy_label` of CIFAR-100N.
        dataset: the data set that the labels belong to, `cifar10` or `cifar100`.
    """

    path: str | Path
    key: str
    dataset: str

    def __post_init__(self) -> None:
        if self.dataset not in KEYS:
            raise InputError(f"noise.dataset must be {' or '.join(KEYS)}, got {self.dataset!r}")

    @property
    def name(self) -> str:
        return KEYS[self.dataset].get(self.key, f"human_{self.key}")

    @property
    def nominal_rate(self) -> None:
        return None

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        """The human labels at `clean.index`, int64 `[N]`.

        Raises:
            InputError: another data set, no such key, or a file of another length or order.
        """
        if clean.dataset != self.dataset:
            raise InputError(
                f"noise={self.name} holds labels of {self.dataset}, but the data set is "
                f"{clean.dataset or 'unnamed'}; use dataset={self.dataset} or another noise"
            )
        content = read_human_labels(self.path)
        true = self._column(content, "clean_label", clean)
        moved = np.flatnonzero(true != clean.labels)
        if len(moved):
            raise InputError(
                f"noise.path: clean_label in {self.path} differs from the true labels of "
                f"{self.dataset} at {len(moved)} of {len(true)} samples: another data set or order"
            )
        offered = [key for key in content if key in KEYS[self.dataset]]
        if self.key not in offered:
            raise InputError(f"noise.key must be one of {', '.join(offered)}, got {self.key!r}")
        return self._column(content, self.key, clean)

    def _column(self, content: dict[str, object], key: str, clean: CleanLabels) -> IntArray:
        what = f"noise.path: {key} in {self.path}"
        labels = check_labels(np.asarray(content[key]), clean.num_classes, what)
        if len(labels) != OFFICIAL_SIZE:
            raise InputError(f"{what} must have {OFFICIAL_SIZE} labels, got {len(labels)}")
        if clean.index.min(initial=0) < 0 or clean.index.max(initial=0) >= OFFICIAL_SIZE:
            raise InputError(f"noise={self.name} needs indices in [0, {OFFICIAL_SIZE})")
        return labels[clean.index]
