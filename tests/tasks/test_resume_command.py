"""What resuming refuses, and what it says that it changes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from outcomes import rows_of
from processes import Result

from pmnar.errors import InputError
from pmnar.tasks.resume import check_epochs
from pmnar.tasks.train import train

Run = Callable[..., Path]


FORBIDDEN = (
    "noise.seed=3",
    "dataset.num_classes=9",
    "data.noisy_validation=0.1",
    "dataset=cifar10",
    "method=ce",
    "noise=clean",
    "network=preact_resnet18",
    "seed=2",
    "network.width=16",
    "noise.rate=0.2",
    "dataset.train_subset=100",
    "method.loss=ce",
    "optimizer.lr=0.5",
    "scheduler=cosine",
)


def test_command_line_refuses_what_would_contradict_the_state(
    short_run: Run, command: Callable[..., Result]
) -> None:
    folder = short_run("trainer.max_epochs=1")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    for override in FORBIDDEN:
        found = command("train", f"resume={folder}", override)
        assert found.code == 2
        [line] = found.err.splitlines()
        assert line.startswith(f"error: {override} cannot be changed in a resumed run")
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_cosine_schedule_is_not_outlived(short_run: Run, command: Callable[..., Result]) -> None:
    folder = short_run("scheduler=cosine", "trainer.max_epochs=1")
    found = command("train", f"resume={folder}", "trainer.max_epochs=4")
    assert found.code == 2
    assert found.err.startswith("error: trainer.max_epochs must be at most 3 in this resumed run")


def test_a_recipe_of_several_cosines_is_gone_on_with_to_its_end(
    composed: Callable[..., DictConfig],
) -> None:
    cfg = composed("method=f_correction")
    assert (cfg.scheduler.T_max, cfg.trainer.max_epochs) == (40, 80)
    check_epochs(cfg, "trainer.max_epochs", 80)
    with pytest.raises(InputError, match=r"trainer\.max_epochs must be at most 80"):
        check_epochs(cfg, "trainer.max_epochs", 81)


def test_command_line_shows_what_changed(short_run: Run, command: Callable[..., Result]) -> None:
    folder = short_run("trainer.max_epochs=1")
    same = ("method=pmnar", "seed=1", "network.width=8")
    found = command("train", f"resume={folder}", "trainer.max_epochs=2", "method.beta=0.5", *same)
    assert found.code == 0, found.err
    changed = [line for line in found.out.splitlines() if line.startswith("changed")]
    assert changed == ["changed  trainer.max_epochs: 1 → 2", "changed  method.beta: 1.0 → 0.5"]
    assert len(rows_of(folder)) == 2


def test_overrides_are_held_against_the_run_s_own_configuration(
    short_run: Run, command: Callable[..., Result]
) -> None:
    """Not the default one, whose network and schedule are others."""
    folder = short_run("trainer.max_epochs=1", "scheduler=cosine")
    found = command("train", f"resume={folder}", "scheduler.T_max=3", "trainer.max_epochs=2")
    assert found.code == 0, found.err
    assert "changed  trainer.max_epochs: 1 → 2" in found.out


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("method.betta=0.5", "method.betta is not in the configuration of .*method.beta"),
        ("+method.extra=1", "cannot be used in a resumed run: write method.extra=value"),
        ("~method.beta", "cannot be used in a resumed run"),
        (
            "trainer.max_epochs=1",
            "trainer.max_epochs must be a whole number of at least 2, the epochs",
        ),
        ("method.beta=1,2", "method.beta=1,2: several values need -m"),
        ("method.beta", "method.beta is no setting; type it with its value: method.beta=…"),
    ],
)
def test_overrides_that_make_no_sense_are_told(
    short_run: Run, command: Callable[..., Result], override: str, reason: str
) -> None:
    folder = short_run("trainer.max_epochs=2")
    found = command("train", f"resume={folder}", override)
    assert (found.code, len(found.err.splitlines())) == (2, 1), found.err
    assert re.search(reason, found.err), found.err


def test_command_line_refuses_places_without_a_checkpoint(
    tmp_path: Path, command: Callable[..., Result]
) -> None:
    (tmp_path / "empty").mkdir()
    torn, foreign = tmp_path / "torn.ckpt", tmp_path / "foreign.ckpt"
    torn.write_bytes(b"PK\x03\x04 half a checkpoint")
    torch.save({"state_dict": {}}, foreign)
    reasons = {
        tmp_path / "none": "there is nothing at",
        tmp_path / "empty": "there is no checkpoint at",
        torn: "cannot be read as a checkpoint",
        foreign: "is not a checkpoint of this library",
    }
    for place, reason in reasons.items():
        found = command("train", f"resume={place}")
        assert (found.code, len(found.err.splitlines())) == (2, 1)
        assert reason in found.err
        assert str(place) in found.err


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("task", ["train", "evaluate"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(
    tmp_path: Path, command: Callable[..., Result], task: str
) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (tmp_path / "trace",)

    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": {}, "pmnar": Malicious()}, path)
    found = command(task, f"{'resume' if task == 'train' else 'run'}={tmp_path}")
    assert (found.code, len(found.err.splitlines())) == (2, 1)
    assert f"{path} cannot be read as a checkpoint" in found.err
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (["method=ce"], "the checkpoint is of method pmnar, this run of ce"),
        (["noise=sym20"], "the checkpoint was trained on other labels"),
        (["noise.seed=3"], "the checkpoint was trained on other labels"),
        (["dataset.train_subset=150"], "was trained on other images .* with index 2 is missing, "),
        (["dataset.name=other"], "the checkpoint is of dataset digits, this run of other"),
    ],
)
def test_checkpoint_of_another_run_is_refused(
    short_run: Run,
    composed: Callable[..., DictConfig],
    short: tuple[str, ...],
    runs: Path,
    other: list[str],
    reason: str,
) -> None:
    folder = short_run("trainer.max_epochs=1")
    cfg = composed(*short, f"runs_dir={runs}", *other)
    with pytest.raises(InputError, match=reason):
        train(cfg, folder, folder / "checkpoints" / "last.ckpt")


def test_compare_and_resume_together_are_refused(
    tmp_path: Path, command: Callable[..., Result]
) -> None:
    found = command("train", f"resume={tmp_path}", "compare=ce")
    assert found.code == 2
    assert found.err.startswith("error: compare=ce cannot be combined with resume")


def test_missing_history_is_not_passed_over(
    short_run: Run, command: Callable[..., Result], recwarn: pytest.WarningsRecorder
) -> None:
    """Rows that are gone are said to be; epochs without a checkpoint are not begun again."""
    folder = short_run("trainer.max_epochs=2")
    (folder / "metrics.csv").rename(folder / "aside.csv")
    assert command("train", f"resume={folder}", "trainer.max_epochs=3").code == 0
    assert any("metrics.csv has 0 of the 2 epochs" in str(w.message) for w in recwarn)
    (folder / "aside.csv").rename(folder / "metrics.csv")
    (folder / "checkpoints" / "last.ckpt").unlink()
    found = command("train", f"resume={folder}")
    assert found.code == 2
    assert "has 2 epochs in its metrics.csv and no checkpoint to go on from" in found.err


@pytest.mark.parametrize("choice", ["launcher=joblib", "sweeper=optuna"])
def test_what_only_a_sweep_has_needs_m(command: Callable[..., Result], choice: str) -> None:
    found = command("train", choice)
    assert found.code == 2
    assert found.err.startswith(f"error: {choice} needs -m")
