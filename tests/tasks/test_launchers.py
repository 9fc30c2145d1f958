"""Sweeps whose jobs run in other processes: joblib, submitit on this machine, submitit on SLURM."""

import csv
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from processes import Result

from pmnar.tasks.mistakes import PLUGINS

pytest.importorskip("joblib")
pytest.importorskip("submitit")


Command = Callable[..., Result]
Composed = Callable[..., DictConfig]
Short = tuple[str, ...]
ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"

SBATCH = """#!/bin/bash
# Keeps the file, and runs it as if each job of the array had got its nodes.
cp "$1" "$CLUSTER/job.sh"
tasks=$(sed -n 's/^#SBATCH --ntasks-per-node=//p' "$1")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
export SLURM_NTASKS=$tasks SLURM_NTASKS_PER_NODE=$tasks SLURM_NNODES=1 SLURM_NODELIST=localhost
export SLURM_JOB_NAME=pmnar SLURM_ARRAY_JOB_ID=$$
for job in $(seq 0 "$last"); do
  SLURM_JOB_ID=$(($$ + job)) SLURM_ARRAY_TASK_ID=$job bash "$1" > /dev/null 2>&1 &
done
echo "Submitted batch job $$"
"""
SRUN = """#!/bin/bash
shift 5  # --unbuffered --output FILE --error FILE
for rank in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NODEID=0 "$@" \\
    > "$CLUSTER/$SLURM_ARRAY_TASK_ID.$rank.log" 2>&1 &
done
wait
"""
SACCT = "#!/bin/bash\necho 'JobID|State|NodeList'\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands named as SLURM's, which run jobs here; the folder with what was submitted."""
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(tmp_path))
    return tmp_path


@pytest.fixture
def sweep(shell: Command, short: Short, runs: Path) -> Command:
    """`sweep(*overrides)` runs two short jobs below `runs`, from a process of their own."""

    def call(*overrides: str) -> Result:
        quiet = (each for each in short if not each.startswith("trainer.enable_progress_bar"))
        quick = ("trainer.max_epochs=1", "method.warmup_epochs=0", "method.beta=0.5,1")
        return shell("-m", "src.train", "-m", *quiet, *quick, f"runs_dir={runs}", *overrides)

    return call


def assert_done(result: Result, runs: Path, betas: list[float | None]) -> None:
    """One sweep folder with a row a job, one run folder a job, each with its β; None: it failed."""
    assert result.code == (2 if None in betas else 0), result.err
    [path] = runs.glob("sweeps/*/sweep.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == [str(number) for number in range(len(betas))]
    for row, beta in zip(rows, betas, strict=True):
        assert row["status"] == ("failed" if beta is None else "done")
        if beta is not None:
            config = OmegaConf.load(Path(row["run"]) / "config.yaml")
            assert (config.method.beta, config.trainer.enable_progress_bar) == (beta, False)
    assert len(list(runs.rglob("config.yaml"))) == len([beta for beta in betas if beta is not None])
    assert len(list((runs / "sweeps").iterdir())) == 1


def test_joblib_runs_two_jobs_at_a_time(sweep: Command, runs: Path) -> None:
    result = sweep("launcher=joblib", "method.beta=0.5,-1,1")
    reason = "method.beta must be at least 0, got -1"
    assert_done(result, runs, [0.5, None, 1])
    assert result.out.count("Test accuracy") == 2
    assert f"error: job 1: {reason}\n" in result.err
    assert f"job 1 failed: {reason}\n" in result.out


@pytest.mark.slow
def test_submitit_runs_jobs_on_this_machine(sweep: Command, runs: Path) -> None:
    result = sweep("launcher=submitit_local")
    assert_done(result, runs, [0.5, 1])
    logs = [path.read_text() for path in runs.rglob("*_log.out")]
    assert sum("Test accuracy" in log for log in logs) == 2
    assert "Test accuracy" not in result.out


def submitted(cluster: Path) -> set[str]:
    """The options in the file that was handed to `sbatch`."""
    lines = (cluster / "job.sh").read_text().splitlines()
    return {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}


@pytest.mark.slow
@pytest.mark.ddp
def test_submitit_runs_ranks_that_slurm_has_started(
    sweep: Command, runs: Path, cluster: Path
) -> None:
    result = sweep("launcher=submitit_slurm", "trainer.devices=2", "hydra.launcher.partition=gpu")
    assert_done(result, runs, [0.5, 1])
    assert submitted(cluster) >= {
        *("--nodes=1", "--ntasks-per-node=2", "--array=0-1%2", "--partition=gpu"),
        *("--requeue", "--signal=USR2@120", "--time=1440", "--job-name=pmnar"),
    }
    assert not [option for option in submitted(cluster) if "gpus" in option]
    for rank in (0, 1):
        assert (cluster / f"0.{rank}.log").is_file()
    [config, _] = [OmegaConf.load(path) for path in runs.rglob("config.yaml")]
    assert config.trainer.strategy == "ddp"


def test_what_slurm_is_asked_for_follows_the_trainer(
    cluster: Path, command: Command, runs: Path
) -> None:
    refuses = "#!/bin/bash\ncp $1 $CLUSTER/job.sh\necho 'sbatch: no such partition' >&2\nexit 1\n"
    (cluster / "sbatch").write_text(refuses)
    asked = ("trainer.accelerator=cuda", "trainer.devices=4", "trainer.num_nodes=2", "seed=1,2")
    more = ("hydra.launcher.timeout_min=30", "hydra.launcher.signal_delay_s=60")
    result = command("train", "-m", "launcher=submitit_slurm", f"runs_dir={runs}", *asked, *more)
    assert result.code == 2
    assert result.err.endswith("\nerror: sbatch: no such partition\n")
    assert submitted(cluster) >= {
        *("--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4"),
        *("--signal=USR2@60", "--time=30", "--requeue"),
    }


def test_without_slurm_that_is_said(command: Command, runs: Path) -> None:
    result = command("train", "-m", "launcher=submitit_slurm", f"runs_dir={runs}")
    assert result.code == 2
    [line] = result.err.splitlines()
    assert "SLURM's sbatch and srun, which are not on this machine" in line


def test_what_is_not_installed_is_named(shell: Command) -> None:
    script = (
        "import hydra_plugins as h; h.__path__ = []; from pmnar.tasks.cli import train; train()"
    )
    line = "error: launcher=joblib needs a plugin: pip install 'pmnar[joblib]'\n"
    assert shell("-c", script, "-m", "launcher=joblib", "seed=1,2") == (2, "", line)


def test_every_choice_of_a_plugin_has_an_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    choices = {f"hydra/{path.parent.name}/{path.stem}" for path in CONF.glob("*er/*.yaml")}
    brought = {choice for choice in choices if choice.split("/")[1] in ("launcher", "sweeper")}
    assert set(PLUGINS) == brought - {"hydra/launcher/basic", "hydra/sweeper/basic"}
    for extra in PLUGINS.values():
        assert set(extras[extra]) <= set(extras["dev"])


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local", "submitit_slurm"])
@pytest.mark.parametrize("sweeper", ["basic", "optuna"])
def test_launchers_and_sweepers_leave_the_run_as_it_is(
    composed: Composed, launcher: str, sweeper: str
) -> None:
    """All that they decide of a run; a key that the plugin does not know would be refused."""
    chosen, plain = composed(f"launcher={launcher}", f"sweeper={sweeper}"), composed()
    for group in ("dataset", "noise", "method", "network", "optimizer", "scheduler", "logger"):
        assert chosen[group] == plain[group]
    assert chosen.data.noisy_validation == (0.1 if sweeper == "optuna" else 0)
    assert chosen.trainer.enable_progress_bar == (launcher == "basic")
    assert chosen.trainer.strategy == ("ddp" if launcher == "submitit_slurm" else "auto")
    if sweeper == launcher == "basic":
        assert chosen == plain
