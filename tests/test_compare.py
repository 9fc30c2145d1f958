"""The table of all methods: what it counts, and that it goes on where it was."""

from pathlib import Path

import pytest
from every import METHODS

from benchmarks import compare
from benchmarks.compare_table import COST, EPOCHS, Job
from benchmarks.measure import nowhere, results
from pmnar.errors import InputError

FEW = (
    *("dataset.train_subset=60", "trainer.max_epochs=2", "data.batch_size=20", "compute.threads=1"),
    *("network.width=8", "figures=false", "trainer.accelerator=cpu"),
)


def test_every_method_is_compared() -> None:
    assert compare.methods() == METHODS


def test_what_is_there_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "x"
    words = ["compare", "--out", str(out), "--noises", "sym50", "--seeds", "1", "--methods"]
    for chosen in ("ce", "ce", "ce,pm"):
        monkeypatch.setattr("sys.argv", [*words, chosen, *FEW])
        compare.main()
    found = results(out.with_suffix(".jsonl"))
    assert [result["method"] for result in found] == ["ce", "pm"]
    for result in found:  # two epochs, in pm's warm-up, and the pass that judges labels in the end
        assert result["cost"] == pytest.approx(2 + 1 / 3)
    written = out.with_suffix(".md").read_text("utf-8")
    assert written.count("\n| `") == 2
    assert "**sym50**" in written


def test_epochs_that_cost_what_the_reference_s_do() -> None:
    job = Job("sym50", "ce", 1, COST)
    results = [
        job._replace(method=name, budget=EPOCHS)._asdict() | {"cost": cost}
        for name, cost in (("ce", 40), ("pmnar", 187))
    ]
    assert compare.length_of(job, 40, results) == "dataset.recipe.max_epochs=187"
    alike = job._replace(budget=EPOCHS)
    assert compare.length_of(alike, 40, results) == "dataset.recipe.max_epochs=40"
    with pytest.raises(InputError, match="pmnar"):
        compare.length_of(job, 40, results[:1])


def test_no_place_of_a_machine_is_kept() -> None:
    assert nowhere("data_dir=/home/me/data") == "data_dir=data"
    assert nowhere("/home/me/out") == "out"
    assert nowhere("noise=sym50") == "noise=sym50"
    assert nowhere("--seeds") == "--seeds"
