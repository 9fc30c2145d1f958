"""Training in processes of their own, with a fault in them or a signal to them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
QUIET = (
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "logger=none",
    "figures=false",
    "threads=1",
    "network.width=8",
)


class Ended(NamedTuple):
    """How a process ended: its exit code, negative for a signal, and what it printed."""

    code: int
    out: str
    err: str


def start(
    *overrides: str, fault: str = "", rank: int = 0, log: Path | None = None, **more: str
) -> "subprocess.Popen[str]":
    """A training process with a fault; see `faulty.py`.

    Args:
        overrides: of the configuration.
        fault: what is to happen in `rank`.
        rank: where.
        log: gets a line an epoch.
        more: further environment variables.
    """
    paths = [str(ROOT / "src"), str(ROOT), str(ROOT / "tests")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | more
    env |= {"FAULT": fault, "FAULT_RANK": str(rank)}
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        env["STARTED_EPOCHS"] = str(log)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "faulty.py"), *overrides],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 240) -> Ended:
    """Wait for the end, of the process and of all that still write where it wrote."""
    out, err = process.communicate(timeout=seconds)
    return Ended(process.returncode, out, err)


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
