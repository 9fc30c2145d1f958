"""What a command imports, in a process of its own: each import that it does not need costs time."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT, environment

from pmnar.tasks.command import loading

SLOW = ("torch", "torchvision", "lightning", "torchmetrics", "numpy", "matplotlib")
"""What help and mistyped keys are answered without."""
LATER = ("pyarrow", "tensorboard", "pmnar.figures", "matplotlib.backends.backend_agg")
"""What a run needs after its first step at the earliest."""
NEVER = (
    *("sklearn", "joblib", "timm", "pandas", "narwhals", "wandb", "IPython", "pytest"),
    *("optuna", "sqlalchemy", "submitit", "pmnar.tasks.evaluate"),
)
"""What the default run has no use for at all."""
COMMAND = """
import atexit, json, sys
from pmnar.tasks import cli
atexit.register(lambda: print(json.dumps([*sys.modules])))
cli.{task}()
"""
BUILT = """
import gc, json, sys
from pmnar.tasks import cli, command

def look(*_, **__):
    print(json.dumps([[*sys.modules], gc.isenabled(), gc.get_freeze_count()]))
    sys.exit(0)

job = cli.train_job
def train_job(cfg):
    with command.loading():
        import pmnar.tasks.jobs
    import lightning
    lightning.Trainer.fit = look
    return job(cfg)
cli.train_job = train_job
cli.train()
"""


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("task", "arguments", "code"),
    [
        ("train", ["--help"], 0),
        ("evaluate", ["--help"], 0),
        ("train", ["--cfg", "job"], 0),
        ("train", ["method.betta=1"], 2),
        ("train", ["dataset=cifar1"], 2),
        ("train", ["-m", "method.betta=1,2"], 2),
        ("evaluate", ["runn=x"], 2),
    ],
)
def test_what_hydra_answers_alone_loads_no_torch(
    tmp_path: Path, task: str, arguments: list[str], code: int
) -> None:
    folder = [] if "--help" in arguments or task == "evaluate" else [f"runs_dir={tmp_path}"]
    done = run(COMMAND.format(task=task), *arguments, *folder)
    assert done.returncode == code, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert sorted(loaded & {*SLOW, *LATER, *NEVER}) == []


def test_a_run_is_built_without_what_it_does_not_need(tmp_path: Path) -> None:
    done = run(BUILT, f"runs_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    loaded, collects, frozen = json.loads(done.stdout.splitlines()[-1])
    assert {"torch", "lightning", "pmnar.methods.pmnar"} <= set(loaded)
    assert sorted({*LATER, *NEVER} & set(loaded)) == []
    assert collects
    assert frozen > 100_000


def test_where_torch_is_there_nothing_is_frozen() -> None:
    before = gc.get_freeze_count()
    with loading():
        assert gc.isenabled()
    assert gc.get_freeze_count() == before
