"""Noise drawn from a given transition matrix."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pmnar.errors import InputError
from pmnar.noise.base import CleanLabels, FloatArray, IntArray
from pmnar.noise.draws import Stream, choose_column, uniform

_CHUNK_VALUES = 2**22


def sample_transitions(labels: IntArray, matrix: FloatArray, seed: int) -> IntArray:
    """A label drawn from row `matrix[y*]` for each sample, int64 `[N]`.

    Args:
        labels: the true labels, int64 `[N]`.
        matrix: P(given | true), rows are true classes, `[K, K]`, row-stochastic.
        seed: in [0, 2^64).
    """
    uniforms = uniform(seed, Stream.TRANSITION, len(labels))
    given = np.empty_like(labels)
    step = max(1, _CHUNK_VALUES // len(matrix))
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        given[part] = choose_column(matrix[labels[part]], uniforms[part])
    return given


def check_matrix(matrix: ArrayLike, num_classes: int, source: str = "noise.matrix") -> FloatArray:
    """`matrix` as float64 `[K, K]`.

    Args:
        matrix: P(given | true), rows are true classes.
        num_classes: K.
        source: where it comes from, for messages.

    Raises:
        InputError: another shape, a negative or non-finite entry, or a row that does not sum
            to 1 within `ROUNDED`. What is off by more than `EXACT` is divided by its sum.
    """
    try:
        values = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source} must be a table of numbers") from error
    if values.shape != (num_classes, num_classes):
        wanted = (num_classes, num_classes)
        raise InputError(f"{source} must be a matrix of shape {wanted}, got {values.shape}")
    bad = np.argwhere(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        value = float(values[row, column])
        raise InputError(
            f"{source} must hold probabilities, got {value} in row {row}, column {column}"
        )
    sums = values.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > ROUNDED)
    if len(off):
        row = int(off[0])
        raise InputError(
            f"{source} must have rows that sum to 1, row {row} sums to {sums[row]:.7g}"
        )
    return np.where(np.abs(sums - 1) > EXACT, values.T / sums, values.T).T


def read_matrix(path: str | Path, key: str = "noise.path") -> FloatArray:
    """The numbers in a .npy, .npz (one array), .csv or .txt file, float64, never a pickle.

    Args:
        path: the file; of text, lines that begin with # are left out.
        key: of the configuration, for messages.

    Raises:
        InputError: no such file, another ending, or content that cannot be read.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".npz", ".csv", ".txt"):
        raise InputError(f"{key} must end in .npy, .npz, .csv or .txt, got {path}")
    if not path.is_file():
        raise InputError(f"{key}: there is no file {path}")
    try:
        arrays = _arrays(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{key}: {path} cannot be read as a table of numbers") from error
    if len(arrays) != 1:
        raise InputError(f"{key}: {path} must hold one array, got {len(arrays)}")
    return arrays[0]


def _arrays(path: Path) -> list[FloatArray]:
    if path.suffix == ".npy":
        return [np.asarray(np.load(path, allow_pickle=False), np.float64)]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return [np.asarray(archive[name], np.float64) for name in archive.files]
    lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
    return [np.loadtxt(lines, dtype=np.float64, ndmin=2)]


EXACT, ROUNDED = 1e-6, 1e-3
"""How far from 1 the sum of a row is as computed, and where its entries were rounded to a few
digits to be written down."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Any class-conditional noise, given by its transition matrix.

    Attributes:
        path: a .npy, .npz, .csv or .txt file of the K×K matrix P(given | true), row y*, column y.
        matrix: the matrix itself, in place of a file.
    """

    path: str | Path | None = None
    matrix: ArrayLike | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.matrix is None):
            raise InputError("set either noise.path or noise.matrix")

    @property
    def name(self) -> str:
        return "matrix"

    @property
    def nominal_rate(self) -> None:
        return None

    def __call__(self, clean: CleanLabels, seed: int) -> IntArray:
        return sample_transitions(clean.labels, self.read(clean.num_classes), seed)

    def read(self, num_classes: int) -> FloatArray:
        """The checked matrix, float64 `[K, K]`."""
        if self.matrix is not None:
            return check_matrix(self.matrix, num_classes)
        matrix = read_matrix(self.path or "")
        return check_matrix(matrix, num_classes, f"noise.path: {self.path}")
