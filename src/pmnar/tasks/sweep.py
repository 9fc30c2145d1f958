"""The jobs of a sweep: what became of each, and all of them in a table.

Jobs may run in other processes, or on other machines, and any of them may die: each leaves a file.
"""

import json
import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pmnar.callbacks.metrics_table import write_rows
from pmnar.errors import InputError
from pmnar.files import remove_leftovers, write_text
from pmnar.names import HELD_OUT
from pmnar.runtime.run_folder import is_first_process
from pmnar.tasks.console import ACCURACIES, say, show, sweep_table
from pmnar.tasks.mistakes import line_of, nearest, one_line_errors

Record = dict[str, Any]
NOISY = f"accuracy_{HELD_OUT}"
KILLED = "it had not come to its end when the sweep was left"


class SweepStart(Callback):
    """Told by Hydra, in the process that starts a sweep, that it begins."""

    folder: ClassVar[Path | None] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a search that could not be one; say where the sweep's files will be."""
        with one_line_errors("config"):  # Hydra would make a warning of an error here
            check_one_process()
            check_search(config)
            folder = Path(config.hydra.sweep.dir).absolute()
            make_folder(folder)
        SweepStart.folder = folder
        if is_first_process():
            say(f"sweep {SweepStart.folder}")


@contextmanager
def recorded(folder: Path, number: int, overrides: Sequence[str]) -> Iterator[Record]:
    """Around a job: writes `folder/jobs/<number>.json` of how it ended, by the first rank alone.

    An error ends the job, not the sweep: it is told and kept. A signal that stops the process ends
    the sweep too. Until it has ended, a job counts as stopped.

    Yields:
        the record, to which the job adds what it found.
    """
    record: Record = {"job": number, "status": "stopped", "error": KILLED}
    record["overrides"] = list(overrides)
    _write(folder, record)
    try:
        yield record
    except Exception as error:
        line = line_of(error, "config")
        if line is None:
            traceback.print_exc()
            line = f"{type(error).__name__}: {error}".splitlines()[0]
        record |= {"status": "failed", "error": line}
        if is_first_process():
            say(f"error: job {number}: {line}", error=True)
    except BaseException as stop:
        signum = getattr(stop, "signum", None)  # a RunStopped has it
        record["error"] = Signals(signum).name if signum else type(stop).__name__
        raise
    else:
        record |= {"status": "skipped" if record.pop("skipped", False) else "done", "error": None}
    finally:
        _write(folder, record)


def _write(folder: Path, record: Record) -> None:
    if is_first_process():
        jobs = folder / "jobs"
        jobs.mkdir(parents=True, exist_ok=True)
        write_text(jobs / f"{record['job']}.json", json.dumps(record, indent=2) + "\n")


def result_of(summary: Mapping[str, Any]) -> Record:
    """What a sweep keeps of a `summary.json`; accuracies are called as in `metrics.csv`."""
    found: Record = {"run": summary["run"], "seconds": summary["seconds"]["total"]}
    for name, outputs in summary.items():
        if name.startswith("accuracy"):
            split = name.removeprefix("accuracy")
            for output, values in outputs.items():
                found |= {f"accuracy_{output}{split}_{kind}": v for kind, v in values.items()}
    if "f1" in summary["detection"]:
        found["detection_f1"] = summary["detection"]["f1"]
    return found


def end_sweep() -> bool:
    """Show and write the sweep that this process has started, if any; whether a job failed."""
    folder, SweepStart.folder = SweepStart.folder, None
    if folder is None or not is_first_process():
        return False
    remove_leftovers(folder)
    records = [json.loads(path.read_text("utf-8")) for path in (folder / "jobs").glob("*.json")]
    if not records:
        return False
    records.sort(key=lambda record: record["job"])
    varied = varied_overrides(records)
    rows = [
        {**record, **values, "overrides": " ".join(record["overrides"])}
        for record, values in zip(records, varied, strict=True)
    ]
    write_rows(folder / "sweep.csv", rows)
    show(sweep_table(records, varied))
    for record in records:
        if record["error"] is not None:
            say(f"job {record['job']} {record['status']}: {record['error']}")
    _say_best(folder / "optimization_results.yaml")
    if any(record["status"] == "stopped" for record in records):
        say("the same command with skip_done=true goes on with what is missing")
    say(f"sweep {folder}")
    return any(record["error"] is not None for record in records)


def varied_overrides(records: Sequence[Record]) -> list[dict[str, str]]:
    """Of each job, the overrides in which not all jobs agree, by key."""
    split = [dict(text.partition("=")[::2] for text in r["overrides"]) for r in records]
    keys = dict.fromkeys(key for overrides in split for key in overrides)
    varied = [key for key in keys if len({overrides.get(key) for overrides in split}) > 1]
    return [{key: overrides.get(key, "") for key in varied} for overrides in split]


def _say_best(path: Path) -> None:
    """What a search has found."""
    if not path.is_file():
        return
    found = OmegaConf.load(path)
    if "best_params" in found:
        settings = " ".join(f"{key}={value}" for key, value in found.best_params.items())
        say(f"best  {settings}, objective {found.best_value:.4f}")


def make_folder(folder: Path) -> None:
    """Make the sweep's folder.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"runs_dir={folder.parents[1]}: no folder can be made there: {error.strerror}"
        ) from error


def check_one_process() -> None:
    """Raise `InputError` where every rank would run the sweep: they would part at the first error.

    The tasks of launcher=submitit_slurm start no sweep: each trains one job.
    """
    ranks = max(int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    if ranks > 1 and started_as_ranks():
        raise InputError(
            f"-m cannot be started by {ranks} processes, each of which would run the sweep; start "
            "it once, with trainer.devices, or with launcher=submitit_slurm"
        )


def started_as_ranks() -> bool:
    """Whether torchrun or srun has started this process, and further ranks beside it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return True
    # A slow import, for what most sweeps can do without.
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    return SLURMEnvironment.detect()


def check_search(config: DictConfig) -> None:
    """Raise `InputError` where the sweeper needs an objective and has none that it may use."""
    check_objective(config)
    if "OptunaSweeper" not in config.hydra.sweeper._target_:
        return
    if config.objective is None:
        raise InputError(
            f"objective must be a path into summary.json for sweeper=optuna, such as "
            f"{NOISY}.first.mean_last_10, got null"
        )
    import optuna  # now, since being imported it begins to talk

    optuna.logging.set_verbosity(logging.WARNING)


def check_objective(cfg: DictConfig) -> None:
    """Raise `InputError` where an objective looks at true labels, or cannot be in the summary."""
    if cfg.objective is None:
        return
    path, held_out = str(cfg.objective), cfg.data.noisy_validation
    head = path.split(".")[0]
    if head != NOISY and head.split("_")[0] in ("accuracy", "recall", "detection", "noise"):
        raise InputError(
            f"objective={path} would choose by true labels; "
            f"{NOISY}.first.mean_last_10 with data.noisy_validation=0.1 does not"
        )
    if head != NOISY:
        return
    if held_out == 0:
        raise InputError(f"objective={path} needs data.noisy_validation in (0, 1), got {held_out}")
    outputs = ("first",) if cfg.method.networks == 1 else ("first", "second", "ensemble")
    known = [f"{NOISY}.{output}.{kind}" for output in outputs for kind in ACCURACIES]
    if path not in known:
        raise InputError(f"objective={path} will not be in summary.json; {nearest(path, known)}")


def objective_value(path: str | None, summary: Mapping[str, Any]) -> float | None:
    """The number at a dotted path in a `summary.json`; None without a path, or on a further rank.

    Raises:
        InputError: there is no number.
    """
    if path is None or not summary:
        return None
    numbers = dict(_numbers(summary, ""))
    if path not in numbers:
        raise InputError(f"objective={path} is no number in summary.json; {nearest(path, numbers)}")
    return float(numbers[path])


def _numbers(node: Any, prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
