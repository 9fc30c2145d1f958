"""Decoded folders, kept in the cache folder and never beside the originals, which are the user's.

A split is two files, `<slot>-<size>px-<channels>ch-<key>.npy` (images, uint8 `[N, C, H, W]`) and
`.json` (the unreadable files, the greatest 16-bit value). The key covers the paths, sizes and
times of change of the originals, and how they are decoded: a changed folder has another key, is
decoded anew, and the old files go.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pmnar.data.arrays import Split
from pmnar.data.sources.cache_folder import (
    FOLDER_VARIABLE,
    fill,
    folder_of,
    make_room,
    mapped,
    mark_used,
    placing,
    remove_partial,
)
from pmnar.data.sources.decode import NONE, Chunk, Decoder, Peaks, decode_files
from pmnar.data.sources.listing import Listing
from pmnar.errors import InputError

FORMAT_VERSION = 2

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class CachedImages:
    """The decoded images of one listing.

    Args:
        listing: the files.
        slot: name of the split, unique within the folder.
        decoder: how to decode them.
        on_error: what an unreadable file does: `raise` an error, or `skip` it.
    """

    listing: Listing
    slot: str
    decoder: Decoder
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise InputError(f"dataset.source.on_error must be raise or skip, got {self.on_error}")

    def store(self) -> None:
        """Decode and keep the images unless they are there already, or cannot be kept.

        Raises:
            InputError: an image is unreadable and `on_error` is `raise`.
        """
        self._stored()

    def load(self) -> Split:
        """The split, memory-mapped from the cache where there is one.

        Raises:
            InputError: an image is unreadable and `on_error` is `raise`.
        """
        decoded = self._stored() or self._decode_to_memory()
        images, failures = decoded.images, decoded.failures
        self._tell_range(decoded.peaks)
        labels, paths = self.listing.labels, self.listing.paths
        if failures:
            warnings.warn(
                f"{len(failures)} of {len(paths)} images in {self.listing.root} are unreadable "
                f"and left out, the first is {next(iter(failures))}",
                stacklevel=2,
            )
            readable = np.array([path not in failures for path in paths])
            images, labels = images[readable], labels[readable]
            paths = tuple(path for path in paths if path not in failures)
        return Split(torch.from_numpy(images), torch.from_numpy(labels), paths)

    def _tell_range(self, peaks: Peaks) -> None:
        """Warn where 16-bit images would be dark, or too bright, all over."""
        if 0 < peaks.colour < 2**14:
            warnings.warn(
                f"{self.listing.root}: 16-bit colours go up to {peaks.colour:,} at most, while "
                "white is 65,535, so that their images are dark; scale them to that, or to 8 bits",
                stacklevel=3,
            )
        peak, bits = peaks.gray, self.decoder.gray_bits
        used = peak.bit_length()
        if peak and not bits - 1 <= used <= bits:
            effect = "their images are dark" if used < bits else "greater ones are cut to white"
            mend = f": gray_bits={used} is their range" if used <= 16 else ""
            warnings.warn(
                f"{self.listing.root}: 16-bit values go up to {peak:,}, while white is "
                f"{2**bits - 1:,} (dataset.source.gray_bits={bits}), so that {effect}{mend}",
                stacklevel=3,
            )

    def _stored(self) -> Chunk | None:
        """The images from the cache, filled where needed; None where it cannot be."""
        stem = f"{self._prefix()}{self._key()}"
        try:
            folder = folder_of(self.listing.root)
            fill(
                folder,
                lambda: self._is_complete(folder, stem),
                lambda: self._write(folder, stem),
            )
            kept = self._read(folder, stem)
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            warnings.warn(
                f"decoded images of {self.listing.root} cannot be kept ({error}): every run "
                f"decodes them anew; {FOLDER_VARIABLE} can name another folder",
                stacklevel=3,
            )
            return None
        mark_used(folder / f"{stem}.json")
        self._report(kept.failures)
        return kept

    def _is_complete(self, folder: Path, stem: str) -> bool:
        try:
            images = self._read(folder, stem).images
        except (OSError, EOFError, ValueError, KeyError):
            return False
        return images.dtype == np.uint8 and images.shape == self._shape()

    def _read(self, folder: Path, stem: str) -> Chunk:
        about = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        peaks = Peaks(about["peak"], about.get("colour_peak", 0))
        return Chunk(mapped(folder / f"{stem}.npy"), about["failures"], peaks)

    def _write(self, folder: Path, stem: str) -> None:
        """Decode into the cache; the `.json` comes last and so marks the pair as complete."""
        remove_partial(folder)
        self._remove_all_but(folder, stem)
        make_room(folder, math.prod(self._shape()))
        failures: dict[str, str] = {}
        peaks = NONE
        with placing(folder / f"{stem}.npy") as file, closing(self._chunks()) as chunks:
            header = {"descr": "|u1", "fortran_order": False, "shape": self._shape()}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks:
                file.write(chunk.images.tobytes())
                failures |= chunk.failures
                peaks = peaks.with_those(chunk.peaks)
                self._report(chunk.failures)
        about = {"failures": failures, "peak": peaks.gray, "colour_peak": peaks.colour}
        with placing(folder / f"{stem}.json") as file:
            file.write(json.dumps(about).encode("utf-8"))

    def _remove_all_but(self, folder: Path, stem: str) -> None:
        """Remove what an earlier state of the originals left."""
        for path in folder.glob(f"{self._prefix()}*"):
            if path.stem != stem:
                path.unlink()

    def _decode_to_memory(self) -> Chunk:
        images = np.empty(self._shape(), dtype=np.uint8)
        failures: dict[str, str] = {}
        at, peaks = 0, NONE
        with closing(self._chunks()) as chunks:
            for chunk in chunks:
                images[at : at + len(chunk.images)] = chunk.images
                at += len(chunk.images)
                failures |= chunk.failures
                peaks = peaks.with_those(chunk.peaks)
                self._report(chunk.failures)
        return Chunk(images, failures, peaks)

    def _report(self, failures: dict[str, str]) -> None:
        if failures and self.on_error == "raise":
            path, reason = next(iter(failures.items()))
            raise InputError(
                f"{self.listing.root / path} is unreadable ({reason}): "
                "remove it, or set dataset.source.on_error=skip to leave such images out"
            )

    def _chunks(self) -> Generator[Chunk, None, None]:
        return decode_files(self.listing.root, self.listing.paths, self.decoder, self.slot)

    def _shape(self) -> tuple[int, int, int, int]:
        return len(self.listing), self.decoder.channels, self.decoder.size, self.decoder.size

    def _prefix(self) -> str:
        return f"{self.slot}-{self.decoder.size}px-{self.decoder.channels}ch-"

    def _key(self) -> str:
        digest = hashlib.sha256(f"{FORMAT_VERSION} {self.decoder}".encode())
        for path in self.listing.paths:
            try:
                status = (self.listing.root / path).stat()
                times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"  # renaming keeps mtime
                line = f"{path}\0{status.st_size}\0{times}\n"
            except OSError:
                line = f"{path}\0missing\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]
