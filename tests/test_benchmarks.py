"""The benchmarks run, write what they find, and count rightly; no time is asserted."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import clock, epoch, gpu, gpu_parts, measure, overhead, views
from benchmarks.counts import Passes
from benchmarks.growth import NAMES, line_of
from benchmarks.measure import Seconds, interleaved, publish
from benchmarks.memory import OVER
from benchmarks.runs import ABLATIONS, configuration
from pmnar.tasks.command import plain

Report = dict[str, Any]


@pytest.fixture(autouse=True)
def _threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def read(path: Path) -> Report:
    """A result file, whose table beside it ends with where the numbers come from."""
    report: Report = json.loads(path.read_text(encoding="utf-8"))
    for key in ("command", "date", "hardware", "versions", "threads"):
        assert report[key], key
    text = path.with_suffix(".md")
    if text.is_file():
        assert report["date"] in text.read_text(encoding="utf-8").splitlines()[-1]
    return report


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []
    told = {"slow": iter([9.0, 2.0, 4.0]), "fast": iter([9.0, 1.0, 2.0])}

    def turn(name: str) -> float:
        turns.append(name)
        return next(told[name])

    found = interleaved({"slow": lambda: turn("slow"), "fast": lambda: turn("fast")}, rounds=2)
    assert turns == ["slow", "fast"] * 3
    assert found["slow"].values == (2.0, 4.0)
    assert found["slow"].over(found["fast"]).plain() == {"median": 2.0, "least": 2.0, "most": 2.0}


def test_what_tells_no_seconds_is_timed() -> None:
    (found,) = interleaved({"nothing": lambda: None}, rounds=3).values()
    assert len(found.values) == 3
    assert all(value >= 0 for value in found.values)


def test_a_ratio_is_of_medians_and_spreads_over_rounds() -> None:
    ratio = Seconds((1.0, 4.0, 6.0)).over(Seconds((1.0, 2.0, 1.0)))
    assert (ratio.median, ratio.least, ratio.most) == (4.0, 1.0, 6.0)


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    publish("something", {"value": 1}, "| a |", tmp_path / "new", words=["--quick"])
    report = read(tmp_path / "new" / "something.json")
    assert report["value"] == 1
    assert "commit" not in report
    assert report["command"].endswith("python -m benchmarks.something --quick")


def test_the_configuration_is_the_users_but_for_images_figures_and_bar() -> None:
    cfg = plain(configuration("dataset=cifar10", images={"samples": 8, "classes": 3}))
    assert cfg["dataset"]["source"]["_target_"] == "benchmarks.synthetic.Images"
    assert cfg["data"]["batch_size"] == 128
    assert cfg["method"]["name"] == "pmnar"
    assert not cfg["figures"]


def test_views(tmp_path: Path) -> None:
    views.main(["--quick", "--out", str(tmp_path)])
    report = read(tmp_path / "views.json")
    assert [of["bar"] for of in report["views"]] == [15, 4, 4]
    assert all(of["times"].keys() == {"PIL loop", "PIL DataLoader"} for of in report["views"])


def test_overhead_ends_with_the_networks_of_the_bare_loop(tmp_path: Path) -> None:
    parts = "digits,resnet,features"
    overhead.main(["--quick", "--parts", parts, "--out", str(tmp_path)])  # raises where they differ
    digits, resnet, _ = read(tmp_path / "overhead.json")["runs"]
    assert (digits["bar"], resnet["bar"]) == (1.15, 1.02)
    assert digits["over bare"].keys() == {"Lightning", "Lightning, bar"}
    assert resnet["over bare"].keys() == {"Lightning"}
    for run in (digits, resnet):
        for name, parts in run["seconds of parts"].items():
            whole = run["seconds an epoch"][name]["median"]
            assert sum(parts.values()) == pytest.approx(whole)
            assert all(parts[part] > 0 for part in NAMES[:3])


def test_cost_of_an_epoch(tmp_path: Path) -> None:
    words = ["--quick", "--parts", "cost", "--methods", "ce,pmnar", "--accelerator", "cpu"]
    epoch.main([*words, "--out", str(tmp_path)])
    ce, pmnar = read(tmp_path / "epoch-cost.json")["methods"]
    assert ce["FLOPs over ce"] == ce["over ce"]["median"] == 1
    assert pmnar["FLOPs over ce"] == pytest.approx(14 / 3, rel=1e-3)
    assert pmnar["method"] in ABLATIONS


def test_growth_of_an_epoch(tmp_path: Path) -> None:
    words = ["--quick", "--parts", "growth", "--accelerator", "cpu", "--out", str(tmp_path)]
    epoch.main(words)
    (line,) = read(tmp_path / "epoch-growth.json")["lines"]
    assert tuple(line["parts"]) == NAMES
    assert len(line["seconds"]) == len(line["samples"]) == len(line["residuals"])
    for position, total in enumerate(line["seconds"]):
        parts = [values[position] for values in line["seconds of parts"].values()]
        assert sum(parts) == pytest.approx(total)


def test_memory_of_a_run(tmp_path: Path) -> None:
    words = ["--quick", "--parts", "memory", "--accelerator", "cpu", "--out", str(tmp_path)]
    epoch.main(words)
    small, large = read(tmp_path / "epoch-memory.json")["sizes"]
    assert small["host"]["over"] == 1
    assert large["images"] == 2 * small["images"]
    # So few images are nothing beside the libraries.
    assert large["host"]["over"] < OVER


def test_the_line_through_a_linear_cost_leaves_nothing() -> None:
    sizes = (1_000, 5_000, 50_000)
    line = line_of(sizes, [0.25 + 3e-5 * n for n in sizes])
    assert line["intercept"] == pytest.approx(0.25)
    assert line["slope"] == pytest.approx(3e-5)
    assert line["residuals"] == pytest.approx([0, 0, 0], abs=1e-9)


def places(folder: Path) -> list[str]:
    """Where results and runs go."""
    return ["--out", str(folder), "--runs", str(folder / "runs")]


def test_every_part_of_the_gpus_runs_dry(tmp_path: Path) -> None:
    assert gpu.main(["--dry-run", "--parts", ",".join(gpu.PARTS), *places(tmp_path)]) == 0
    for part in gpu.PARTS:
        variants = read(tmp_path / f"gpu-{part}.json")["variants"]
        failed = {name: of["failed"] for name, of in variants.items() if "failed" in of}
        assert variants
        assert not failed
    said = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "fastest step" in said
    assert "compile=max-autotune" in said


def test_a_variant_that_fails_is_noted_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"unknown mode": ("compute.compile=quickly",), "eager": ("compute.compile=off",)}
    monkeypatch.setattr(gpu_parts, "STEPS", broken)
    words = ["--dry-run", "--parts", "step", *places(tmp_path)]
    gpu.main(words)
    variants = read(tmp_path / "gpu-step.json")["variants"]
    assert "compile must be one of" in variants["unknown mode"]["failed"]
    assert variants["eager"]["ms"] > 0
    known = variants["eager"]
    gpu.main(words)
    assert read(tmp_path / "gpu-step.json")["variants"]["eager"] == known, "measured again"


class AtOnce:
    """A timer that does not wait."""

    def __init__(self, seconds: float, function: Callable[..., Any], words: Any) -> None:
        self.start = lambda: function(*words)

    def cancel(self) -> None:
        """Nothing to do."""


def test_the_whole_run_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--dry-run", "--parts", "run", *places(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(threading, "Timer", AtOnce)
        gpu.main(words)
    assert read(tmp_path / "gpu-run.json")["variants"]["run"]["unfinished"]
    gpu.main(words)
    assert read(tmp_path / "gpu-run.json")["variants"]["run"]["epochs"] == 2


def test_a_gpu_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "--dry-run" in capsys.readouterr().out


def test_a_method_s_passes_are_counted_in_the_epochs_that_are_timed() -> None:
    """PMNAR past its warm-up: two networks, two views; then an ordered pass of both."""
    run = clock.Timed("pmnar", 0, ["dataset.train_subset=40", "data.batch_size=20"])
    assert run() > 0
    assert run.passes == [Passes(4, 2)]
