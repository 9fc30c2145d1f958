"""What only the command line shows: help, mistyped names, evaluating again, exit codes."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from processes import Result

from pmnar.noise import NoisyLabels
from pmnar.runtime.typed import assignment
from pmnar.tasks.command import config_dir
from pmnar.tasks.console import say

Command = Callable[..., Result]
Run = Callable[..., Path]
Short = tuple[str, ...]


def one_error(result: Result) -> str:
    """The one line that a refused command prints."""
    assert result.code == 2, result.err
    [line] = result.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_help_lists_groups_and_examples(command: Command) -> None:
    result = command("train", "--help")
    assert result.code == 0
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()} - {"paper"}
    assert groups >= {"dataset", "noise", "method", "network", "optimizer", "trainer"}
    for group in groups:
        assert f"{group}: " in result.out
    assert "human_worse" in result.out
    chosen = result.out.partition("Examples:")[0]
    assert "paper" not in chosen  # which nobody chooses
    assert "_base" not in chosen
    for example in ("dataset=cifar10 noise=asym30 trainer.devices=2", "-m method.beta=", "resume="):
        assert example in result.out
    assert "warmup_epochs" in result.out


def test_help_of_evaluate(command: Command) -> None:
    result = command("evaluate", "--help")
    assert result.code == 0
    assert "run=<run folder>" in result.out


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("method.betta=0.5", ["method.betta", "method.beta"]),
        ("warmup_epochs=5", ["warmup_epochs", "method.warmup_epochs"]),
        ("dataset=cifar1", ["dataset=cifar1 ", "cifar10", "cifar100"]),
        ("noise=symm50", ["noise=symm50", "sym50"]),
        ("metod=ce", ["metod", "method"]),
        ("method=pmnarr", ["method=pmnarr", "pmnar"]),
        ("trainer.max_epoch=5", ["trainer.max_epoch", "trainer.max_epochs"]),
        ("trainer.max_epochs", ["trainer.max_epochs"]),
        ("method.loss=cee", ["method.loss", "ce, nl, ml, pm", "cee"]),
        ("dataset.views.strong=autoaugmnt", ["dataset.views.strong", "autoaugment", "autoaugmnt"]),
        ("noise.rate=half", ["noise.rate", "[0, 1)", "half"]),
        ("compare=cee", ["compare=cee", "ce"]),
    ],
)
def test_mistyped_override_names_the_nearest(
    command: Command, short: Short, runs: Path, override: str, names: list[str]
) -> None:
    line = one_error(command("train", *short, f"runs_dir={runs}", override))
    for name in names:
        assert name in line
    assert not runs.exists()


@pytest.mark.parametrize(
    "path", ["a=b", "a(b)", "a,b", "[a", "[a,b]", "it's", "12", "{a: b}", "${a", "Bü=cher"]
)
def test_an_unquoted_path_is_told_how_it_is_quoted(command: Command, runs: Path, path: str) -> None:
    """What the line proposes is taken by the shell and by Hydra, and is of that very path."""
    line = one_error(command("train", f"runs_dir={runs}", f"resume={path}"))
    assert assignment("resume", path) in line
    [typed] = shlex.split(line[line.index(assignment("resume", path)) :])
    again = one_error(command("train", f"runs_dir={runs}", typed))
    assert again.endswith(
        f"resume must be a run folder or a checkpoint; there is nothing at {path}"
    )


def test_evaluate_needs_a_run(command: Command, tmp_path: Path) -> None:
    assert "run must name a run folder" in one_error(command("evaluate"))
    assert str(tmp_path / "none") in one_error(command("evaluate", f"run={tmp_path / 'none'}"))
    assert "did you mean run" in one_error(command("evaluate", "runn=x"))


@pytest.mark.parametrize("method", ["pmnar", "ce"])
def test_evaluate_gives_the_last_epochs_figures_exactly(
    short_run: Run, command: Command, method: str
) -> None:
    folder = short_run(f"method={method}")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = command("evaluate", f"run={folder}", "accelerator=cpu")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)  # nothing else is printed there
    with (folder / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    outputs = {"pmnar": {"first", "second", "ensemble"}, "ce": {"first"}}[method]
    assert set(found["accuracy"]) == outputs
    assert found["accuracy"] == {name: float(last[f"accuracy_{name}"]) for name in outputs}
    with (folder / "classes.csv").open(newline="") as file:
        of_classes = list(csv.DictReader(file))[-10:]
    recalls = {row["name"]: float(row["recall"]) for row in of_classes}
    assert found["recall_per_class"] == recalls
    summary = json.loads((folder / "summary.json").read_text())
    assert found["detection"] == summary["detection"]
    assert [found[key] for key in ("suspects", "unsure")] == [
        summary[key] for key in ("suspects", "unsure")
    ]
    if method == "pmnar":
        assert found["detection"]["recall"] == float(last["detection_recall"])
    assert (found["epochs"], found["method"], found["run"]) == (3, method, str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_evaluate_refuses_a_checkpoint_of_another_method(short_run: Run, command: Command) -> None:
    one, other = (short_run(f"method={name}", "trainer.max_epochs=1") for name in ("pmnar", "ce"))
    checkpoint = other / "checkpoints" / "last.ckpt"
    result = command("evaluate", f"run={one}", f"checkpoint={checkpoint}", "accelerator=cpu")
    assert "method.name=ce" in one_error(result)


def test_compare_trains_on_the_same_labels(command: Command, short: Short, runs: Path) -> None:
    overrides = ("trainer.max_epochs=2", "method.beta=0.5", "seed=3", "compare=ce")
    result = command("train", *short, f"runs_dir={runs}", *overrides)
    assert result.code == 0, result.err
    folders = {path.parent.parent.name: path.parent for path in runs.rglob("labels.npz")}
    assert set(folders) == {"pmnar", "ce"}
    given = [NoisyLabels.load(folder / "labels.npz").given for folder in folders.values()]
    assert (given[0] == given[1]).all()
    for name, folder in folders.items():
        assert f"{name}: 2 epochs" in result.out
        assert str(folder) in result.out
    compared = OmegaConf.load(folders["ce"] / "config.yaml")
    assert (compared.method.beta, compared.trainer.max_epochs, compared.seed) == (0, 2, 3)
    table = [line for line in result.out.splitlines() if line.startswith("│")]
    assert sum("ce" in line.split() for line in table) == 2


def test_module_runs_from_the_repository(shell: Command, short: Short, runs: Path) -> None:
    done = shell("-m", "src.train", *short, f"runs_dir={runs}", "trainer.max_epochs=1")
    assert done.code == 0, done.err
    [summary] = runs.rglob("summary.json")
    assert "Test accuracy" in done.out
    assert str(summary.parent) in done.out


def test_exit_code_of_a_refused_value_is_two(shell: Command, short: Short, runs: Path) -> None:
    done = shell("-m", "src.train", *short, f"runs_dir={runs}", "noise.rate=1.3")
    assert done == (2, "", "error: noise.rate must be in [0, 1), got 1.3\n")
    assert not runs.exists()


def test_console_script_finds_its_configs_elsewhere(
    shell: Command, short: Short, tmp_path: Path
) -> None:
    script = "from pmnar.tasks.cli import train; train()"
    done = shell("-c", script, *short, "runs_dir=here", "trainer.max_epochs=1", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert len(list(tmp_path.rglob("summary.json"))) == 1


def test_brackets_in_what_is_said_are_not_taken_for_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("a class called [red], a folder called [/tmp]")
    assert capsys.readouterr().out == "a class called [red], a folder called [/tmp]\n"


def test_what_was_perhaps_meant_is_what_the_chosen_method_has(command: Command) -> None:
    """Not a key of the default one, which may be the very key that was typed."""
    line = one_error(command("train", "method=apl", "method.warmup_epochs=1"))
    assert line == "error: Could not override 'method.warmup_epochs'; did you mean " + (
        "method.name, method.alpha, method.loss?"
    )
    line = one_error(command("train", "method=nosuch", "method.warmup_epochs=1"))
    assert line.startswith("error: method=nosuch does not exist; ")


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("cee", "compare=cee is no method; did you mean ce"),
        ("[mae,gce]", "compare=['mae', 'gce'] is no method; "),
        ("pmnar", "compare=pmnar is what method=pmnar trains already"),
    ],
)
def test_what_cannot_be_compared_is_told_before_training(
    command: Command, short: Short, runs: Path, other: str, told: str
) -> None:
    line = one_error(command("train", *short, f"runs_dir={runs}", f"compare={other}"))
    assert line.startswith(f"error: {told}")
    assert not runs.exists()


@pytest.mark.parametrize(
    ("task", "arguments", "told"),
    [
        (
            "train",
            "--resume a/b",
            "--resume is no option; settings are typed without dashes: ",
        ),
        ("train", "--resume=a/b", "option; settings are typed without dashes: resume=a/b"),
        ("train", "--seed", "--seed is no option; settings are typed without dashes: seed=…"),
        ("train", "--max-epochs 5", "key=value, without dashes: did you mean trainer.max_epochs"),
        ("train", "-resume a/b", "settings are typed without dashes: resume=a/b"),
        ("train", "seed=1 -m method.beta=1,2", "method.beta=1,2 stands behind an option: -m and "),
        ("train", "resume a/b", "resume is no setting; type it with its value: resume=a/b"),
        ("train", "seed", "seed is no setting; type it with its value: seed=…"),
        ("train", "resume=", "resume must be a path, got nothing"),
        ("evaluate", "--resume a/b", "there are accelerator, checkpoint, data_dir, run"),
        ("evaluate", "--run a/b", "a/b is no setting; settings are typed key=value: "),
        ("evaluate", "run=", "run must be a path, got nothing"),
        ("evaluate", "conf", "conf is no setting; a run is named by run="),
    ],
)
def test_arguments_that_are_no_settings(
    command: Command, monkeypatch: pytest.MonkeyPatch, task: str, arguments: str, told: str
) -> None:
    monkeypatch.chdir(config_dir().parent)
    assert told in one_error(command(task, *shlex.split(arguments)))


def test_evaluate_without_a_run_names_the_newest(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    told = "error: run must name a run folder or a checkpoint: run=<run folder>"
    assert one_error(command("evaluate")) == told
    for name in ("b/c/20260102-000000-a", "a/d/20260103-000000-a", "b/d/20260104-000000-none"):
        (tmp_path / "runs" / "digits" / name / "checkpoints").mkdir(parents=True)
        if not name.endswith("none"):
            (tmp_path / "runs" / "digits" / name / "checkpoints" / "last.ckpt").touch()
    newest = "pmnar-evaluate run=runs/digits/a/d/20260103-000000-a"
    assert one_error(command("evaluate")) == f"{told}, such as the newest: {newest}"
