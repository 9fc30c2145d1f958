"""The benchmark of scale: what it counts, and the line it draws."""

import json
from pathlib import Path

import pytest
from toy import ABLATIONS, fit, make_data, make_method

from benchmarks.scale import QUICK_CLASSES, QUICK_SIZES, RANKS, Case, main, measure, room
from benchmarks.scale_report import PARTS, Result, slopes, tables
from pmnar.data.batches import rank_block


def test_it_makes_room_for_what_the_method_measures() -> None:
    data = make_data()
    method = make_method(data, **ABLATIONS["pmnar"])
    fit(method, data)
    measured = method.measure().rows
    made = room(len(data.splits["train"]))
    assert made.keys() == measured.keys()
    for name, rows in measured.items():
        assert (made[name].dtype, made[name].shape) == (rows.dtype, rows.shape), name


@pytest.mark.ddp
def test_a_quick_run_counts_what_a_rank_holds_and_receives(tmp_path: Path) -> None:
    main(["--quick", "--out", str(tmp_path / "scale")])
    report = json.loads((tmp_path / "scale.json").read_text())
    assert len(report["cases"]) == len(QUICK_SIZES) * len(QUICK_CLASSES) * len(RANKS)
    for found in report["cases"]:
        n, classes, ranks = found["samples"], found["classes"], found["ranks"]
        store = 2 if classes == 10 else 2 * 8  # bits; eight places of int16
        measurement = 2 * 4 + 3 * (4 + 8)
        bytes_held = {"labels": 8 * n, "weights": 2 * 4 * n, "store": store * n}
        assert found["bytes"] == bytes_held | {"measurement": measurement * n}
        assert found["store"] == ("bits" if classes == 10 else "slots[8]")
        assert found["packed bytes"] == n * -(-classes // 8)
        others = max(n - len(rank_block(n, 512, rank, ranks)) for rank in range(ranks))
        assert found["received bytes"] == measurement * others
        assert (others > 0) == (ranks > 1)
        lost = classes - 1 - found["mean size"]
        assert 0.8 < lost < 1.4  # 0.5 / t summed over 5 epochs, less where a draw was no news
        assert found["peak bytes"] > found["peak bytes before"] > 0
        assert all(found["seconds"][part] >= 0 for part in PARTS)
    written = (tmp_path / "scale.md").read_text()
    assert written == tables(report)
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows[: 2 + len(report["cases"])]}) == 1
    assert len(rows) == 2 + len(report["cases"]) + 2 + len(report["slopes"])


def test_a_case_too_large_is_not_run_but_told() -> None:
    [found] = measure([Case(10**12, 10, 1)], rounds=1, epochs=1, limit=2**30)
    assert "seconds" not in found
    assert found["packed bytes"] == 2 * 10**12
    report = {"cases": [found], "slopes": [], "command": "c", "date": "d", "commit": "e"}
    assert "not run" in tables(report | {"hardware": {"cpu": "f", "cores": 1}, "versions": {}})


def line_of(curve: float) -> Result:
    """The line of a cost of 0.25 s + 300 ns a sample + `curve` times the samples squared."""
    results: list[Result] = []
    for n in (10**6, 10**3, 10**5, 10**4):
        cost = 0.25 + 3e-7 * n + curve * n * n
        seconds = {"a": cost / 4, "b": cost * 0.75}
        results.append({"classes": 10, "ranks": 1, "samples": n, "seconds": seconds})
    assert not slopes(results[:2]), "two points lie on any line"
    [line] = slopes(results)
    return line


def test_a_linear_cost_has_its_slope_and_intercept_and_lies_on_its_line() -> None:
    line = line_of(0.0)
    assert line["intercept seconds"] == pytest.approx(0.25)
    assert [*line["seconds a sample"]] == ["1000", "10000", "100000", "1000000"]
    assert [*line["seconds a sample"].values()] == pytest.approx([3e-7] * 4)
    assert line["ratio"] == pytest.approx(1)
    assert line["over the line"] == pytest.approx(1)


def test_a_cost_that_grows_faster_leaves_its_line() -> None:
    line = line_of(1e-12)
    assert line["ratio"] > 3
    assert line["over the line"] > 1.9
