"""Which image files make up a split, before any is decoded."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmnar.errors import InputError

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Listing:
    """The files of one split.

    Attributes:
        root: the data set's folder.
        paths: one file per sample, relative to `root`, with `/` between the parts.
        labels: int64 `[N]`.
    """

    root: Path
    paths: tuple[str, ...]
    labels: IntArray

    def __len__(self) -> int:
        return len(self.paths)


def make_listing(root: Path, files: list[tuple[str, int]]) -> Listing:
    """The listing of (path relative to `root`, label) pairs, in their order."""
    labels = np.array([label for _, label in files], dtype=np.int64)
    return Listing(root, tuple(path for path, _ in files), labels)


def read_lines(path: Path, layout: str, key: str = "data_dir") -> list[str]:
    """The lines of a text file that are not blank.

    Args:
        path: the file.
        layout: what its folder should be, for the error.
        key: the configuration key of that folder, for the error.

    Raises:
        InputError: the file is missing or empty.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: {key} must be {layout}")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty: {key} must be {layout}")
    return lines


def short_names(synsets: dict[str, str]) -> tuple[str, ...]:
    """A class name per WordNet id: the first of its comma-separated words, made unique.

    Two synsets may share a word (ImageNet has two cranes): both then carry their id.
    """
    first = {wnid: words.split(",")[0].strip() for wnid, words in synsets.items()}
    count = Counter(first.values())
    return tuple(word if count[word] == 1 else f"{word} ({wnid})" for wnid, word in first.items())
