"""Sweeps: a job that fails ends no other, what is done is not done again, all is in one table."""

import csv
import json
import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf
from processes import Result

from pmnar.methods import PMNAR
from pmnar.tasks import cli
from pmnar.tasks.jobs import spawn_ranks
from pmnar.tasks.sweep import recorded

Command = Callable[..., Result]
Composed = Callable[..., DictConfig]
ReadRows = Callable[[Path], list[dict[str, str]]]
Short = tuple[str, ...]


@pytest.fixture
def sweep(command: Command, short: Short, runs: Path) -> Command:
    """`sweep(*overrides)` runs short jobs below `runs` in this process."""

    def call(*overrides: str) -> Result:
        return command("train", "-m", *short, f"runs_dir={runs}", *overrides)

    return call


def table_of(runs: Path) -> list[dict[str, str]]:
    """The rows of the newest sweep's `sweep.csv`."""
    path = max(runs.glob("sweeps/*/sweep.csv"), key=lambda path: path.stat().st_mtime_ns)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def printed_rows(result: Result) -> list[list[str]]:
    """The cells of the table at the end."""
    lines = result.out[result.out.index("Sweep\n") :].splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def break_at_epoch(
    monkeypatch: pytest.MonkeyPatch, epoch: int, beta: float, action: Callable[[], object]
) -> None:
    """Do something bad at the start of this epoch (0-based), where β is this."""
    start = PMNAR.on_train_epoch_start

    def bad_start(method: PMNAR) -> None:
        if method.current_epoch == epoch and method.beta == beta:
            action()
        start(method)

    monkeypatch.setattr(PMNAR, "on_train_epoch_start", bad_start)


def bad_luck() -> None:
    raise RuntimeError("out of luck\nand of words")


def test_a_folder_a_job_and_all_of_them_in_a_table(sweep: Command, runs: Path) -> None:
    result = sweep("trainer.max_epochs=1", "method.warmup_epochs=0", "method.beta=0.5,1")
    assert result.code == 0, result.err
    rows = table_of(runs)
    assert [(row["job"], row["status"], row["method.beta"]) for row in rows] == [
        ("0", "done", "0.5"),
        ("1", "done", "1"),
    ]
    assert len(list(runs.rglob("labels.npz"))) == 2
    for row in rows:
        folder = Path(row["run"])
        assert float(row["method.beta"]) == OmegaConf.load(folder / "config.yaml").method.beta
        summary = json.loads((folder / "summary.json").read_text())
        for output, values in summary["accuracy"].items():
            for kind, value in values.items():
                assert float(row[f"accuracy_{output}_{kind}"]) == value
        assert float(row["detection_f1"]) == summary["detection"]["f1"]
        assert float(row["seconds"]) == summary["seconds"]["total"]
    [folder] = (runs / "sweeps").iterdir()
    assert result.out.startswith(f"sweep {folder}\n")
    assert result.out.endswith(f"sweep {folder}\n")


def test_a_failing_job_does_not_end_the_others(sweep: Command, runs: Path) -> None:
    result = sweep("trainer.max_epochs=1", "method.warmup_epochs=0", "method.beta=0.5,-1,1")
    reason = "method.beta must be at least 0, got -1"
    assert (result.code, result.err) == (2, f"error: job 1: {reason}\n")
    assert f"job 1 failed: {reason}\n" in result.out
    assert [row["status"] for row in table_of(runs)] == ["done", "failed", "done"]
    assert [row["error"] for row in table_of(runs)] == ["", reason, ""]
    cells = printed_rows(result)
    assert [row[:3] for row in cells] == [
        ["0", "0.5", "done"],
        ["1", "-1", "failed"],
        ["2", "1", "done"],
    ]
    first = float(table_of(runs)[0]["accuracy_first_last"])
    assert cells[0][4] == f"{100 * first:.1f} %"
    assert set(cells[1][3:]) == {"–"}
    assert len(list(runs.rglob("summary.json"))) == 2


def test_an_unforeseen_error_ends_one_job_which_is_gone_on_with_later(
    sweep: Command, runs: Path, rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again with `skip_done`, the sweep is the one that nothing had happened to."""
    betas = "method.beta=0.5,1,2"
    with monkeypatch.context() as patch:
        break_at_epoch(patch, 2, 1, bad_luck)
        broken = sweep(betas)
    assert broken.code == 2
    assert [row["status"] for row in table_of(runs)] == ["done", "failed", "done"]
    assert table_of(runs)[1]["error"] == "RuntimeError: out of luck"
    assert "in bad_luck" in broken.err
    before = set(runs.rglob("config.yaml"))

    again = sweep(betas, "skip_done=true")
    assert again.code == 0, again.err
    table = table_of(runs)
    assert [row["status"] for row in table] == ["skipped", "done", "skipped"]
    assert set(runs.rglob("config.yaml")) == before
    assert f"skipped: {table[0]['run']} has it" in again.out
    assert f" {table[1]['run']}" in again.out

    whole = sweep(betas)
    assert whole.code == 0, whole.err
    assert len(set(runs.rglob("config.yaml"))) == 2 * len(before)
    for mended, untouched in zip(table, table_of(runs), strict=True):
        assert rows(Path(mended["run"])) == rows(Path(untouched["run"]))
        tables = [
            pq.read_table(Path(row["run"]) / "samples.parquet") for row in (mended, untouched)
        ]
        assert tables[0].equals(tables[1])
        same = [name for name in mended if name.startswith(("accuracy", "detection"))]
        assert [mended[name] for name in same] == [untouched[name] for name in same]


def test_a_requeued_job_goes_on_with_its_run(
    sweep: Command, runs: Path, rows: ReadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with monkeypatch.context() as patch:
        break_at_epoch(patch, 2, 1, bad_luck)
        assert sweep("method.beta=1").code == 2
    [folder] = (path.parent for path in runs.rglob("config.yaml"))
    assert len(rows(folder)) == 2
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert sweep("method.beta=1").code == 0
    assert Path(table_of(runs)[0]["run"]) == folder
    assert len(rows(folder)) == 3
    assert len(list(runs.rglob("config.yaml"))) == 1


def test_a_signal_ends_the_sweep(
    sweep: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_at_epoch(monkeypatch, 1, 0.5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    result = sweep("method.beta=0.5,1")
    assert result.code == 128 + signal.SIGTERM
    [row] = table_of(runs)
    assert (row["status"], row["error"]) == ("stopped", "SIGTERM")
    assert "job 0 stopped: SIGTERM\n" in result.out


def test_a_job_counts_as_stopped_until_it_has_ended(tmp_path: Path) -> None:
    """A process that is killed cannot write that it was."""

    def status() -> list[Any]:
        record = json.loads((tmp_path / "jobs" / "4.json").read_text())
        return [record["job"], record["status"], record["overrides"]]

    with recorded(tmp_path, 4, ["seed=1"]):
        assert status() == [4, "stopped", ["seed=1"]]
    assert status() == [4, "done", ["seed=1"]]


def test_two_sweeps_in_one_second_have_two_folders(
    sweep: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Noon":
            return cls(2030, 1, 1, 12)

    monkeypatch.setattr(cli, "datetime", Noon)
    for _ in range(2):
        assert sweep("method.beta=-1").code == 2
    folders = sorted(path.name for path in (runs / "sweeps").iterdir())
    assert len(folders) == 2
    assert all(name.startswith("20300101-120000-") for name in folders)
    assert len(list(runs.glob("sweeps/*/jobs/0.json"))) == 2


def test_a_sweep_refuses_no_number_of_machines(sweep: Command) -> None:
    result = sweep("trainer.num_nodes=null")
    assert result.code == 2
    assert result.err == "error: job 0: trainer.num_nodes must be at least 1, got None\n"


@pytest.mark.parametrize(
    ("devices", "variables", "strategy"),
    [
        (1, {}, "auto"),
        (2, {}, "ddp_spawn"),
        (2, {"TORCHELASTIC_RUN_ID": "none"}, "auto"),
        (2, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "pmnar"}, "auto"),
        (2, {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, "ddp_spawn"),
    ],
)
def test_ranks_are_spawned_where_nothing_else_starts_them(
    composed: Composed,
    monkeypatch: pytest.MonkeyPatch,
    devices: int,
    variables: dict[str, str],
    strategy: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cfg = composed(f"trainer.devices={devices}")
    spawn_ranks(cfg)
    assert cfg.trainer.strategy == strategy


@pytest.mark.slow
@pytest.mark.ddp
def test_a_sweep_over_two_ranks_is_its_jobs_run_alone(
    shell: Command, short: Short, tmp_path: Path, rows: ReadRows
) -> None:
    """To the bit: the same ranks, started in another way."""
    two = (*short, "trainer.devices=2")
    root = tmp_path / "swept"
    done = shell("-m", "src.train", *two, f"runs_dir={root}", "method.beta=0.5,1", "-m")
    assert done.code == 0, done.err
    assert done.out.count("Test accuracy") == 2
    assert "sync_dist" not in done.err
    assert len(list(root.rglob("config.yaml"))) == 2
    for row in table_of(root):
        alone = tmp_path / row["method.beta"]
        beta = f"method.beta={row['method.beta']}"
        done = shell("-m", "src.train", *two, f"runs_dir={alone}", beta)
        assert done.code == 0, done.err
        [folder] = (path.parent for path in alone.rglob("summary.json"))
        assert rows(folder) == rows(Path(row["run"]))
        tables = [pq.read_table(run / "samples.parquet") for run in (folder, Path(row["run"]))]
        assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    "started",
    [
        {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "train"},
    ],
)
def test_a_sweep_is_not_started_by_every_rank(
    command: Command, monkeypatch: pytest.MonkeyPatch, runs: Path, started: dict[str, str]
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    result = command("train", "-m", f"runs_dir={runs}", "seed=1,2")
    assert result.code == 2
    assert result.err.startswith("error: -m cannot be started by 2 processes")
    assert not list(runs.rglob("config.yaml"))
