"""Training in processes of their own, with a fault in them or a signal to them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
QUIET = (
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "figures=false",
    "compute.threads=1",
)
"""What makes a run quiet."""
SHORT = (
    *QUIET,
    "network.width=8",
    "dataset.train_subset=200",
    "dataset.recipe.max_epochs=4",
    "dataset.recipe.milestones=[3]",
    "scheduler=multistep",
    "method.warmup_epochs=1",
)
"""Four epochs on 200 digits."""


class Result(NamedTuple):
    """How a process ended: its exit code, negative for a signal, and what it printed."""

    code: int
    out: str
    err: str


def start(
    *overrides: str,
    fault: str = "",
    rank: int = 0,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.Popen[str]":
    """A training process with a fault; see `faulty.py`.

    Args:
        overrides: of the configuration.
        fault: what is to happen in `rank`.
        rank: where.
        log: gets a line an epoch.
        env: further environment variables.
    """
    variables = environment() | dict(env or {}) | {"FAULT": fault, "FAULT_RANK": str(rank)}
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        variables["STARTED_EPOCHS"] = str(log)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "faulty.py"), *overrides],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    """For a process that imports the library, the entry points and the tests from here."""
    paths = [str(ROOT / "src"), str(ROOT), str(ROOT / "tests")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def finish(process: "subprocess.Popen[str]", seconds: float = 240) -> Result:
    """Wait for the end, of the process and of all that still write where it wrote."""
    out, err = process.communicate(timeout=seconds)
    return Result(process.returncode, out, err)


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait for something that a running process will bring about."""
    while not condition():
        assert process.poll() is None, finish(process)
        time.sleep(0.02)


def run_below(root: Path) -> Path | None:
    """The one run folder below `root`, once it has a configuration."""
    found = [path.parent for path in root.rglob("config.yaml")]
    assert len(found) < 2, found
    return found[0] if found else None


def the_run_below(root: Path) -> Path:
    """The one run folder below `root`."""
    found = run_below(root)
    assert found is not None
    return found
