"""The tables of `benchmarks.compare`: the whole one, and a brief one for docs/methods.md."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from benchmarks.measure import Result, markdown, source

REFERENCE = "pmnar"
OWN, EPOCHS, COST = "own", "epochs", "cost"
"""How long a method is trained: as its recipe says, as many epochs as all, or at the same cost."""


class Job(NamedTuple):
    """A run."""

    noise: str
    method: str
    seed: int
    budget: str = OWN


def job_of(result: Result) -> Job:
    """That a result is of."""
    return Job(*(result[key] for key in Job._fields if key in result))


HEAD = (
    *("method", "epochs", "seeds", "mean of last 10", "±", "best", "last", "ensemble", "lost"),
    *("F1 of p_y", "AUROC of p_y", "own score", "its AUROC", "F1 of mislabelled"),
    *("cost", "seconds"),
)
ABOUT = (
    "Means over the seeds. Accuracy of the first network on the test set in %: the mean of the "
    "last ten epochs with its standard deviation over the seeds, the best epoch (by the test set, "
    "so no result to publish), the last; the ensemble's mean of the last ten. Lost: classes with "
    "a recall under 2 % at the end, of each seed. Detection, after the last epoch: F1 and AUROC of "
    "the confidence in the given label; the column of `samples.parquet` by which the method orders "
    "suspects, and its AUROC; F1 of `mislabelled`. Cost in epochs of cross-entropy, counted (a "
    "forward 1, a backward 2, tests left out). A method that learns from true labels too has so "
    "many of the training samples (`dataset.recipe.clean`) beside the others, which are fewer by "
    "them. The seconds are those of a machine with other work."
)


def cells(method: str, group: Sequence[Result]) -> list[str]:
    """A row: one method's runs under one noise."""
    first = [result["accuracy"]["first"] for result in group]
    last_ten = [mean_of_last_ten(result) for result in group]
    ensemble = [r["accuracy"].get("ensemble", {}).get("mean_last_10") for r in group]
    found = [result["audit"] for result in group]
    order = found[0]["order"]
    return [
        named(method, group),
        str(group[0].get("epochs", "–")),
        ", ".join(str(result["seed"]) for result in group),
        percent(last_ten),
        "–" if len(group) == 1 else f"{100 * stdev(last_ten):.1f}",
        *(percent([each[name] for each in first]) for name in ("best", "last")),
        "–" if None in ensemble else percent(ensemble),
        "/".join(str(result["lost"]) for result in group),
        f"{fmean(r['detection']['f1'] for r in group):.3f}",
        f"{fmean(each['confidence']['auroc'] for each in found):.3f}",
        order,
        f"{fmean(each[order]['auroc'] for each in found):.3f}",
        f"{fmean(each['confidence']['f1'] for each in found):.3f}",
        f"{fmean(result['cost'] for result in group):.0f}",
        f"{fmean(result['seconds'] for result in group):.0f}",
    ]


def named(method: str, group: Sequence[Result]) -> str:
    """A method, and how many true labels it learns from."""
    lent = group[0].get("true_labels", 0)
    return f"`{method}`" + (f", {lent} true labels" if lent else "")


def mean_of_last_ten(result: Result) -> float:
    """The first network's accuracy, the mean of the last ten epochs."""
    found: float = result["accuracy"]["first"]["mean_last_10"]
    return found


def percent(values: Sequence[float]) -> str:
    """Their mean in %."""
    return f"{100 * fmean(values):.1f}"


def table(found: Sequence[Result]) -> str:
    """Markdown: a part for each noise and budget, the best first."""
    parts: dict[tuple[str, str], dict[str, list[Result]]] = {}
    for result in found:
        job = job_of(result)
        parts.setdefault((job.noise, job.budget), {}).setdefault(job.method, []).append(result)
        if (job.method, job.budget) == (REFERENCE, EPOCHS):  # it costs what it costs
            parts.setdefault((job.noise, COST), {}).setdefault(job.method, []).append(result)
    lines = []
    for (noise, budget), groups in parts.items():
        rows = [HEAD, *sorted((cells(*of) for of in groups.items()), key=lambda r: -float(r[3]))]
        if budget == OWN:  # its epochs are its recipe's
            rows = [(row[0], *row[2:]) for row in rows]
        lines += [f"**{noise}**{BUDGETS[budget]}", "", markdown(rows[0], rows[1:]), ""]
    by_command = {result["command"]: source(result) for result in found}
    return "\n".join([*lines, ABOUT, "", "\n\n".join(by_command.values()), ""])


BUDGETS = {OWN: "", EPOCHS: ", the same epochs", COST: f", the cost of `{REFERENCE}`"}


# -- in brief -------------------------------------------------------------------------------------


def brief(found: Sequence[Result]) -> str:
    """Markdown: a line for each method by its own recipe, all noises side by side.

    The best under the first noise comes first.
    """
    noises = tuple(dict.fromkeys(result["noise"] for result in found))
    groups: dict[str, list[Result]] = {}
    for result in found:
        groups.setdefault(result["method"], []).append(result)
    rows = []
    for method, group in groups.items():
        of_noise = [[result for result in group if result["noise"] == noise] for noise in noises]
        costs = "/".join(f"{fmean(r['cost'] for r in each):.0f}" for each in of_noise if each)
        measured = [text for each in of_noise for text in brief_cells(each)]
        rows.append([named(method, group), *measured, costs])
    rows.sort(key=lambda row: -float(row[1].split()[0].replace("–", "-1")))
    columns = [f"{noise}: {name}" for noise in noises for name in BRIEF_OF_NOISE]
    return markdown(["method", *columns, "cost"], rows)


BRIEF_OF_NOISE = ("mean of last 10", "best", "F1 of p_y", "F1 of mislabelled")


def brief_cells(group: Sequence[Result]) -> list[str]:
    """A method's figures under one noise."""
    if not group:
        return ["–"] * len(BRIEF_OF_NOISE)
    first = [result["accuracy"]["first"] for result in group]
    last_ten = [mean_of_last_ten(result) for result in group]
    spread = "" if len(group) == 1 else f" ± {100 * stdev(last_ten):.1f}"
    return [
        percent(last_ten) + spread,
        percent([found["best"] for found in first]),
        f"{fmean(result['detection']['f1'] for result in group):.3f}",
        f"{fmean(result['audit']['confidence']['f1'] for result in group):.3f}",
    ]
