"""docs/published.md says what the published figures and the results say now."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import every
import pytest

from benchmarks import published
from benchmarks.measure import results
from benchmarks.published import DIGITS, METHODS, NOISES, PAGE, SHOWN, by_method, renewed
from pmnar.published import tables

PAGE_TEXT = PAGE.read_text(encoding="utf-8")


def run(method: str, noise: str, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """What the page reads of a run."""
    first = {"mean_last_10": accuracy}
    what = {"method": method, "noise": noise, "seed": seed, "lost": 0, "cost": 80.0}
    return what | {"accuracy": {"first": first}} | more


def runs() -> Iterator[dict[str, Any]]:
    for number, method in enumerate(("ce", "elr", "pmnar", *(f"m{n}" for n in range(SHOWN)))):
        for noise in NOISES:
            for seed in (1, 2):
                yield run(method, noise, seed, 0.9 - number / 100 - seed / 1000)


@pytest.mark.parametrize("page", [PAGE, METHODS])
def test_a_page_is_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(text, results(DIGITS)) == text, "python -m benchmarks.published"


def test_every_method_was_measured_and_has_a_row_on_its_page() -> None:
    text = METHODS.read_text(encoding="utf-8")
    about, _, measured = text.partition("## Measured on the digits")
    for name in every.METHODS:
        assert f"`{name}`" in about, name
        assert f"| `{name}`" in measured, name


def test_the_page_has_the_tables_that_it_speaks_of() -> None:
    for name in ("table1", "table2", "cifar_n", "table1 misfits", "table4 misfits"):
        assert f"<!-- {name} -->\n" in PAGE_TEXT
    for table in ("table1", "table2", "cifar_n"):
        for row in tables()[table].rows:
            by_dataset = PAGE_TEXT.split(f"| {row.name} |")[1:]
            assert len(by_dataset) >= 1
            for cell in row.cells:
                assert any(f" {cell} |" in text.split("\n")[0] for text in by_dataset)


def test_without_results_what_was_measured_stays() -> None:
    assert renewed("<!-- beside -->\nof then\n<!-- end -->") == (
        "<!-- beside -->\nof then\n<!-- end -->"
    )


def test_a_page_that_is_written_twice_is_the_same() -> None:
    measured = list(runs())
    once = renewed(PAGE_TEXT, measured)
    assert renewed(once, measured) == once
    assert "| `pmnar` | **96.0** | **95.3** | 87.9 (87.8) | 87.9 (87.8) | 0/0 | 2/2 |" in once


def test_a_region_of_no_name_is_no_page() -> None:
    with pytest.raises(KeyError, match="table9"):
        renewed("<!-- table9 -->\n\n<!-- end -->")


def test_measured_figures_are_means_and_the_lowest_over_seeds() -> None:
    measured = [
        run("ce", "sym50", 1, 0.70),
        run("ce", "sym50", 2, 0.74, lost=1),
        run("ce", "asym40", 1, 0.90, cost=81.0),
        run("ce", "asym40", 2, 0.99, budget="cost"),
        run("ce", "sym80", 1, 0.10),
        run("elr", "sym50", 1, 0.99),
    ]
    found = by_method(measured)
    assert found.keys() == {"ce"}  # the other is not there under both noises
    mean = 100 * fmean((0.70, 0.74))
    row = f"{mean:.1f} (70.0) | 90.0 (90.0) | 1/0 | 2/1 |"
    assert f"| `ce` | 79.4 | 76.1 | {row}" in published.beside(tables()["table1"], found)
    assert f"| `ce` | {row} 80/81 |" in published.robust(found)


def test_the_robust_are_those_whose_lowest_run_is_the_highest() -> None:
    measured = [*runs(), run("elr", "asym40", 3, 0.2)]
    lines = published.robust(by_method(measured)).split("\n")[2:]
    assert len(lines) == SHOWN
    assert lines[0].startswith("| `ce` |")
    assert not any("`elr`" in line for line in lines)


def test_what_learns_from_true_labels_is_not_among_the_robust() -> None:
    told = [run("l2rw", noise, 1, 0.999, true_labels=100) for noise in NOISES]
    assert "l2rw" not in published.robust(by_method([*runs(), *told]))
    assert "`ce`" in published.robust(by_method([*runs(), *told]))
