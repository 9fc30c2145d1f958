"""Jobs that a cluster starts again: under the same id, and to go on with the same run."""

import os
from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig

from pmnar.files import write_text
from pmnar.tasks.command import SWEEP
from pmnar.tasks.find import matching_runs

JOB = ".job"
"""The file in a run folder that names the job which made it."""
RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


def job_id() -> str | None:
    """What names this job to its cluster, and stays the same when it is started again."""
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"slurm {env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    if "SLURM_JOB_ID" in env:
        return f"slurm {env['SLURM_JOB_ID']}"
    if "SUBMITIT_LOCAL_JOB_ID" in env:  # the id of a process, which another will have some day
        return f"submitit {env.get(SWEEP)} {env['SUBMITIT_LOCAL_JOB_ID']}"
    torchrun = env.get("TORCHELASTIC_RUN_ID", "none")  # "none" unless it was given a name
    return None if torchrun == "none" else f"torchrun {torchrun}"


def was_started_again() -> bool:
    """Whether this job has run before: requeued, or restarted by torchrun.

    submitit's local jobs do not say; each has an id of its own, and one command.
    """
    counts = [os.environ.get(name, "0") for name in RESTARTS]
    return "SUBMITIT_LOCAL_JOB_ID" in os.environ or any(count != "0" for count in counts)


def name_job(folder: Path) -> None:
    """Write down which job a run belongs to, where it is a cluster's."""
    if (job := job_id()) is not None:
        write_text(folder / JOB, job + "\n")


def run_of_this_job(cfg: DictConfig, typed: Collection[str] = ()) -> Path | None:
    """The run of this configuration that this job had begun before it was started again."""
    if not was_started_again():
        return None
    job = job_id()
    own = [run for run in matching_runs(cfg, typed) if job is not None and _job_of(run) == job]
    return own[-1] if own else None


def _job_of(run: Path) -> str | None:
    path = run / JOB
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
