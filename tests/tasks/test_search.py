"""Searches: optuna goes by noisy validation labels, never by what it may not know."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from processes import Result

from pmnar.errors import InputError
from pmnar.tasks.sweep import check_objective, objective_value

pytest.importorskip("optuna")


Command = Callable[..., Result]
Composed = Callable[..., DictConfig]
Short = tuple[str, ...]
Rows = list[dict[str, str]]
SEARCH = ("sweeper=optuna", "hydra.sweeper.n_trials=3")
WARMUP = "method.warmup_epochs=int(interval(1,2))"


@pytest.fixture
def search(command: Command, short: Short, runs: Path) -> Command:
    """`search(*overrides)` runs three short trials below `runs` in this process."""

    def call(*overrides: str) -> Result:
        free = (each for each in short if not each.startswith("method.warmup_epochs"))
        return command("train", "-m", *free, *SEARCH, WARMUP, f"runs_dir={runs}", *overrides)

    return call


def newest(runs: Path) -> tuple[Path, Rows]:
    """The folder of the newest sweep, and the rows of its `sweep.csv`."""
    path = max(runs.glob("sweeps/*/sweep.csv"), key=lambda path: path.stat().st_mtime_ns)
    with path.open(newline="") as file:
        return path.parent, list(csv.DictReader(file))


def test_a_search_goes_by_the_noisy_validation_labels(search: Command, runs: Path) -> None:
    result = search()
    assert result.code == 0, result.err
    folder, rows = newest(runs)
    assert [row["status"] for row in rows] == ["done"] * 3
    assert len({row["method.beta"] for row in rows}) == 3
    for row in rows:
        assert 0.1 <= float(row["method.beta"]) <= 4
        summary = json.loads((Path(row["run"]) / "summary.json").read_text())
        noisy = summary["accuracy_noisy_validation"]["first"]["mean_last_10"]
        assert float(row["objective"]) == noisy != summary["accuracy"]["first"]["mean_last_10"]
        assert summary["samples"] == 180
        config = OmegaConf.load(Path(row["run"]) / "config.yaml")
        assert config.data.noisy_validation == 0.1
        assert config.method.warmup_epochs in (1, 2)
    best = OmegaConf.load(folder / "optimization_results.yaml")
    assert best.best_value == max(float(row["objective"]) for row in rows)
    assert f"best  method.beta={best.best_params['method.beta']} " in result.out
    assert "study" not in result.err


def test_a_failing_trial_is_left_out_and_the_rest_is_not_done_again(
    search: Command, runs: Path
) -> None:
    """One of three values of `threshold` is refused; the sampler is seeded."""
    values = ("detection.threshold=choice(0.4,0.5,2)", "hydra.sweeper.n_trials=4")
    first = search(*values)
    _, rows = newest(runs)
    statuses = [row["status"] for row in rows]
    assert set(statuses) == {"done", "failed"}
    assert len(statuses) == 4
    assert first.code == 2
    assert "detection.threshold must be in (0, 1), got 2" in first.err
    before = set(runs.rglob("config.yaml"))

    again = search(*values, "skip_done=true")
    assert again.code == 2
    _, repeated = newest(runs)
    same = ("method.beta", "method.warmup_epochs", "detection.threshold", "objective", "run")
    for old, new in zip(rows, repeated, strict=True):
        assert [old[name] for name in same] == [new[name] for name in same]
        assert new["status"] == {"done": "skipped"}.get(old["status"], old["status"])
    assert set(runs.rglob("config.yaml")) == before


def test_a_search_without_a_single_result_says_so(search: Command, runs: Path) -> None:
    result = search("noise.rate=1.3", "hydra.sweeper.n_trials=1")
    assert result.code == 2
    assert result.err.splitlines() == [
        "error: job 0: noise.rate must be in [0, 1), got 1.3",
        "error: no trial of the search came to its end",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective=accuracy.first.last", "would choose by true labels; accuracy_noisy_validation"),
        ("objective=recall_per_class.3.last", "would choose by true labels"),
        ("objective=detection.f1", "would choose by true labels"),
        ("objective=null", "objective must be a path into summary.json for sweeper=optuna"),
        ("data.noisy_validation=0", "needs data.noisy_validation in (0, 1), got 0"),
        (
            "objective=accuracy_noisy_validation.frist.last",
            "will not be in summary.json; did you mean accuracy_noisy_validation.first.last",
        ),
        ("method=ce objective=accuracy_noisy_validation.second.last", "did you mean"),
    ],
)
def test_an_unfit_objective_is_refused_before_the_first_trial(
    search: Command, runs: Path, override: str, message: str
) -> None:
    result = search(*override.split())
    assert result.code == 2
    [line] = result.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not runs.exists()


def test_any_method_has_the_objective(search: Command, runs: Path) -> None:
    fixed = ("method=ce", "method.beta=0", "hydra.sweeper.n_trials=1")
    result = search(*fixed)
    assert result.code == 0, result.err
    assert float(newest(runs)[1][0]["objective"]) >= 0


def test_the_objective_is_a_number_of_the_summary(composed: Composed) -> None:
    summary = {"seconds": {"total": 2}, "method": "ce"}
    assert objective_value("seconds.total", summary) == 2.0
    assert objective_value(None, summary) is None
    assert objective_value("seconds.total", {}) is None
    for path in ("method", "seconds", "seconds.totl"):
        with pytest.raises(InputError, match=rf"objective={path} is no number"):
            objective_value(path, summary)
    check_objective(composed("objective=seconds.total"))
    check_objective(composed())


@pytest.mark.slow
@pytest.mark.ddp
def test_ranks_of_a_trial_have_its_parameters(shell: Command, short: Short, runs: Path) -> None:
    """One folder a trial: a rank with other parameters would make its own, or stop the run."""
    two = ("trainer.devices=2", "hydra.sweeper.n_trials=2", f"runs_dir={runs}")
    result = shell("-m", "src.train", "-m", *short, *SEARCH, *two)
    assert result.code == 0, result.err
    _, rows = newest(runs)
    assert [row["status"] for row in rows] == ["done", "done"]
    folders = {path.parent for path in runs.rglob("config.yaml")}
    assert folders == {Path(row["run"]) for row in rows}
    betas = {OmegaConf.load(folder / "config.yaml").method.beta for folder in folders}
    assert betas == {float(row["method.beta"]) for row in rows}
