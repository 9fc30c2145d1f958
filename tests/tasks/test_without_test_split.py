"""Runs on every image: nothing is there to test on, and no number says that something was."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig

from pmnar.tasks.console import print_result
from pmnar.tasks.evaluate import evaluate
from pmnar.tasks.places import read_summary

Run = Callable[..., Path]
ALL = ("dataset.source.test_fraction=0", "dataset.train_subset=null", "trainer.max_epochs=1")


@pytest.mark.parametrize("method", ["pmnar", "ce"])
def test_a_run_without_images_to_test_on(
    short_run: Run,
    composed: Callable[..., DictConfig],
    capsys: pytest.CaptureFixture[str],
    method: str,
) -> None:
    folder = short_run(*ALL, "figures=true", f"method={method}")
    summary = read_summary(folder)
    table = pq.read_table(folder / "samples.parquet")
    assert len(table) == summary["samples"] == 1797
    assert "none to test on" in capsys.readouterr().out
    assert not [key for key in summary if key.startswith("accuracy")]
    assert summary["recall_per_class"] == {}
    assert summary["detection"]["actual_noise_rate"] == pytest.approx(0.5, abs=0.01)
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert "accuracy" not in header
    assert "recall," not in (folder / "classes.csv").read_text()
    assert not (folder / "figures" / "accuracy.png").exists()
    report = (folder / "report.html").read_text()
    assert "<h2>Accuracy" not in report
    assert "Samples to look at" in report
    print_result([summary])
    told = capsys.readouterr().out
    assert "accuracy is unknown" in told
    assert "Accuracy" not in told
    found = evaluate(composed(f"run={folder}", name="evaluate"))
    assert not [key for key in found if key.startswith("accuracy")]
    assert found["detection"]["f1"] == pytest.approx(summary["detection"]["f1"])
    json.dumps(found, allow_nan=False)


def test_noisy_labels_that_are_held_out_judge_instead(
    short_run: Run, composed: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = short_run(*ALL, "data.noisy_validation=0.1", "figures=true")
    summary = read_summary(folder)
    assert "accuracy" not in summary
    judged = summary["accuracy_noisy_validation"]["first"]["last"]
    assert 0 <= judged <= 1
    assert summary["recall_per_class"] == {}
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert "accuracy_first_noisy_validation" in header
    assert "accuracy_first" not in header
    assert (folder / "figures" / "accuracy.png").is_file()
    report = (folder / "report.html").read_text()
    assert "There is no test set" in report
    print_result([summary])
    told = capsys.readouterr().out
    assert "Accuracy on noisy labels that were held out" in told
    assert "Test accuracy" not in told
    found = evaluate(composed(f"run={folder}", name="evaluate"))
    assert found["accuracy_noisy_validation"]["first"] == pytest.approx(judged)
    assert "accuracy" not in found
