"""A resumed run is the uninterrupted one, bit for bit."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from every import METHODS, warm_up
from outcomes import content, differences, rows_of, summary_of, unequal
from processes import SHORT, Result, finish, start, the_run_below

from pmnar.callbacks.metrics_table import read_cells, read_rows, write_rows
from pmnar.methods import NoisyLabelMethod
from pmnar.runtime.checkpoint import SafeCheckpointIO
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

Run = Callable[..., Path]


# The rate falls after epoch 3: the schedule must go on too.
LONG = ("dataset.recipe.milestones=[3]", "dataset.recipe.learning_rate=0.1")
DROPOUT = "network.dropout=0.3"
"""The one draw that the networks make themselves."""


def go_on(place: Path, *overrides: str) -> Path:
    """Resume in this process; gives the run folder."""
    run = resume(place, overrides)
    train(run.config, run.folder, run.checkpoint)
    return run.folder


def assert_equal_runs(one: Path, other: Path) -> None:
    """To the bit."""
    assert unequal(one, other) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", ["pmnar", "ce", "nl"])
def test_resumed_run_is_the_uninterrupted_one(short_run: Run, method: str, workers: int) -> None:
    same = (*LONG, f"method={method}", f"data.num_workers={workers}")
    whole = short_run(*same, "trainer.max_epochs=4")
    halved = short_run(*same, "trainer.max_epochs=2")
    assert differences(content(whole), content(halved))
    assert go_on(halved, "trainer.max_epochs=4") == halved
    assert [row["epoch"] for row in rows_of(halved)] == ["1", "2", "3", "4"]
    assert float(rows_of(halved)[-1]["learning_rate"]) < float(rows_of(halved)[0]["learning_rate"])
    assert_equal_runs(whole, halved)


def test_a_run_that_ended_in_its_warm_up_goes_on_as_if_it_had_not(short_run: Run) -> None:
    """No pass of its own had been made by then: the one for the summary leaves no trace."""
    warm_up = "method.warmup_epochs=3"
    whole = short_run(*LONG, warm_up, "trainer.max_epochs=4")
    halved = short_run(*LONG, warm_up, "trainer.max_epochs=2")
    go_on(halved, "trainer.max_epochs=4")
    assert_equal_runs(whole, halved)


def test_an_older_run_s_columns_of_classes_are_moved_when_it_goes_on(short_run: Run) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    older = short_run(*LONG, "trainer.max_epochs=2")
    rows = read_rows(older / "metrics.csv")
    for of_class in read_cells(older / "classes.csv"):
        row = rows[int(of_class["epoch"]) - 1]
        for column in ("recall", "weight"):
            row[f"{column}_class_{of_class['class']}"] = float(of_class[column])
    write_rows(older / "metrics.csv", rows)
    (older / "classes.csv").unlink()
    go_on(older, "trainer.max_epochs=4")
    assert rows_of(whole) == rows_of(older)
    summaries = [summary_of(folder) for folder in (whole, older)]
    assert summaries[0] == summaries[1]
    for column in ("recall", "weight"):
        values = [
            [row[column] for row in read_cells(folder / "classes.csv")] for folder in (whole, older)
        ]
        assert values[0] == values[1]


def test_dropout_draws_what_it_would_have_drawn(short_run: Run) -> None:
    whole = short_run(*LONG, DROPOUT, "trainer.max_epochs=4")
    halved = short_run(*LONG, DROPOUT, "trainer.max_epochs=2")
    go_on(halved, "trainer.max_epochs=4")
    assert_equal_runs(whole, halved)


@pytest.mark.parametrize("dropout", ["network.dropout=0", DROPOUT])
def test_workers_change_nothing(short_run: Run, dropout: str) -> None:
    alone, helped = (short_run(*LONG, dropout, f"data.num_workers={n}") for n in (0, 2))
    assert_equal_runs(alone, helped)


@pytest.mark.parametrize("when", ["in the middle of epoch 3", "before the checkpoint of epoch 3"])
def test_run_that_died_goes_on(
    short_run: Run,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    four = (*LONG, "trainer.max_epochs=4")
    whole = short_run(*four)
    with monkeypatch.context() as patch:
        if when.startswith("in"):
            _die_at_call(patch, NoisyLabelMethod, "training_step", 2 * 4 + 2)
        else:
            _die_at_call(patch, SafeCheckpointIO, "save_checkpoint", 3)
        with pytest.raises(ConnectionError):
            short_run(*four)
    [died] = set(runs.rglob("*-*/")) & {p.parent for p in runs.rglob("config.yaml")} - {whole}
    assert content(died)["epoch"] == 1
    assert not (died / "summary.json").exists()
    go_on(died)
    assert unequal(whole, died) == []


def test_run_that_died_before_its_summary_is_finished(short_run: Run) -> None:
    run = short_run(*LONG, "trainer.max_epochs=2")
    left = {name: (run / name).read_bytes() for name in ("samples.parquet", "metrics.csv")}
    before = json.loads((run / "summary.json").read_text())
    for name in ("summary.json", "samples.parquet"):
        (run / name).unlink()
    go_on(run)
    assert {name: (run / name).read_bytes() for name in left} == left
    assert json.loads((run / "summary.json").read_text()) == before


def test_images_may_live_elsewhere_when_a_run_goes_on(short_run: Run) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    halved = short_run(*LONG, "trainer.max_epochs=2")
    go_on(halved, "trainer.max_epochs=4", "data.resident=host")
    assert yaml.safe_load((halved / "config.yaml").read_text())["data"]["resident"] == "host"
    assert_equal_runs(whole, halved)


def test_an_older_run_may_be_compiled_when_it_goes_on(short_run: Run) -> None:
    """Its configuration lacks the key."""
    run = short_run(*LONG, "trainer.max_epochs=2")
    older = yaml.safe_load((run / "config.yaml").read_text())
    del older["compute"]
    (run / "config.yaml").write_text(yaml.safe_dump(older))
    assert resume(run, ["compute.compile=off"]).changes == ()
    changed = resume(run, ["trainer.max_epochs=4", "compute.compile=default"])
    assert "compute.compile: off → default" in changed.changes
    assert changed.config.compute.compile == "default"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_stopped_after_any_epoch_goes_on(
    short_run: Run, runs: Path, monkeypatch: pytest.MonkeyPatch, method: str, workers: int
) -> None:
    """By one process, with threads that gather ahead and without."""
    same = (*LONG, DROPOUT, "trainer.max_epochs=4", f"method={method}")
    whole = short_run(*same, f"data.num_workers={workers}")
    folders = {whole}
    for epoch in (1, 2, 3):
        with monkeypatch.context() as patch:
            _die_in_epoch(patch, epoch + 1)
            with pytest.raises(ConnectionError):
                short_run(*same, f"data.num_workers={workers}")
        [died] = {path.parent for path in runs.rglob("config.yaml")} - folders
        folders.add(died)
        assert content(died)["epoch"] == epoch - 1
        go_on(died)
        assert unequal(whole, died) == []


RANKS = (
    *(text for text in SHORT if not text.startswith("method.")),
    *(*LONG, DROPOUT, "dataset.train_subset=201", "trainer.devices=2"),
)


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("method", "workers"),
    [("pmnar", 0), *(pytest.param(name, 2, marks=pytest.mark.slow) for name in METHODS)],
)
def test_two_ranks_go_on_as_one_run(tmp_path: Path, method: str, workers: int) -> None:
    """Each rank's BatchNorm has seen its own share of the batches, which cannot be halved."""
    settings = (*RANKS, f"method={method}", *warm_up(method), f"data.num_workers={workers}")
    ends = []
    for name, fault in (("whole", ""), ("stopped", "epoch:3:15")):
        ended = finish(start(*settings, f"runs_dir={tmp_path / name}", fault=fault))
        assert ended.code == (143 if fault else 0), ended
        ends.append(the_run_below(tmp_path / name))
    whole, stopped = ends
    assert content(stopped)["epoch"] == 1
    ended = finish(start(f"resume={stopped}"))
    assert ended.code == 0, ended
    assert unequal(whole, stopped) == []


def _die_at_call(patch: pytest.MonkeyPatch, kind: type, name: str, number: int) -> None:
    original, calls = getattr(kind, name), []

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise ConnectionError("the machine went down")
        return original(self, *args, **kwargs)

    patch.setattr(kind, name, counted)


def _die_in_epoch(patch: pytest.MonkeyPatch, number: int) -> None:
    """At the first step of an epoch: methods differ in how many an epoch has."""
    original = NoisyLabelMethod.training_step

    def step(self: NoisyLabelMethod, *args: Any, **kwargs: Any) -> Any:
        if self.current_epoch + 1 == number:
            raise ConnectionError("the machine went down")
        return original(self, *args, **kwargs)

    patch.setattr(NoisyLabelMethod, "training_step", step)


def test_a_checkpoint_file_is_a_place_to_resume_from(short_run: Run) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    halved = short_run(*LONG, "trainer.max_epochs=2")
    assert go_on(halved / "checkpoints" / "last.ckpt", "trainer.max_epochs=4") == halved
    assert_equal_runs(whole, halved)


@pytest.mark.parametrize("left", [1000, None])
def test_a_cut_off_checkpoint_points_to_a_whole_one(
    short_run: Run, command: Callable[..., Result], left: int | None
) -> None:
    """And one that is gone, with commands that do go on, and evaluate."""
    run = short_run("checkpoint.keep=3")
    saved = run / "checkpoints"
    for name in ("last.ckpt", "epoch-0003.ckpt"):
        content = (saved / name).read_bytes()
        (saved / name).unlink()
        if left is not None:
            (saved / name).write_bytes(content[:left])
    for task, place in (("evaluate", "run"), ("train", "resume")):
        told = command(task, f"{place}={run}")
        assert told.code == 2
        [line] = told.err.splitlines()
        advice = line.partition("epoch-0002.ckpt is whole: ")[2]
        start, *arguments = shlex.split(advice)
        assert start == f"pmnar-{task}"
        done = command(task, *arguments)
        assert done.code == 0, done.err
    assert json.loads((run / "summary.json").read_text())["epochs"] == 3


def test_resuming_twice_changes_nothing(short_run: Run) -> None:
    whole = short_run(*LONG, "trainer.max_epochs=4")
    parts = short_run(*LONG, "trainer.max_epochs=1")
    for epochs in (2, 4):
        go_on(parts, f"trainer.max_epochs={epochs}")
    assert_equal_runs(whole, parts)
