"""The numbers of a run on few images, and the table of all runs."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.measure import markdown, source

Result = dict[str, Any]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SCORES = ("confidence", "margin", "recent_confidence", "weight")
"""Columns of `samples.parquet` that may say how right a label is, the lower the more suspect;
beside them the method's own."""
THRESHOLDS = {"margin": 0.0}
LOST = 0.02
"""A class is counted as lost whose recall in the end is below."""


def numbers(summary: Result) -> Result:
    """Accuracy of the first network and of all, lost classes, seconds."""
    recall = [found["last"] for found in summary["recall_per_class"].values()]
    return {
        "accuracy": summary["accuracy"],
        "lost": sum(each < LOST for each in recall),
        "lost_given": len(summary["lost_classes"]),
        "lowest_recall": min(recall),
        "epochs": summary["epochs"],
        "seconds": summary["seconds"]["total"],
    }


def audit(samples: pa.Table) -> Result:
    """How well each score finds wrong labels."""
    column = {name: samples[name].to_numpy() for name in samples.column_names}
    wrong, given = column["true_label"] != column["given_label"], column["given_label"]
    differs = column["suggested_label"] != given
    order = (samples.schema.metadata or {}).get(b"order", b"confidence").decode()
    found: Result = {"wrong": float(wrong.mean()), "flagged": float(column["mislabelled"].mean())}
    found["order"] = order
    for name in dict.fromkeys((*SCORES, order)):
        if name in column and (name != "weight" or np.ptp(column[name]) > 0):
            score = column[name].astype(np.float64)
            found[name] = judged(score, wrong, given, differs, THRESHOLDS.get(name, 0.5))
    return found


def judged(score: Floats, wrong: Bools, given: Any, differs: Bools, threshold: float) -> Result:
    """AUROC over all and within each given label, AP, precision in the first, F1, share called."""
    order = np.argsort(score, kind="stable")
    hits = wrong[order]
    within = [auroc(score[given == k], wrong[given == k]) for k in np.unique(given)]
    called = (score < threshold) & differs
    return {
        "auroc": auroc(score, wrong),
        "auroc_within": fmean(a for a in within if not np.isnan(a)),
        "ap": average_precision(hits),
        "precision_100": float(hits[:100].mean()),
        "precision_500": float(hits[:500].mean()),
        "f1": 2 * float((called & wrong).sum()) / max(float(called.sum() + wrong.sum()), 1.0),
        "called": float(called.mean()),
    }


def auroc(score: Floats, wrong: Bools) -> float:
    """The chance that a wrong label scores under a right one, ties counting half."""
    if wrong.all() or not wrong.any():
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    right = int((~wrong).sum())
    above = rank[~wrong].sum() - right * (right + 1) / 2
    return float(above / (right * int(wrong.sum())))


def average_precision(hits: Bools) -> float:
    """The mean of the precision at each wrong label, `hits` being the most suspect first."""
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean()) if hits.any() else float("nan")


# -- the table ------------------------------------------------------------------------------------

HEAD = (
    *("row", "contestant", "budget", "cost", "seeds", "last", "best", "mean of last 10"),
    *("ensemble", "lost", "lowest recall", "score", "AUROC", "within", "AP"),
    *("first 100", "first 500", "F1", "called wrong", "wrong"),
)


ABOUT = (
    "Means over the seeds, in % where not between 0 and 1. Budget: `cost`, as many epochs as cost "
    "what PMNAR's do; `epochs`, as many as PMNAR's. Cost: in epochs of cross-entropy. Last, best "
    "(by the test set, so no result to publish) and mean of last 10: the first network's accuracy. "
    "Lost: classes, for each seed, with a recall under 2 % at the end. Score: the column of "
    "`samples.parquet` by which the method orders suspects; of it are AUROC (over all, and the "
    "mean of those within each given class), AP and the precision in the first 100 and 500. F1 and "
    "the share called wrong are of `mislabelled`."
)


def table(results: Sequence[Result]) -> str:
    """Means over seeds as Markdown; audits by the score that the method itself goes by."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        key = (result["row"], result["contestant"], result["budget"])
        groups.setdefault(key, []).append(result)
    rows = [_cells(key, groups[key]) for key in sorted(groups)]
    lines = [markdown(HEAD, rows), "", ABOUT, ""]
    if results:
        lines += [source(results[-1]), ""]
    return "\n".join(lines)


def _cells(key: tuple[str, str, str], group: Sequence[Result]) -> list[str]:
    first = [result["accuracy"]["first"] for result in group]
    ensemble = [r["accuracy"].get("ensemble", r["accuracy"]["first"])["last"] for r in group]
    audits = [result["audit"][result["audit"]["order"]] for result in group]
    return [
        *key,
        f"{fmean(r['cost'] for r in group):.0f}",
        ", ".join(str(r["seed"]) for r in group),
        *(_percent(found[name] for found in first) for name in ("last", "best", "mean_last_10")),
        _percent(ensemble),
        "/".join(str(r["lost"]) for r in group),
        f"{fmean(r['lowest_recall'] for r in group):.2f}",
        group[0]["audit"]["order"],
        *(f"{fmean(a[name] for a in audits):.3f}" for name in ("auroc", "auroc_within", "ap")),
        *(f"{fmean(a[f'precision_{n}'] for a in audits):.2f}" for n in (100, 500)),
        f"{fmean(r['audit']['confidence']['f1'] for r in group):.3f}",
        _percent(r["audit"]["flagged"] for r in group),
        _percent(r["audit"]["wrong"] for r in group),
    ]


def _percent(values: Iterable[float]) -> str:
    return f"{100 * fmean(values):.1f}"
