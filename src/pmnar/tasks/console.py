"""What people read while and after a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

CONSOLE = Console(highlight=False, soft_wrap=True)
ACCURACIES = ("best", "last", "mean_last_10")


def say(text: str) -> None:
    """Print a line as it is: paths, overrides and class names may hold brackets."""
    CONSOLE.print(text, markup=False)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, or a dash for an unknown value."""
    return "–" if value is None else f"{100 * value:.1f} %"


def decimal(value: float | None) -> str:
    """A score with three decimals, or a dash for an unknown value."""
    return "–" if value is None else f"{value:.3f}"


def accuracy_table(summaries: Sequence[Mapping[str, Any]]) -> Table:
    """Test accuracy of each method's outputs: best epoch, last epoch, mean of the last ten."""
    title = "Test accuracy"
    if not all(_truth_known(summary) for summary in summaries):
        title += ", against labels that are as untrusted as the training set's"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("method", "output"):
        table.add_column(column)
    for column in ("best", "last", "mean of last 10"):
        table.add_column(column, justify="right")
    for summary in summaries:
        for output, values in summary["accuracy"].items():
            table.add_row(
                summary["method"], output, *(percent(values.get(name)) for name in ACCURACIES)
            )
    return table


def detection_table(summaries: Sequence[Mapping[str, Any]]) -> Table:
    """How well each method finds the wrong labels."""
    title = "Noise detection (positive: mislabelled)"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method")
    for column in ("precision", "recall", "F1", "AUROC", "estimated noise", "actual noise"):
        table.add_column(column, justify="right")
    for summary in summaries:
        found = summary["detection"]
        table.add_row(
            summary["method"],
            *(decimal(found.get(name)) for name in ("precision", "recall", "f1", "auroc")),
            *(percent(found.get(f"{kind}_noise_rate")) for kind in ("estimated", "actual")),
        )
    return table


def _truth_known(summary: Mapping[str, Any]) -> bool:
    return "actual_rate" in summary["noise"]


def print_result(summaries: Sequence[Mapping[str, Any]]) -> None:
    """The tables of one or several runs on the same labels, and where their files are."""
    CONSOLE.print(accuracy_table(summaries))
    if any(_truth_known(summary) for summary in summaries):
        CONSOLE.print(detection_table(summaries))
    else:
        for summary in summaries:
            share = summary["detection"]["estimated_noise_rate"]
            count = round(share * summary["samples"])
            say(
                f"{summary['method']}: {count:,} of {summary['samples']:,} training labels look "
                f"wrong ({percent(share)}); samples.parquet names them"
            )
    for summary in summaries:
        seconds = summary["seconds"]
        say(
            f"{summary['method']}: {summary['epochs']} epochs, "
            f"{seconds['total']:.0f} s training, files in {summary['run']}"
        )
