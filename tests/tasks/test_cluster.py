"""Ranks that something else starts: SLURM's tasks on several nodes, torchrun; and jobs requeued."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import content, rows_of, unequal
from processes import ROOT, SHORT, Result, environment, finish, start, the_run_below

SLURM = ("trainer.devices=1", "trainer.num_nodes=2")


def free_port() -> str:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def scontrol(tmp_path: Path) -> Path:
    """A folder with an `scontrol` that writes down what it is told, into `told` beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder / "told"}\n')
    program.chmod(0o755)
    return folder


def job(folder: Path, task: int, tasks: int, port: str, restarts: int = 0) -> dict[str, str]:
    """What SLURM tells a task of a job: one task on each of several nodes, all of them here."""
    known = {"JOB_ID": 77, "JOB_NAME": "train", "NTASKS": tasks, "NNODES": tasks}
    known |= {"PROCID": task, "NODEID": task, "LOCALID": 0, "NTASKS_PER_NODE": 1}
    if restarts:
        known["RESTART_COUNT"] = restarts
    env = {f"SLURM_{name}": str(value) for name, value in known.items()}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return env | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PATH": path}


def run_job(
    scontrol: Path, *overrides: str, tasks: int = 1, restarts: int = 0, fault: str = ""
) -> list[Result]:
    """All tasks of a job; the fault is the first one's."""
    port = free_port()
    started = [
        start(*overrides, fault=fault, env=job(scontrol, task, tasks, port, restarts))
        for task in range(tasks)
    ]
    return [finish(process) for process in started]


@pytest.mark.parametrize(
    ("tasks", "more"),
    [(1, ()), pytest.param(2, SLURM, marks=[pytest.mark.slow, pytest.mark.ddp])],
)
def test_a_requeued_job_goes_on_with_its_run(
    tmp_path: Path, scontrol: Path, tasks: int, more: tuple[str, ...]
) -> None:
    """SLURM's signal comes in epoch 3; the same command is then started again."""
    overrides = (*SHORT, *more, f"runs_dir={tmp_path / 'runs'}")
    [whole] = run_job(scontrol, *SHORT, f"runs_dir={tmp_path / 'whole'}")
    assert whole.code == 0, whole
    requeued = run_job(scontrol, *overrides, tasks=tasks, fault=f"epoch:3:{signal.SIGUSR1.value}")
    folder = the_run_below(tmp_path / "runs")
    assert requeued[0].code == 128 + signal.SIGUSR1, requeued
    assert "stopped by SIGUSR1 after epoch 2 of 4" in requeued[0].out
    assert (scontrol / "told").read_text() == "requeue 77\n"
    assert content(folder)["epoch"] == 1
    again = run_job(scontrol, *overrides, tasks=tasks, restarts=1)
    assert [ended.code for ended in again] == [0] * tasks, again
    assert f"resuming after epoch 2 of 4: {folder}" in again[0].out
    assert the_run_below(tmp_path / "runs") == folder
    assert [row["epoch"] for row in rows_of(folder)] == ["1", "2", "3", "4"]
    if tasks == 1:
        assert unequal(the_run_below(tmp_path / "whole"), folder) == []


def test_the_same_command_in_the_same_job_begins_a_run_of_its_own(
    tmp_path: Path, scontrol: Path
) -> None:
    """Unless the job was started again: an interactive one may hold many commands."""
    overrides = (*SHORT, f"runs_dir={tmp_path / 'runs'}", "trainer.max_epochs=1")
    for _ in range(2):
        [ended] = run_job(scontrol, *overrides, fault="epoch:1:15")
        assert ended.code == 143
    assert len(list((tmp_path / "runs").rglob("config.yaml"))) == 2


@pytest.mark.ddp
@pytest.mark.slow
def test_torchrun_s_ranks_make_one_run_folder(tmp_path: Path) -> None:
    """And train what two ranks train that were started by the command itself."""
    two = (*SHORT, "trainer.devices=2")
    own = finish(start(*two, f"runs_dir={tmp_path / 'own'}"))
    assert own.code == 0, own
    module = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *module, "-m", "src.train", *two, f"runs_dir={tmp_path / 'torchrun'}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Test accuracy") == 1
    folder = the_run_below(tmp_path / "torchrun")
    made = [path for path in folder.parent.iterdir() if path.is_dir()]
    assert made == [folder]
    assert unequal(the_run_below(tmp_path / "own"), folder) == []


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_however_ranks_are_started_they_train_the_same(tmp_path: Path, strategy: str) -> None:
    folders = []
    for name in ("ddp", strategy):
        root = tmp_path / name
        settings = (*SHORT, "trainer.devices=2", f"trainer.strategy={name}", f"runs_dir={root}")
        ended = finish(start(*settings))
        assert ended.code == 0, ended
        folders.append(the_run_below(root))
    assert unequal(*folders) == []
