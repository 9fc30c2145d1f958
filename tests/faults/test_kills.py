"""A run that is killed again and again ends where the unbroken one ends, to the bit."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest
import torch
from outcomes import content, rows_of, unequal
from processes import QUIET, finish, run_below, start, the_run_below

from pmnar.noise import NoisyLabels
from pmnar.runtime.run_folder import CHECKPOINT

EPOCHS = 40
SETTINGS = (
    *QUIET,
    "network.width=8",
    "dataset.train_subset=400",
    f"dataset.recipe.max_epochs={EPOCHS}",
    "method.warmup_epochs=2",
    "network.dropout=0.1",
    "checkpoint.keep=2",
)
PLACES = ("bytes", "temporary", "linked", "bytes", "renamed", "tables")
pytestmark = [pytest.mark.faults, pytest.mark.slow]


@dataclass
class Tally:
    """What the test saw."""

    kills: dict[str, int] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    looks: int = 0


def begin(root: Path, devices: int, fault: str = "") -> "subprocess.Popen[str]":
    """A process that begins a new run below `root`."""
    overrides = (*SETTINGS, f"runs_dir={root}", f"trainer.devices={devices}")
    return start(*overrides, fault=fault, log=root / "started")


def look(folder: Path) -> str | None:
    """What is torn in a run folder, if anything: a file by its own name must be whole."""
    try:
        for path in folder.joinpath(CHECKPOINT.parent).glob("[!.]*.ckpt"):
            torch.load(path, weights_only=True)
        if (folder / "metrics.csv").is_file():
            epochs = [int(row["epoch"]) for row in rows_of(folder)]
            assert epochs == list(range(1, len(epochs) + 1)), epochs
        if (folder / "labels.npz").is_file():
            NoisyLabels.load(folder / "labels.npz")
    except FileNotFoundError:  # an old checkpoint that was removed between listing and reading
        return None
    except Exception as error:
        return f"{folder}: {error!r}"
    return None


def watch(root: Path, over: threading.Event, tally: Tally) -> None:
    """Read everything over and over, as another program might."""
    while not over.wait(0.02):
        folder = run_below(root)
        if folder is None:
            continue
        tally.looks += 1
        if (torn := look(folder)) is not None:
            tally.torn.append(torn)


def faults(draw: random.Random) -> Iterator[str]:
    """Where the next kill strikes: three of five at a moment, the others in and around a write."""
    places = cycle(PLACES)
    while True:
        yield from ("moment", "moment", "moment")
        for _ in range(2):
            yield f"{next(places)}:{draw.randint(1, 3)}:{draw.random()}"


def strike(process: "subprocess.Popen[str]", fault: str, draw: random.Random, log: Path) -> None:
    """Wait until the process has killed itself, or kill it within a few epochs' time."""
    if fault == "moment":
        before = log.read_text() if log.is_file() else ""
        # From its first epoch on: importing libraries for seconds has nothing to lose.
        while process.poll() is None and (log.read_text() if log.is_file() else "") == before:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 2))
        process.kill()
    process.wait()


def killed_until_it_ends(root: Path, devices: int, kills: int, tally: Tally, seed: int) -> Path:
    """A run that is killed `kills` times, then left alone; gives its folder."""
    draw, log = random.Random(seed), root / "started"
    plan, struck = faults(draw), 0
    folder = run_below(root)
    while True:
        fault = next(plan) if struck < kills else ""
        own = "" if fault == "moment" else fault
        if folder is None:
            process = begin(root, devices, own)
        else:
            process = start(f"resume={folder}", fault=own, log=log)
        if fault:
            strike(process, fault, draw, log)
        ended = finish(process)
        folder = run_below(root)
        if ended.code == -9:
            struck += 1
            kind = fault.split(":")[0]
            tally.kills[kind] = tally.kills.get(kind, 0) + 1
            continue
        assert ended.code == 0, ended
        assert folder is not None
        return folder


@pytest.mark.parametrize(("devices", "kills"), [(1, 24), (2, 6)])
def test_killed_run_is_the_unbroken_one(
    tmp_path: Path, devices: int, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_root, root = tmp_path / "whole", tmp_path / "killed"
    ended = finish(begin(whole_root, devices))
    assert ended.code == 0, ended
    whole = the_run_below(whole_root)
    tally, over, rounds, started = Tally(), threading.Event(), 0, 0
    while sum(tally.kills.values()) < kills:
        rounds += 1
        below = root / str(rounds)
        over.clear()
        reader = threading.Thread(target=watch, args=(below, over, tally))
        reader.start()
        left = kills - sum(tally.kills.values())
        folder = killed_until_it_ends(below, devices, left, tally, seed=rounds)
        over.set()
        reader.join()
        assert unequal(whole, folder) == []
        assert content(folder)["epoch"] == EPOCHS - 1
        assert not list(folder.rglob(".*.tmp"))
        started += len((below / "started").read_text().split())
    assert tally.torn == []
    assert tally.looks > 100
    with capsys.disabled():
        print(
            f"\n{devices} rank(s): {sum(tally.kills.values())} kills survived {tally.kills}, "
            f"{rounds} run(s) of {EPOCHS} epochs, {started - rounds * EPOCHS} epochs repeated, "
            f"files read {tally.looks} times, none torn"
        )


@pytest.mark.parametrize("fault", ["end:1:0", "bytes:40:0.5", "renamed:40:0"])
def test_run_killed_at_its_very_end_is_finished_by_resuming(tmp_path: Path, fault: str) -> None:
    """Also where every epoch is in the checkpoint, and only the tables are missing."""
    for name, own in (("whole", ""), ("killed", fault)):
        assert finish(begin(tmp_path / name, 1, own)).code == (-9 if own else 0)
    whole, killed = (the_run_below(tmp_path / name) for name in ("whole", "killed"))
    assert not (killed / "summary.json").exists()
    ended = finish(start(f"resume={killed}"))
    assert ended.code == 0, ended
    assert "Test accuracy" in ended.out
    assert unequal(whole, killed) == []
