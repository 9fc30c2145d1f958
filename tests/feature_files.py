"""Files of features: the digits' 64 pixels, some under wrong labels, in every format."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pmnar.data.sources.digits import read_digits

ENDINGS = ("npz", "npy", "parquet")


def digits_as_features(size: int = 300) -> dict[str, Any]:
    """Features, given and true labels, paths and a split of the first digits."""
    rows = read_digits()[:size]
    true = rows[:, -1].astype(np.int64)
    given = np.where(np.arange(size) % 4 == 0, (true + 1) % 10, true)
    return {
        "features": rows[:, :-1].astype(np.float32),
        "labels": given,
        "true_labels": true,
        "paths": np.array([f"scans/{at:04d}.png" for at in range(size)]),
        "split": np.where(np.arange(size) % 5 == 3, "test", "train"),
    }


def write(folder: Path, ending: str, name: str = "digits", **arrays: Any) -> Path:
    """A file of these arrays; None is left out."""
    arrays = {key: array for key, array in arrays.items() if array is not None}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{ending}"
    if ending == "npz":
        np.savez(path, **arrays)
    elif ending == "npy":
        np.save(path, arrays.pop("features"))
        for key, array in arrays.items():
            np.save(folder / f"{name}.{key}.npy", array)
    else:
        pq.write_table(pa.table({key: list(array) for key, array in arrays.items()}), path)
    return path


def is_mapped_from(tensor: torch.Tensor, path: Path) -> bool:
    """Whether a tensor's memory is a mapping of a file."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        first, last = (int(end, 16) for end in span.split("-"))
        if first <= address < last:
            return name == str(path)
    return False
