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
import yaml
from omegaconf import DictConfig, OmegaConf
from processes import Result

from pmnar.methods import PMNAR
from pmnar.tasks import cli
from pmnar.tasks.find import earlier_run, is_finished, matching_runs
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


def test_runs_match_where_nothing_that_matters_differs(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    folder = short_run("trainer.max_epochs=1", "method.beta=1")

    def found(*overrides: str) -> list[Path]:
        same = (*short, f"runs_dir={runs}", "trainer.max_epochs=1", "method.beta=1")
        return matching_runs(composed(*same, *overrides))

    assert found() == [folder]
    without_effect = ("figures=true", "logger=tensorboard", "skip_done=true", "launcher=joblib")
    assert found(*without_effect) == found("method.beta=1.0") == [folder]
    for other in ("method.beta=1.5", "seed=2", "method=pmnar_no_reg", "trainer.devices=2"):
        assert found(other) == []
    (folder / "config.yaml").write_text("a: [")
    assert found() == []


def test_a_run_of_before_a_key_had_its_default(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    """Keys and whole groups that an older version did not write; what it wrote still counts."""
    folder = short_run("trainer.max_epochs=1")
    config = folder / "config.yaml"
    older = yaml.safe_load(config.read_text())
    del older["compute"], older["detection"], older["method"]["beta"]
    config.write_text(yaml.safe_dump(older))

    def found(*overrides: str) -> list[Path]:
        return matching_runs(
            composed(*short, f"runs_dir={runs}", "trainer.max_epochs=1", *overrides)
        )

    # The run was made with one thread, which is not what is written when nothing is said.
    free = "compute.threads=${dataset.recipe.threads}"
    assert found(free) == [folder]
    # What was typed and is the default value is that: the digits' recipe says one thread.
    alike = ("compute.threads=1", "compute.compile=auto")
    for same in (*alike, "method.beta=1.0", "detection.threshold=0.50"):
        assert found(free, same) == [folder]
    others = ("compute.threads=2", "compute.compile=default", "compute.fused_forward=true")
    for other in (*others, "detection.threshold=0.4", "method.beta=3"):
        assert found(free, other) == []
    assert found(free, "seed=2") == found(free, "data.batch_size=50") == []


def test_a_run_that_was_to_be_longer_is_not_finished(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    """Resumed for three epochs and killed before the third, it still has the summary of two."""
    folder = short_run("trainer.max_epochs=2")
    two, three = (
        composed(*short, f"runs_dir={runs}", f"trainer.max_epochs={epochs}") for epochs in (2, 3)
    )
    assert (earlier_run(two), is_finished(folder, two)) == (folder, True)
    config = OmegaConf.load(folder / "config.yaml")
    config.trainer.max_epochs = 3
    OmegaConf.save(config, folder / "config.yaml")
    assert (earlier_run(three), is_finished(folder, three)) == (folder, False)


def test_of_two_earlier_runs_a_finished_one_is_taken(
    short_run: Callable[..., Path], composed: Composed, short: Short, runs: Path
) -> None:
    older, newer = sorted(short_run("trainer.max_epochs=1") for _ in range(2))
    cfg = composed(*short, f"runs_dir={runs}", "trainer.max_epochs=1")
    assert earlier_run(cfg) == newer
    (newer / "summary.json").unlink()
    assert earlier_run(cfg) == older
    (older / "summary.json").unlink()
    assert earlier_run(cfg) == newer
    (newer / "checkpoints" / "last.ckpt").unlink()
    assert earlier_run(cfg) == older
    (older / "checkpoints" / "last.ckpt").unlink()
    assert earlier_run(cfg) is None


def test_a_sweep_refuses_no_number_of_machines(sweep: Command) -> None:
    result = sweep("trainer.num_nodes=null")
    assert result.code == 2
    assert result.err == "error: job 0: trainer.num_nodes must be at least 1, got None\n"


def test_a_single_run_is_not_done_twice(command: Command, short: Short, runs: Path) -> None:
    def call(*overrides: str) -> Result:
        result = command("train", *short, f"runs_dir={runs}", "skip_done=true", *overrides)
        assert result.code == 0, result.err
        return result

    call()
    [folder] = (path.parent for path in runs.rglob("summary.json"))
    both = call("compare=ce")
    assert f"skipped: {folder} has it" in both.out
    assert len(list(runs.rglob("summary.json"))) == 2
    neither = call("compare=ce")
    assert neither.out.count("skipped: ") == 2
    assert len(list(runs.rglob("config.yaml"))) == 2
    table = [line for line in neither.out.splitlines() if line.startswith("│")]
    assert sum("ce" in line.split() for line in table) == 2


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


def test_a_run_that_was_changed_on_its_way_is_no_run_of_its_last_configuration(
    command: Command, short: tuple[str, ...], runs: Path
) -> None:
    """But one that was only trained for longer is."""
    root = f"runs_dir={runs}"
    assert command("train", *short, root, "trainer.max_epochs=1").code == 0
    [first] = runs.rglob("summary.json")
    assert command("train", f"resume={first.parent}", "trainer.max_epochs=2").code == 0
    longer = command("train", *short, root, "trainer.max_epochs=2", "skip_done=true")
    assert f"skipped: {first.parent} has it" in longer.out
    changed = ("trainer.max_epochs=3", "method.beta=0.5")
    assert command("train", f"resume={first.parent}", *changed).code == 0
    assert "skipped" not in command("train", *short, root, *changed, "skip_done=true").out
    assert len(list(runs.rglob("summary.json"))) == 2
