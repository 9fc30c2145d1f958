"""The table of all methods: what it counts, and that it goes on where it was."""

from pathlib import Path

import pytest
from every import METHODS

from benchmarks import compare
from benchmarks.measure import results

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
