"""The benchmark of few images: its parts, its numbers against plain loops, its table."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks import small_data
from benchmarks.measure import command
from benchmarks.parts import Part, equal_ratios
from benchmarks.small_data import FOUR, METHODS, ROWS, Job, cost, jobs, overrides
from benchmarks.small_data_table import audit, auroc, average_precision, table
from pmnar.data.sources import Digits


def test_sizes_fall_by_the_same_ratio() -> None:
    sizes = equal_ratios(1000, 60, 10)
    assert (sizes[0], sizes[-1], len(sizes)) == (1000, 60, 10)
    ratios = [a / b for a, b in itertools.pairwise(sizes)]
    assert max(ratios) / min(ratios) < 1.02


def test_an_uneven_part_has_its_sizes_and_a_test_set_alike() -> None:
    sizes = equal_ratios(80, 8, 10)
    part = Part(Digits(), sizes=sizes, test=100, seed=3).load()
    assert torch.bincount(part.train.labels).tolist() == sizes
    tested = torch.bincount(part.test["test"].labels, minlength=10).tolist()
    expected = [min(round(size * 100 / sum(sizes)), 45) for size in sizes]
    assert all(abs(a - b) <= 10 for a, b in zip(tested, expected, strict=True))
    again = Part(Digits(), sizes=sizes, test=100, seed=3).load()
    assert torch.equal(part.train.images, again.train.images)


def test_spare_images_are_tested_and_not_trained_on() -> None:
    whole = Digits().load()
    part = Part(Digits(), spare=100, test=60).load()
    assert torch.equal(part.train.images, whole.train.images[:-100])
    assert torch.equal(part.test["test"].images, whole.train.images[-100:-40])


def test_auroc_is_a_count_of_pairs() -> None:
    generator = np.random.default_rng(0)
    score, wrong = generator.integers(0, 6, 40).astype(float), generator.random(40) < 0.4
    pairs = [(s < t) + (s == t) / 2 for s in score[wrong] for t in score[~wrong]]
    assert auroc(score, wrong) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)
    assert math.isnan(auroc(score, np.zeros(40, dtype=bool)))


def test_average_precision_in_a_plain_loop() -> None:
    hits = [True, False, True, True, False]
    expected = (1 / 1 + 2 / 3 + 3 / 4) / 3
    assert average_precision(np.array(hits)) == pytest.approx(expected, rel=1e-12)


def test_a_perfect_score_finds_all() -> None:
    given, true = [0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 1]
    wrong = np.array(given) != np.array(true)
    columns: dict[str, Any] = {
        "given_label": given,
        "true_label": true,
        "suggested_label": true,
        "mislabelled": wrong,
        "confidence": np.where(wrong, 0.1, 0.9),
        "margin": np.where(wrong, -1.0, 1.0),
    }
    found = audit(pa.table(columns))
    for score in ("confidence", "margin"):
        assert found[score]["auroc"] == found[score]["auroc_within"] == found[score]["ap"] == 1
        assert found[score]["f1"] == 1
        assert found[score]["called"] == found["wrong"] == found["flagged"] == pytest.approx(1 / 3)


def test_the_jobs_of_the_table() -> None:
    found = list(jobs("table", [1, 2], []))
    assert len(set(found)) == len(found)
    assert {job.row for job in found} == set(ROWS)
    assert {job.contestant for job in found} == set(METHODS)
    assert set(FOUR) < set(ROWS)


def test_equal_cost_is_equal_cost() -> None:
    row = FOUR[0]
    for contestant in ("ce", "pm_ar", "pmnar", "pmnar+views_trained=strong_mixed"):
        settings = overrides(Job(row, contestant, 1, "cost"), "data")
        (epochs,) = (int(s.split("=")[1]) for s in settings if "max_epochs" in s)
        assert epochs * cost(contestant) == pytest.approx(14 * ROWS[row].epochs, rel=0.02)


def test_a_run_is_a_line_and_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ("dataset=digits", "noise=sym50", "dataset.train_subset=60", "network.width=4")
    rows = {"digits": small_data.Row((*short, "data.batch_size=20"), 2, 1)}
    monkeypatch.setattr(small_data, "ROWS", rows)
    monkeypatch.setattr(
        "sys.argv",
        ["small_data", "--out", str(tmp_path / "x"), "--seeds", "1", "--contestants", "pmnar"],
    )
    for _ in range(2):
        small_data.main()
        (line,) = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    result = json.loads(line)
    assert result["epochs"] == 2
    assert 0 <= result["audit"]["recent_confidence"]["auroc"] <= 1
    text = (tmp_path / "x.md").read_text(encoding="utf-8")
    assert text == table([result])
    assert "| digits | pmnar | cost |" in text
    assert result["audit"]["order"] == "recent_confidence"


def test_a_command_can_be_typed_again_and_names_no_place_of_a_machine() -> None:
    words = ["--out", "/some/where/small_data", "--rows", "N worse,uneven"]
    told = command("small_data", words)
    assert told.endswith("python -m benchmarks.small_data --out small_data --rows 'N worse,uneven'")
