"""Configurations composed as the command line composes them, and short runs on the digits."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from every import warm_up
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from outcomes import Rows, rows_of
from processes import QUIET, ROOT, Result

from pmnar.errors import InputError
from pmnar.tasks import cli
from pmnar.tasks.command import config_dir
from pmnar.tasks.train import train

SHORT = (
    "network.width=8",
    "dataset.train_subset=200",
    "dataset.recipe.max_epochs=3",
    "dataset.recipe.milestones=[2]",
    "scheduler=multistep",
)
"""Three epochs on 200 digits, a second and a half."""
WARM_UP = "method.warmup_epochs=1"
"""Of PMNAR and what inherits from it."""


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run sets threads, determinism and Hydra's state: undo it."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """`composed(*overrides, name="config")` gives the configuration of `python -m src.train`."""

    def make(*overrides: str, name: str = "config") -> DictConfig:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose(name, list(overrides))

    return make


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder below which `quiet` runs are made."""
    return tmp_path / "runs"


@pytest.fixture
def run(composed: Callable[..., DictConfig], runs: Path) -> Callable[..., Path]:
    """`run(*overrides)` trains in this process and gives the run folder."""

    def start(*overrides: str) -> Path:
        summary = train(composed(*QUIET, f"runs_dir={runs}", *overrides))
        return Path(summary["run"])

    return start


@pytest.fixture
def short_run(run: Callable[..., Path]) -> Callable[..., Path]:
    """`run` of three epochs on 200 digits."""

    def start(*overrides: str) -> Path:
        chosen = dict(text.partition("=")[::2] for text in overrides).get("method", "pmnar")
        return run(*SHORT, *warm_up(chosen), *overrides)

    return start


@pytest.fixture
def short() -> tuple[str, ...]:
    """The overrides of a quiet run of three epochs on 200 digits."""
    return (*QUIET, *SHORT, WARM_UP)


@pytest.fixture
def quiet() -> tuple[str, ...]:
    """The overrides that make a run quiet."""
    return QUIET


@pytest.fixture
def refuse(
    composed: Callable[..., DictConfig], short: tuple[str, ...], runs: Path
) -> Callable[..., str]:
    """`refuse(*overrides)` gives the one line with which a short run is refused."""

    def message(*overrides: str, start: tuple[str, ...] = short) -> str:
        cfg = composed(*start, f"runs_dir={runs}", *overrides)
        with pytest.raises(InputError) as error:
            train(cfg)
        assert not runs.exists()
        text = str(error.value)
        assert len(text.splitlines()) == 1
        return text

    return message


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """`command("train", *arguments)` runs an entry point in this process, as a shell would."""

    def call(task: str, *arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", [f"pmnar-{task}", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            getattr(cli, task)()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return Result(int(code), out, err)

    return call


@pytest.fixture
def shell() -> Callable[..., Result]:
    """`shell("-m", "src.train", …)` runs Python in a process of its own, in the repository.

    `modules` is a further folder to import from.
    """

    def call(*arguments: str, cwd: Path = ROOT, modules: Path = ROOT / "src") -> Result:
        path = os.pathsep.join([str(ROOT / "src"), str(modules)])
        env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def rows() -> Callable[[Path], Rows]:
    """The rows of a run's `metrics.csv` as text, apart from what a clock wrote."""
    return rows_of
