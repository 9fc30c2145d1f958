"""What a run writes at its end, tried before it begins: that would be late to find out."""

import importlib.util
import shutil
from pathlib import Path

from pmnar.errors import InputError, WriteError
from pmnar.files import replacing

WRITERS = {"pyarrow": "samples.parquet", "matplotlib": "the figures"}
"""Packages that are loaded at the end alone: loading them now would delay the first step."""
A_SAMPLE = 100
"""Bytes that the tables and the figures of a run take, at most, for a sample."""
AT_LEAST = 2**22


def check_writers(figures: bool) -> None:
    """Raise `InputError` where a package is missing that writes what a run leaves.

    Args:
        figures: whether the run draws.
    """
    for package, what in WRITERS.items():
        if (figures or package != "matplotlib") and importlib.util.find_spec(package) is None:
            also = "; figures=false does without" if package == "matplotlib" else ""
            raise InputError(
                f"{package} is not installed, which writes {what}: pip install {package}{also}"
            )


def rehearse(folder: Path, samples: int, figures: bool) -> None:
    """Write a file, and remove it, where the table, the summary and the figures will be.

    Args:
        folder: the run's.
        samples: that the table will have.
        figures: whether the run draws.

    Raises:
        WriteError: one cannot be written, or the disk has no room for them.
    """
    needed, free = max(samples * A_SAMPLE, AT_LEAST), shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"cannot write what a run leaves in {folder}: {free / 2**20:.1f} MiB are free there, "
            f"{needed / 2**20:.1f} MiB may be needed"
        )
    for place in [folder, folder / "figures"] if figures else [folder]:
        is_new = not place.is_dir()
        trial = place / ".rehearsal.tmp"
        try:
            place.mkdir(exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write {place}: {error.strerror}") from error
        with replacing(trial) as beside:
            beside.write_bytes(b"")
        trial.unlink()
        if is_new:
            place.rmdir()
