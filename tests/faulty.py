"""`python -m src.train`, with a fault at the moment that FAULT names.

FAULT is `place:number:value`: the process sends itself SIGKILL the `number`-th time it comes to the
place. Places: `bytes`, when this share of a checkpoint's bytes are written; `temporary`, before a
checkpoint's temporary file is synced; `renamed`, after it has taken its place; `linked`, while
`last.ckpt` is given to a numbered checkpoint; `tables`, between an epoch's row and its checkpoint;
`end`, between `samples.parquet` and `summary.json`. `epoch` sends the signal `value` at the
beginning of epoch `number`, `error` raises an error there; both in rank FAULT_RANK (0).
STARTED_EPOCHS names a file that gets a line an epoch.
"""

import io
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from pmnar import files
from pmnar.callbacks import tables
from pmnar.methods import NoisyLabelMethod
from pmnar.tasks import cli

PLACE, NUMBER, VALUE = (os.environ.get("FAULT") or "none:0:0").split(":")
RANK = int(os.environ.get("FAULT_RANK", "0"))
SEEN: Counter[str] = Counter()


def come_to(place: str) -> bool:
    """Count a visit; whether it is the fatal one."""
    SEEN[place] += 1
    return place == PLACE and SEEN[place] == int(NUMBER)


def die() -> None:
    """As a power cut would, but for what the system's own buffers still write."""
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


class Fatal(io.RawIOBase):
    """A file that kills its writer after some bytes."""

    def __init__(self, file: Any, left: int) -> None:
        self.file, self.left = file, left

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        block = bytes(data)[: self.left]
        self.file.write(block)
        self.left -= len(block)
        if not self.left:
            self.file.flush()
            die()
        return len(data)


real_save, real_sync = torch.save, files.sync
real_start = NoisyLabelMethod.on_train_epoch_start


def save(content: Any, file: Any) -> None:
    """`torch.save` that may die in the middle, or before it has begun."""
    if come_to("tables"):
        die()
    if come_to("bytes"):
        whole = io.BytesIO()
        real_save(content, whole)
        file = Fatal(file, 1 + int(float(VALUE) * (len(whole.getvalue()) - 1)))
    real_save(content, file)


def sync(path: Path) -> None:
    """`sync` that may die before it."""
    place = {".last.": "linked", ".epoch": "temporary"}.get(path.name[:6])
    place = "renamed" if path.name == "checkpoints" else place
    if place is not None and come_to(place):
        die()
    real_sync(path)


def write_text(path: Path, text: str) -> None:
    """`write_text` that may die before the summary."""
    if path.name == "summary.json" and come_to("end"):
        die()
    files.write_text(path, text)


def on_train_epoch_start(self: NoisyLabelMethod) -> None:
    """Log the epoch's beginning; perhaps fail."""
    epoch = self.current_epoch + 1
    if self.global_rank == 0 and "STARTED_EPOCHS" in os.environ:
        with Path(os.environ["STARTED_EPOCHS"]).open("a") as log:
            log.write(f"{epoch}\n")
    if self.global_rank == RANK and epoch == int(NUMBER):
        if PLACE == "epoch":
            os.kill(os.getpid(), int(VALUE))
        if PLACE == "error":
            raise ZeroDivisionError("an error of one rank")
    real_start(self)


# In a spawned rank, too, which imports this file under another name.
for place, name, stand_in in (
    (torch, "save", save),
    (files, "sync", sync),
    (tables, "write_text", write_text),
    (NoisyLabelMethod, "on_train_epoch_start", on_train_epoch_start),
):
    mock.patch.object(place, name, stand_in).start()

if __name__ == "__main__":
    cli.train()
