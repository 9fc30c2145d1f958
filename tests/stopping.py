"""What the tests of runs that are stopped share."""

import shlex
from pathlib import Path

from processes import Result, finish, start

SIGNALS = {"SIGTERM": 143, "SIGINT": 130}
"""Signals that stop a run, and the exit codes of it."""


def advice(folder: Path) -> str:
    """What every early end says."""
    return f"go on with: python -m src.train resume={shlex.quote(str(folder))}"


def told(err: str) -> list[str]:
    """What was printed but warnings, which so short a run gets."""
    return [line for line in err.splitlines() if not line.startswith("warning: ")]


def go_on(folder: Path, *overrides: str) -> Result:
    """Resume to the end."""
    ended = finish(start(f"resume={folder}", *overrides))
    assert ended.code == 0, ended
    return ended
