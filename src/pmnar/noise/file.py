"""Labels from a file: saved by an earlier run, or a list of one's own."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, IntArray
from pmnar.noise.fingerprint import (
    Change,
    Fingerprint,
    check_unchanged,
    compare,
    other_decoder,
    summary,
)
from pmnar.noise.labels import NoisyLabels
from pmnar.noise.lists import is_list, read_list
from pmnar.noise.matching import match


@dataclass(frozen=True)
class FromFile:
    """The given labels of an earlier run, for the same samples; or of a list.

    A sample is the same by path and content, where the run has saved paths: files may have been
    removed, or renamed within their class. Else by index and, where that was saved, content.

    What that run held out of its training set belongs to them, whether this run holds out the
    same or not.

    Attributes:
        path: a `labels.npz`, or the run folder that holds it; or a list (see `lists`).
    """

    path: str | Path

    @property
    def name(self) -> str:
        return "file"

    @property
    def nominal_rate(self) -> None:
        return None

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return self.read(clean).given

    def read(self, clean: CleanLabels) -> NoisyLabels:
        """What the earlier run saved, whole, checked against the samples of this one.

        Raises:
            InputError: no such file, or labels of another data set or of other samples.
        """
        path = Path(self.path)
        if not path.is_dir() and is_list(path):
            return self._listed(path, clean)
        stored = NoisyLabels.load(path / "labels.npz" if path.is_dir() else path).whole()
        return self._of_these(stored, clean, path)

    def _of_these(self, stored: NoisyLabels, clean: CleanLabels, path: Path) -> NoisyLabels:
        """The stored labels of this run's samples, in its order."""
        for what, found, wanted in (
            ("the data set", stored.dataset, clean.dataset),
            ("the number of classes", stored.num_classes, clean.num_classes),
        ):
            if found != wanted:
                raise InputError(
                    f"noise.path: {what} of {path} is {found!r}, this run's {wanted!r}; name a run "
                    f"on {clean.dataset or 'the same data set'}, or a list of labels"
                )
        if _has_paths(stored.fingerprint) and _has_paths(clean.fingerprint):
            stored = _matched(stored, clean, path)
        else:
            _check_by_index(stored, clean, path)
        if stored.true is not None and not np.array_equal(stored.true, clean.labels):
            raise InputError(
                f"noise.path: the true labels in {path} are not those of this run: the data set's "
                "have changed since; restore them, or put noise on these (noise=sym50, …)"
            )
        return stored

    def _listed(self, path: Path, clean: CleanLabels) -> NoisyLabels:
        """A list's labels of the samples of this run, of which it knows no true ones."""
        return NoisyLabels(
            given=match(read_list(path), clean, path),
            true=None,
            index=clean.index,
            num_classes=clean.num_classes,
            dataset=clean.dataset,
            name=self.name,
            nominal_rate=None,
            seed=0,
        )


class OfRun(FromFile):
    """The given labels of an earlier run, of just the samples that it was trained on.

    Refused as by `FromFile`, and where a file was added, removed, renamed or changed.
    """

    def _of_these(self, stored: NoisyLabels, clean: CleanLabels, path: Path) -> NoisyLabels:
        check_unchanged(stored.fingerprint, clean.fingerprint, path)
        return super()._of_these(stored, clean, path)


def _has_paths(samples: Fingerprint | None) -> bool:
    return samples is not None and samples.paths is not None


def _matched(stored: NoisyLabels, clean: CleanLabels, path: Path) -> NoisyLabels:
    """The labels of this run's files, in its order; says which have been removed or renamed."""
    assert stored.fingerprint is not None
    assert clean.fingerprint is not None
    changes, rows = compare(stored.fingerprint, clean.fingerprint)
    mild = [change for change in changes if change.kind in ("missing", "renamed")]
    decoder = other_decoder(stored.decoder, clean.fingerprint.decoder)
    _refuse([change for change in changes if change not in mild], path, decoder)
    if mild:
        warnings.warn(
            f"noise.path: the images have changed since {path} was made: {summary(mild)}; every "
            "image that is there has its own label",
            stacklevel=2,
        )
    return replace(stored.part(rows), index=clean.index, fingerprint=clean.fingerprint)


def _check_by_index(stored: NoisyLabels, clean: CleanLabels, path: Path) -> None:
    """Raise `InputError` unless the stored labels are of the samples with this run's indices."""
    same = "dataset.train_subset and dataset.subset_seed must be as they were in that run"
    found, wanted = len(stored.given), len(clean.labels)
    if found != wanted:
        raise InputError(
            f"noise.path: the number of samples of {path} is {found!r}, this run's {wanted!r}: "
            f"{same}"
        )
    if not np.array_equal(stored.index, clean.index):
        raise InputError(
            f"noise.path: {path} holds labels of other samples than this run's: {same}"
        )
    if stored.fingerprint is not None and clean.fingerprint is not None:
        _refuse(compare(stored.fingerprint, clean.fingerprint)[0], path)


def _refuse(changes: Sequence[Change], path: Path, decoder: str = "") -> None:
    """Raise `InputError` where any image is another than the labels are of."""
    if changes:
        also = decoder if any(change.kind == "content" for change in changes) else ""
        raise InputError(
            f"noise.path: {path} holds labels of other images than this run's: {summary(changes)}"
            f"{also}; restore them, or give a list with the path and label of each "
            "(noise.path=labels.csv)"
        )
