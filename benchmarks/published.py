r"""docs/published.md and methods.md: their tables, from published figures and from measured ones.

    python -m benchmarks.published

What stands between `<!-- NAME -->` and `<!-- end -->` is replaced: the table of that name in
`src/pmnar/published.yaml`, or its `NAME misfits`; of the digits, `beside` (published figures beside
measured ones), `robust` (the methods that do best where two kinds of noise are both possible) and
`digits` (all methods). The last three stay as they are while there is no digits.jsonl.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.compare_table import OWN, brief, job_of, mean_of_last_ten, percent
from benchmarks.measure import RESULTS, ROOT, Result, markdown, results
from pmnar.files import write_text
from pmnar.published import Row, Table, tables

PAGE, METHODS = ROOT / "docs" / "published.md", ROOT / "docs" / "methods.md"
DIGITS = ROOT / RESULTS / "digits.jsonl"
NOISES = ("sym50", "asym40")
"""What both Table 1 and the table of the digits have."""
SHOWN = 12
"""Rows of the robust."""

REGION = re.compile(r"<!-- (?P<name>[\w ]+) -->\n(?P<text>.*?)\n<!-- end -->", flags=re.DOTALL)

Runs = Mapping[str, Mapping[str, Sequence[Result]]]
"""Of a method, under a noise: a result for each seed."""


def renewed(page: str, measured: Sequence[Result] = ()) -> str:
    """The page with each of its regions written anew.

    Args:
        page: Markdown.
        measured: runs of `benchmarks.compare` on the digits; without any, what is of them stays.

    Raises:
        KeyError: a region has no table's name.
    """
    published, runs = tables(), by_method(measured)

    def region(found: re.Match[str]) -> str:
        name, text = found["name"], found["text"]
        if name == "beside":
            text = beside(published["table1"], runs) if runs else text
        elif name == "robust":
            text = robust(runs) if runs else text
        elif name == "digits":
            text = brief(measured) if measured else text
        elif name.endswith(" misfits"):
            text = misfits(published[name.removesuffix(" misfits")])
        else:
            text = shown(published[name])
        return f"<!-- {name} -->\n{text}\n<!-- end -->"

    return REGION.sub(region, page)


def by_method(measured: Sequence[Result]) -> Runs:
    """Results of `NOISES` by method and noise, those of other budgets left out."""
    runs: dict[str, dict[str, list[Result]]] = {}
    for result in measured:
        job = job_of(result)
        if job.budget == OWN and job.noise in NOISES:
            runs.setdefault(job.method, {noise: [] for noise in NOISES})[job.noise].append(result)
    return {method: found for method, found in runs.items() if all(found.values())}


# -- as published ---------------------------------------------------------------------------------


def shown(table: Table) -> str:
    """A table as Markdown, a part for each data set, and below it what is noted of it."""
    parts = [part(table, name) for name in dict.fromkeys(c.dataset for c in table.columns)]
    [*conventions] = {column.convention for column in table.columns}
    about = [
        f"{table.source}, {table.where}.",
        "" if len(conventions) > 1 else f"Best epoch or last: {conventions[0]}.",
        table.note,
        *(f"`{row.method}`: {row.note}." for row in table.rows if row.note),
    ]
    return "\n\n".join([*parts, " ".join(text for text in about if text)])


def part(table: Table, dataset: str) -> str:
    """The columns of one data set; how symmetric noise is drawn, where that is known of any row."""
    draws = any(row.draws != "unsaid" for row in table.rows)
    varied = [
        key
        for key in ("measure", "convention")
        if len({getattr(column, key) for column in table.columns}) > 1
    ]
    head, rows = ["method", "in print", *draws * ["drawn from"]], []
    for column in (column for column in table.columns if column.dataset == dataset):
        words = [column.noise, *(getattr(column, key).replace("_", " ") for key in varied)]
        head.append(" ".join(words))
    for row in table.rows:
        of_each = zip(table.columns, row.cells, strict=True)
        cells = [str(cell) for column, cell in of_each if column.dataset == dataset]
        rows.append([named(row), row.name, *draws * [row.draws], *cells])
    return f"**{dataset}**\n\n{markdown(head, rows)}"


def named(row: Row) -> str:
    """Its name in conf/method."""
    return "–" if row.method is None else f"`{row.method}`"


def misfits(table: Table) -> str:
    """What its figures break, as Markdown."""
    rows = [[name, f"{off:+}".replace("-", "−"), why] for name, off, why in table.misfits]
    return markdown((table.source, "off by", "why"), rows)


# -- beside what is measured ----------------------------------------------------------------------


def beside(table: Table, runs: Runs) -> str:
    """CIFAR-10's published figures and those of the digits, for the methods that have both."""
    both = (f"{of} {noise}" for of in ("CIFAR-10", "digits") for noise in NOISES)
    rows = [
        [
            named(row),
            *(str(table.cell(row, dataset="cifar10", noise=noise)) for noise in NOISES),
            *measured_cells(runs[row.method]),
        ]
        for row in table.rows
        if row.method is not None and row.method in runs
    ]
    return markdown(["method", *both, "lost", "seeds"], rows)


def robust(runs: Runs) -> str:
    """The methods whose lowest run, of both noises and all seeds, is the highest.

    Those that learn from true labels too are left out.
    """
    alone = [
        method
        for method, found in runs.items()
        if not any(result.get("true_labels") for group in found.values() for result in group)
    ]

    def lowest(method: str) -> float:
        return min(mean_of_last_ten(result) for group in runs[method].values() for result in group)

    rows = []
    for method in sorted(alone, key=lowest, reverse=True)[:SHOWN]:
        costs = [fmean(r["cost"] for r in runs[method][noise]) for noise in NOISES]
        cost = "/".join(f"{each:.0f}" for each in costs)
        rows.append([f"`{method}`", *measured_cells(runs[method]), cost])
    return markdown(["method", *NOISES, "lost", "seeds", "cost"], rows)


def measured_cells(found: Mapping[str, Sequence[Result]]) -> list[str]:
    """Under each noise the accuracy, with the lowest seed's; classes lost, in all; seeds."""
    groups = [found[noise] for noise in NOISES]
    accuracy = []
    for group in groups:
        values = [mean_of_last_ten(result) for result in group]
        accuracy.append(f"{percent(values)} ({percent([min(values)])})")
    lost = "/".join(str(sum(result["lost"] for result in group)) for group in groups)
    return [*accuracy, lost, "/".join(str(len(group)) for group in groups)]


def main(pages: Sequence[Path] = (PAGE, METHODS)) -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--digits", type=Path, default=DIGITS, help="results of benchmarks.compare")
    measured = results(parser.parse_args().digits)
    for page in pages:
        write_text(page, renewed(page.read_text(encoding="utf-8"), measured))


if __name__ == "__main__":
    main()
