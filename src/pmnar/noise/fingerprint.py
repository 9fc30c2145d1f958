"""Which images labels are of: what tells whether a data set is still the one that it was."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from pmnar.errors import InputError
from pmnar.noise.paths import Paths

DIGEST_BYTES = 8
Integers = NDArray[np.int64]
Key = str | int


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The samples of a training set, as their source gave them, in its order.

    Attributes:
        digests: of each image's pixels (or features), 8 bytes of BLAKE2b, uint64 `[N]`.
        labels: their labels before any noise, int64 `[N]`.
        index: their positions in the official training set, int64 `[N]`.
        paths: their files below the data set's folder, N, where there are any.
        decoder: what decoded the files (see `decoders`), where there are any and it is known.
    """

    digests: NDArray[np.uint64]
    labels: Integers
    index: Integers
    paths: Paths | None = None
    decoder: str | None = None

    @classmethod
    def of(
        cls,
        images: NDArray[np.uint8] | NDArray[np.float32],
        labels: Integers,
        index: Integers,
        paths: Sequence[str] | None = None,
    ) -> "Fingerprint":
        """That of images uint8 `[N, C, H, W]`, or of features, float32; each is read once."""
        digests = b"".join(_digest(image) for image in images)
        names = None if paths is None else Paths.of(paths)
        values = np.frombuffer(digests, "<u8").astype(np.uint64)
        decoder = None if paths is None or images.dtype != np.uint8 else decoders()
        return cls(values, labels.copy(), index.copy(), names, decoder)

    @property
    def digest(self) -> str:
        """One digest of all samples, and of their order."""
        whole = hashlib.blake2b(digest_size=2 * DIGEST_BYTES)
        whole.update(self.digests.astype("<u8").tobytes())
        whole.update(self.labels.astype("<i8").tobytes())
        whole.update(b"" if self.paths is None else self.paths.separated())
        return whole.hexdigest()

    def part(self, chosen: NDArray[Any]) -> "Fingerprint":
        """The samples at int64 positions, or where a bool `[N]` is true."""
        return replace(
            self,
            digests=self.digests[chosen],
            labels=self.labels[chosen],
            index=self.index[chosen],
            paths=None if self.paths is None else self.paths.part(chosen),
        )

    def joined(self, other: "Fingerprint") -> "Fingerprint":
        """These samples, and then the others."""
        paths = None
        if self.paths is not None and other.paths is not None:
            paths = self.paths.joined(other.paths)
        return Fingerprint(
            np.concatenate([self.digests, other.digests]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.index, other.index]),
            paths,
            self.decoder,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file keeps of it beside `index`."""
        found: dict[str, NDArray[Any]] = {"digests": self.digests, "source_labels": self.labels}
        if self.paths is not None:
            found |= {"path_text": self.paths.text, "path_ends": self.paths.ends}
        if self.decoder is not None:
            found["decoder"] = np.array(self.decoder)
        return found

    @classmethod
    def from_arrays(cls, found: Mapping[str, NDArray[Any]]) -> "Fingerprint | None":
        """What `arrays` gave, with `index`; None of a file that has none yet.

        Raises:
            KeyError, ValueError: they do not fit each other.
        """
        if "digests" not in found:
            return None
        digests, labels, index = (found[name] for name in ("digests", "source_labels", "index"))
        paths = _stored_paths(found)
        sizes = {len(column) for column in (digests, labels, index, paths) if column is not None}
        if len(sizes) > 1:
            raise ValueError("digests, labels, indices and paths of different lengths")
        decoder = str(found["decoder"]) if "decoder" in found else None
        return cls(digests, labels, index, paths, decoder)


def _stored_paths(found: Mapping[str, NDArray[Any]]) -> Paths | None:
    """Those of a file, which in older ones are an array of text."""
    if "paths" in found:
        return Paths.of(found["paths"].tolist())
    return Paths(found["path_text"], found["path_ends"]) if "path_text" in found else None


def decoders() -> str:
    """What decides which pixels a file becomes: `Pillow 13.0.0 and libjpeg-turbo 3.2.0`."""
    turbo = features.version("libjpeg_turbo")
    jpeg = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__} and {jpeg}"


def other_decoder(before: str | None, now: str | None) -> str:
    """What to add where pixels differ, and other libraries have decoded them; else nothing."""
    if before is None or now is None or before == now:
        return ""
    return f" (decoded by another Pillow/libjpeg: {before} then, {now} now)"


class Change(NamedTuple):
    """How one sample differs: `kind` is missing, new, content, class or renamed."""

    kind: str
    text: str


def compare(before: Fingerprint, now: Fingerprint) -> tuple[list[Change], Integers]:
    """How samples differ from what they were, and where each was.

    By path where both have paths, else by index. A file that is gone, while just one of the same
    content is new, was renamed.

    Returns:
        the changes, in the order of before and then of now; rows of `before`, int64 `[N]` of now,
        -1 for what is new.
    """
    by_path = before.paths is not None and now.paths is not None
    old, new = _rows(before, by_path), _rows(now, by_path)
    moved = _moved(before, now, old, new)
    found = []
    rows = np.full(len(now.digests), -1, np.int64)
    for key, row in old.items():
        place = moved.get(key, key)
        if place not in new:
            found.append(Change("missing", f"{_name(key)} is missing"))
            continue
        at = new[place]
        rows[at] = row
        also = f", it is {_name(place)} now" if place != key else ""
        if before.labels[row] != now.labels[at]:
            found.append(Change("class", f"{_name(key)} is in another class{also}"))
        elif before.digests[row] != now.digests[at]:
            found.append(Change("content", f"{_name(key)} has changed in content"))
        elif also:
            found.append(Change("renamed", f"{_name(key)} is renamed{also}"))
    strange = [key for key, at in new.items() if rows[at] < 0]
    return [*found, *(Change("new", f"{_name(key)} is new") for key in strange)], rows


def summary(changes: Sequence[Change]) -> str:
    """The first change in words, and how many there are."""
    more = len(changes) - 1
    return changes[0].text + (f", and {more:,} more differ" if more else "")


def check_unchanged(before: Fingerprint | None, now: Fingerprint | None, run: Path) -> None:
    """Raise `InputError` unless a run's training images are what they were, in their order.

    A run from before there were fingerprints is not refused.
    """
    if before is None or now is None or before.digest == now.digest:
        return
    changes, rows = compare(before, now)
    if not changes and np.array_equal(rows, np.arange(len(rows))):
        return
    said = summary(changes) if changes else "they come in another order"
    if any(change.kind == "content" for change in changes):
        said += other_decoder(before.decoder, now.decoder)
    raise InputError(
        f"{run} was trained on other images than there are now: {said}; restore them, or begin a "
        "new run"
    )


def _digest(image: NDArray[Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=DIGEST_BYTES).digest()


def _rows(samples: Fingerprint, by_path: bool) -> dict[Key, int]:
    paths = samples.paths if by_path else None
    keys: list[Key] = samples.index.tolist() if paths is None else [*paths.tolist()]
    return {key: row for row, key in enumerate(keys)}


def _moved(
    before: Fingerprint, now: Fingerprint, old: Mapping[Key, int], new: Mapping[Key, int]
) -> dict[Key, Key]:
    """Where the files that are gone are now, told by content, where that is unmistakable."""
    gone = {key: int(before.digests[row]) for key, row in old.items() if key not in new}
    come = {key: int(now.digests[row]) for key, row in new.items() if key not in old}
    times, places = Counter(gone.values()), Counter(come.values())
    by_content = {digest: key for key, digest in come.items() if places[digest] == 1}
    return {
        key: by_content[digest]
        for key, digest in gone.items()
        if times[digest] == 1 and digest in by_content
    }


def _name(key: Key) -> str:
    return key if isinstance(key, str) else f"the training image with index {key}"
