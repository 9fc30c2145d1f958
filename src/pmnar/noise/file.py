"""Labels from a file: saved by an earlier run, or a list of one's own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, IntArray
from pmnar.noise.labels import NoisyLabels
from pmnar.noise.lists import is_list, read_list
from pmnar.noise.matching import match


@dataclass(frozen=True)
class FromFile:
    """The given labels of an earlier run, for the same samples in the same order; or of a list.

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
        for what, found, wanted in (
            ("the data set", stored.dataset, clean.dataset),
            ("the number of classes", stored.num_classes, clean.num_classes),
            ("the number of samples", len(stored.given), len(clean.labels)),
        ):
            if found != wanted:
                raise InputError(
                    f"noise.path: {what} of {path} is {found!r}, this run's {wanted!r}"
                )
        if not np.array_equal(stored.index, clean.index):
            raise InputError(f"noise.path: {path} holds labels of other samples than this run's")
        if stored.true is not None and not np.array_equal(stored.true, clean.labels):
            raise InputError(f"noise.path: the true labels in {path} are not those of this run")
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
