"""The given labels of a run: what noise made, and the file that shares them."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pmnar.errors import InputError
from pmnar.files import replacing
from pmnar.noise.base import BoolArray, FloatArray, IntArray, check_labels
from pmnar.noise.fingerprint import Fingerprint

FORMAT = 1
_ARRAYS = ("given", "index", "true")
_HEADER = ("num_classes", "dataset", "name", "nominal_rate", "seed", "spec")


@dataclass(frozen=True, eq=False)
class NoisyLabels:
    """Given labels, with the true ones where they are known.

    Attributes:
        given: the labels to train on, int64 `[N]`, in `[0, K)`.
        true: the true labels, int64 `[N]`; None where they are unknown.
        index: position of each sample in the official training set, int64 `[N]`.
        num_classes: K.
        dataset: the data set's configuration name.
        name: the noise's name, such as `sym50`.
        nominal_rate: the rate asked for, or None.
        seed: what the noise was drawn from.
        spec: the noise's class and fields, as JSON.
        held_out: the same of the samples that are not trained on, though noise was put on them
            too; None where there are none. Their true labels are there for `noise=file` alone,
            which may train on them later.
        fingerprint: which images they are of; None where unknown, as in older files.

    Raises:
        InputError: labels outside `[0, K)`, or arrays of different lengths.
    """

    given: IntArray
    true: IntArray | None
    index: IntArray
    num_classes: int
    dataset: str
    name: str
    nominal_rate: float | None
    seed: int
    spec: str = "{}"
    held_out: "NoisyLabels | None" = None
    fingerprint: Fingerprint | None = None

    def __post_init__(self) -> None:
        given = check_labels(self.given, self.num_classes, "given labels")
        object.__setattr__(self, "given", given)
        if self.true is not None:
            true = check_labels(self.true, self.num_classes, "true labels")
            object.__setattr__(self, "true", true)
        for name, array in (("true labels", self.true), ("indices", self.index)):
            if array is not None and array.shape != self.given.shape:
                raise InputError(f"{len(self.given)} given labels, but {len(array)} {name}")

    @property
    def actual_rate(self) -> float | None:
        """Share of given labels that are wrong, in [0, 1]; None where the true ones are unknown."""
        if self.true is None:
            return None
        return float(np.mean(self.given != self.true)) if len(self.given) else 0.0

    def without(self, held_out: BoolArray) -> "NoisyLabels":
        """The labels outside `held_out` bool `[N]`, with those inside kept apart."""
        return replace(self.part(~held_out), held_out=self.part(held_out))

    def part(self, chosen: BoolArray | IntArray) -> "NoisyLabels":
        """The labels where a bool `[N]` is true, or at int64 positions."""
        return replace(
            self,
            given=self.given[chosen],
            true=None if self.true is None else self.true[chosen],
            index=self.index[chosen],
            fingerprint=None if self.fingerprint is None else self.fingerprint.part(chosen),
        )

    def whole(self) -> "NoisyLabels":
        """With what is held out, in the order of the official training set."""
        other = self.held_out
        if other is None:
            return self
        index = np.concatenate([self.index, other.index])
        true = fingerprint = None
        if self.true is not None and other.true is not None:
            true = np.concatenate([self.true, other.true])
        if self.fingerprint is not None and other.fingerprint is not None:
            fingerprint = self.fingerprint.joined(other.fingerprint)
        given = np.concatenate([self.given, other.given])
        both = replace(
            self, given=given, true=true, index=index, fingerprint=fingerprint, held_out=None
        )
        return both.part(np.argsort(index))

    @cached_property
    def digest(self) -> str | None:
        """One digest of all images that noise was put on, held out or not; None where unknown."""
        whole = self.whole().fingerprint
        return None if whole is None else whole.digest

    @property
    def decoder(self) -> str | None:
        """What decoded the images, where that is known."""
        return None if self.fingerprint is None else self.fingerprint.decoder

    def transition_matrix(self) -> FloatArray:
        """Empirical P(given | true), `[K, K]`, row y*; a class without samples maps to itself.

        Raises:
            InputError: the true labels are unknown.
        """
        if self.true is None:
            raise InputError("a transition matrix needs true labels, and these are unknown")
        cells = self.true * self.num_classes + self.given
        counts = np.bincount(cells, minlength=self.num_classes**2).astype(np.float64)
        counts = counts.reshape(self.num_classes, self.num_classes)
        absent = counts.sum(axis=1) == 0
        counts[absent, absent] = 1
        matrix: FloatArray = counts / counts.sum(axis=1, keepdims=True)
        return matrix

    def describe(self) -> str:
        """`sym50: nominal 50.0 %, actual 50.0 % (25,000 of 50,000 labels), seed 1`."""
        parts = [] if self.nominal_rate is None else [f"nominal {_percent(self.nominal_rate)}"]
        if self.true is None or self.actual_rate is None:
            parts.append(f"actual unknown ({len(self.given):,} labels, as they are)")
        else:
            wrong = int(np.sum(self.given != self.true))
            rate = _percent(self.actual_rate)
            parts.append(f"actual {rate} ({wrong:,} of {len(self.given):,} labels)")
        return f"{self.name}: {', '.join(parts)}, seed {self.seed}"

    def save(self, path: str | Path) -> None:
        """Write an .npz of plain arrays and a JSON header, in one step: never half a file.

        `given`, `index` and, where known, `true` describe what is trained on; what is held out is
        kept beside it as `held_out_given` and so on, so that a later run can hold out the same,
        something else or nothing. `digests`, `source_labels`, `path_text` and `path_ends`
        say which images they are of (see `Fingerprint`), and `decoder` what decoded them.
        """
        path = Path(path)
        header = json.dumps({name: getattr(self, name) for name in _HEADER})
        arrays: dict[str, Any] = {"format": np.int64(FORMAT), "header": np.array(header)}
        for prefix, labels in (("", self), ("held_out_", self.held_out)):
            found = {name: getattr(labels, name, None) for name in _ARRAYS}
            if labels is not None and labels.fingerprint is not None:
                found |= labels.fingerprint.arrays()
            arrays |= {f"{prefix}{name}": a for name, a in found.items() if a is not None}
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "NoisyLabels":
        """Read what `save` wrote; nothing is unpickled.

        Raises:
            InputError: no such file, or one that `save` did not write.
        """
        content = _read_archive(Path(path))
        if str(content.get("format")) != str(FORMAT):
            raise InputError(f"noise.path: {path} is no label file of format {FORMAT}")
        try:
            header = json.loads(str(content["header"]))
            known = {name: header[name] for name in _HEADER}
            apart = {
                name.removeprefix("held_out_"): array
                for name, array in content.items()
                if name.startswith("held_out_")
            }
            held_out = cls._from_arrays(apart, known) if apart else None
            return replace(cls._from_arrays(content, known), held_out=held_out)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"noise.path: {path} does not fit together: {error}") from error

    @classmethod
    def _from_arrays(cls, found: Mapping[str, Any], known: Mapping[str, Any]) -> "NoisyLabels":
        return cls(
            given=found["given"],
            true=found.get("true"),
            index=found["index"],
            fingerprint=Fingerprint.from_arrays(found),
            **known,
        )


def _read_archive(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if not path.is_file():
        raise InputError(f"noise.path: there is no file {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise InputError(f"noise.path: {path} is not a file of saved labels") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"noise.path: {path} is damaged") from error


def _percent(rate: float) -> str:
    """`50.0 %`, or two decimals where the second is not 0: `40.21 %`."""
    text = f"{100 * rate:.2f}"
    return f"{text.removesuffix('0')} %"
