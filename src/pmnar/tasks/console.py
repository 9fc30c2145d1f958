"""What people read while and after a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pmnar.health import is_healthy, makes_labels_worse
from pmnar.names import HELD_OUT

CONSOLE = Console(highlight=False, soft_wrap=True)
ERRORS = Console(highlight=False, soft_wrap=True, stderr=True)
ACCURACIES = ("best", "last", "mean_last_10")
SHOWN = 8
"""How many classes a line names."""
NOISY = f"_{HELD_OUT}"
JUDGED_BY_GIVEN = f"accuracy{NOISY}"


def say(text: str, error: bool = False) -> None:
    """Print a line as it is: paths, overrides and class names may hold brackets."""
    (ERRORS if error else CONSOLE).print(text, markup=False)


def show(table: Table) -> None:
    """Print a table."""
    CONSOLE.print(table)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal, or a dash for an unknown value."""
    return "–" if value is None else f"{100 * value:.1f} %"


def decimal(value: float | None) -> str:
    """A score with three decimals, or a dash for an unknown value."""
    return "–" if value is None else f"{value:.3f}"


def accuracy_table(summaries: Sequence[Mapping[str, Any]]) -> Table:
    """Accuracy of each method's outputs: best epoch, last epoch, mean of the last ten.

    On the test split or, where there is none, on the given labels that were held out.
    """
    kept = "accuracy" if any("accuracy" in summary for summary in summaries) else JUDGED_BY_GIVEN
    title = "Test accuracy" if kept == "accuracy" else "Accuracy on noisy labels that were held out"
    if kept == "accuracy" and not all(_truth_known(summary) for summary in summaries):
        title += ", against labels that are as untrusted as the training set's"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("method", "output"):
        table.add_column(column)
    for column in ("best", "last", "mean of last 10"):
        table.add_column(column, justify="right")
    for summary in summaries:
        for output, values in summary.get(kept, {}).items():
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


def sweep_table(records: Sequence[Mapping[str, Any]], varied: Sequence[Mapping[str, str]]) -> Table:
    """A row a job of a sweep: the overrides in which jobs differ, and how well f did.

    Args:
        records: as the jobs have left them.
        varied: of each job the values of those overrides, by key.
    """
    table = Table(title="Sweep", title_justify="left", title_style="bold")
    keys = list(varied[0])
    noisy = any(f"accuracy_first{NOISY}_last" in record for record in records)
    accuracies = [f"accuracy_first_{kind}" for kind in ACCURACIES]
    headers = ["best", "last", "mean of last 10"]
    if noisy:
        accuracies.append(f"accuracy_first{NOISY}_mean_last_10")
        headers.append("on noisy labels")
    for header in ("job", *map(_narrow, keys), "status"):
        table.add_column(header)
    for header in (*headers, "s"):
        table.add_column(header, justify="right")
    for record, values in zip(records, varied, strict=True):
        seconds = record.get("seconds")
        table.add_row(
            str(record["job"]),
            *(Text(_short(values[key])) for key in keys),
            record["status"],
            *(percent(record.get(name)) for name in accuracies),
            "–" if seconds is None else f"{seconds:.0f}",
        )
    return table


def _narrow(key: str) -> str:
    """A dotted key on several lines."""
    return escape(key.replace(".", ".\n").replace("_", "_\n"))


def _short(value: str) -> str:
    """A number with four significant digits; anything else as it is."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _truth_known(summary: Mapping[str, Any]) -> bool:
    return "actual_rate" in summary["noise"]


def describe_suspects(summary: Mapping[str, Any]) -> str:
    """How many labels look wrong, and of how many more the network is unsure of all classes."""
    samples, unsure = summary["samples"], summary.get("unsure", 0)
    # A run of before they were told apart has the share of both.
    both = round(summary["detection"]["estimated_noise_rate"] * samples)
    count = summary.get("suspects", both)
    found = f"{count:,} of {samples:,} training labels look wrong ({percent(count / samples)})"
    also = f", of {unsure:,} more the network is unsure" if unsure else ""
    named = "; samples.parquet names them" if is_healthy(summary) else ", not to be acted on"
    return f"{found}{also}{named}"


def describe_health(summary: Mapping[str, Any]) -> list[str]:
    """What is wrong with a run's result, and what to try: nothing where all is well."""
    if is_healthy(summary):
        return []
    found = []
    if lost := summary.get("lost_classes"):
        found.append(describe_lost(lost, len(summary["class_names"])))
    if "learnt_little" in summary:
        found.append(
            "it has learnt too little to judge labels: its likeliest class has a probability of "
            f"{summary['learnt_little']:.2f} on average"
        )
    if makes_labels_worse(summary):
        wrong = summary["wrong_labels"]
        found.append(
            f"its suggestions would make the labels worse: {wrong['given']:,} are wrong, "
            f"{wrong['as_suggested']:,} would be"
        )
    return [*found, f"try {summary['try']}"] if "try" in summary else found


def describe_lost(lost: Sequence[str], num_classes: int) -> str:
    """Which classes the first network has all but stopped predicting: the first few."""
    named = ", ".join(lost[:SHOWN]) + (", …" if len(lost) > SHOWN else "")
    return f"hardly predicts {len(lost):,} of {num_classes:,} classes: {named} (see classes.csv)"


def print_result(summaries: Sequence[Mapping[str, Any]]) -> None:
    """The tables of one or several runs on the same labels, and where their files are.

    First what is wrong with them, if anything is.
    """
    for summary in summaries:
        for line in describe_health(summary):
            say(f"{summary['method']}: {line}")
    if any("accuracy" in summary or JUDGED_BY_GIVEN in summary for summary in summaries):
        CONSOLE.print(accuracy_table(summaries))
    else:
        say("no test images: accuracy is unknown; data.noisy_validation=0.1 holds some labels out")
    if any(_truth_known(summary) for summary in summaries):
        CONSOLE.print(detection_table(summaries))
    for summary in summaries:
        say(f"{summary['method']}: {describe_suspects(summary)}")
    for summary in summaries:
        seconds = summary["seconds"]
        say(
            f"{summary['method']}: {summary['epochs']} epochs, "
            f"{seconds['total']:.0f} s training, files in {summary['run']}"
        )
