"""Many paths in little memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmnar.files import LOSSLESS


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths as UTF-8, one behind the other: about a quarter of what an array of text takes.

    Attributes:
        text: the bytes of all, uint8.
        ends: where each ends in `text`, int64 `[N]`.

    Raises:
        ValueError: the ends do not fit the text.
    """

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __post_init__(self) -> None:
        last = int(self.ends[-1]) if len(self.ends) else 0
        if last != len(self.text) or (np.diff(self.ends, prepend=0) < 0).any():
            raise ValueError("the ends of paths do not fit their text")

    @classmethod
    def of(cls, paths: Sequence[str]) -> "Paths":
        """Those paths, in their order."""
        return cls._of_bytes([path.encode("utf-8", LOSSLESS) for path in paths])

    @classmethod
    def _of_bytes(cls, paths: Sequence[bytes]) -> "Paths":
        lengths = np.fromiter(map(len, paths), np.int64, len(paths))
        return cls(np.frombuffer(b"".join(paths), np.uint8), np.cumsum(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def _bytes(self) -> Iterator[bytes]:
        text = self.text.tobytes()
        return (text[start:end] for start, end in pairwise([0, *self.ends.tolist()]))

    def tolist(self) -> list[str]:
        """The paths as text."""
        return [path.decode("utf-8", LOSSLESS) for path in self._bytes()]

    def part(self, chosen: NDArray[Any]) -> "Paths":
        """Those at int64 positions, or where a bool `[N]` is true."""
        paths = list(self._bytes())
        return Paths._of_bytes([paths[at] for at in np.arange(len(self))[chosen].tolist()])

    def joined(self, other: "Paths") -> "Paths":
        """These, and then the others."""
        ends = np.concatenate([self.ends, other.ends + len(self.text)])
        return Paths(np.concatenate([self.text, other.text]), ends)

    def separated(self) -> bytes:
        """All of them with a zero between two."""
        return b"\0".join(self._bytes())
