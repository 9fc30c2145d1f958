"""A run that holds out some of its noisy training set: what it leaves, and what can follow it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import Result

from pmnar.noise import NoisyLabels
from pmnar.tasks.resume import resume
from pmnar.tasks.train import train

Rows = list[dict[str, str]]
ReadRows = Callable[[Path], Rows]
Run = Callable[..., Path]
TENTH = "data.noisy_validation=0.1"


def summary_of(folder: Path) -> dict[str, Any]:
    """The content of `summary.json`."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary


@pytest.mark.parametrize("method", ["pmnar", "ce"])
def test_its_accuracy_is_in_the_tables(short_run: Run, rows: ReadRows, method: str) -> None:
    folder = short_run(TENTH, f"method={method}")
    outputs = {"pmnar": {"first", "second", "ensemble"}, "ce": {"first"}}[method]
    found = summary_of(folder)["accuracy_noisy_validation"]
    assert set(found) == outputs
    for output in outputs:
        column = [float(row[f"accuracy_{output}_noisy_validation"]) for row in rows(folder)]
        assert found[output]["last"] == column[-1]
        assert found[output]["best"] == max(column)
        # a share of 20 samples
        assert all(value * 20 == pytest.approx(round(value * 20), abs=1e-4) for value in column)


def test_the_files_describe_what_was_trained_on(short_run: Run) -> None:
    folder = short_run(TENTH, "trainer.max_epochs=1", "figures=true")
    labels, table = (
        NoisyLabels.load(folder / "labels.npz"),
        pq.read_table(folder / "samples.parquet"),
    )
    assert len(table) == summary_of(folder)["samples"] == 180
    assert labels.given.tolist() == table["given_label"].to_pylist()
    assert labels.index.tolist() == table["index"].to_pylist()
    assert labels.true is not None
    assert labels.true.tolist() == table["true_label"].to_pylist()
    assert summary_of(folder)["noise"]["actual_rate"] == labels.actual_rate
    assert labels.held_out is not None
    assert len(labels.held_out.given) == 20


def test_saved_labels_train_identically(short_run: Run, rows: ReadRows) -> None:
    first = short_run(TENTH, "trainer.max_epochs=2")
    file = ("noise=file", f"noise.path={first}", "trainer.max_epochs=2")
    assert rows(short_run(*file, TENTH)) == rows(first)
    assert rows(short_run(*file)) == rows(short_run("trainer.max_epochs=2"))


def test_a_resumed_run_holds_out_the_same(short_run: Run, rows: ReadRows) -> None:
    whole, halved = short_run(TENTH), short_run(TENTH, "trainer.max_epochs=2")
    run = resume(halved, ["trainer.max_epochs=3"])
    train(run.config, run.folder, run.checkpoint)
    assert rows(halved) == rows(whole)


def test_it_is_evaluated_again(short_run: Run, command: Callable[..., Result]) -> None:
    folder = short_run(TENTH)
    result = command("evaluate", f"run={folder}", "accelerator=cpu")
    assert result.code == 0, result.err
    found = json.loads(result.out[result.out.index("{") :])["accuracy_noisy_validation"]
    last = summary_of(folder)["accuracy_noisy_validation"]
    assert found == {output: values["last"] for output, values in last.items()}
