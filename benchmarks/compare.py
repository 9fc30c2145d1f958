"""All methods on the same labels, each by its own recipe: one command, one table.

    OMP_NUM_THREADS=1 python -m benchmarks.compare --out benchmarks/results/digits
    python -m benchmarks.compare --out NAME --noises sym50 --methods ce,elr dataset=cifar10 ...

Further arguments are overrides, as `python -m src.train` takes them, for every method alike. Each
run that ends is a line of NAME.jsonl; what is there is not run again, and NAME.md is the table.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import pyarrow.parquet as pq

from benchmarks.counts import CountPasses
from benchmarks.measure import Result, circumstances, keep, markdown, results, source
from benchmarks.runs import configuration, run_of
from benchmarks.small_data_table import audit, numbers
from pmnar.tasks.command import config_dir
from pmnar.tasks.places import read_summary


class Job(NamedTuple):
    """A run."""

    noise: str
    method: str
    seed: int


def methods() -> list[str]:
    """The names in conf/method."""
    return sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))


def run(job: Job, overrides: Sequence[str]) -> Result:
    """Train a method as a user's command does, and keep what the table needs.

    The cost is in epochs of cross-entropy, by the images that the networks saw, in training and
    between epochs: a forward counts 1, a backward 2; tests are left out.
    """
    own = (f"noise={job.noise}", f"method={job.method}", f"seed={job.seed}", "logger=none")
    counter = CountPasses(epoch=None)
    with run_of(configuration(*overrides, *own), [counter]) as training:
        training.fit()
        summary = read_summary(training.folder)
        samples = pq.read_table(training.folder / "samples.parquet")
    seen = 3 * counter.seen[True] + counter.seen[False]
    return {
        **job._asdict(),
        "overrides": list(overrides),
        "cost": seen / (3 * summary["samples"]),
        "detection": summary["detection"],
        **numbers(summary),
        "audit": audit(samples),
        **circumstances("compare"),
    }


# -- the table ------------------------------------------------------------------------------------

HEAD = (
    *("method", "seeds", "mean of last 10", "±", "best", "last", "ensemble", "lost"),
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
    "forward 1, a backward 2, tests left out). The seconds are those of a machine with other work."
)


def cells(method: str, group: Sequence[Result]) -> list[str]:
    """A row: one method's runs under one noise."""
    first = [result["accuracy"]["first"] for result in group]
    last_ten = [found["mean_last_10"] for found in first]
    ensemble = [r["accuracy"].get("ensemble", {}).get("mean_last_10") for r in group]
    found = [result["audit"] for result in group]
    order = found[0]["order"]
    return [
        f"`{method}`",
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


def percent(values: Sequence[float]) -> str:
    """Their mean in %."""
    return f"{100 * fmean(values):.1f}"


def table(found: Sequence[Result]) -> str:
    """Markdown: a part for each noise, the best first."""
    lines = []
    for noise in dict.fromkeys(result["noise"] for result in found):
        groups: dict[str, list[Result]] = {}
        for result in found:
            if result["noise"] == noise:
                groups.setdefault(result["method"], []).append(result)
        rows = sorted((cells(*each) for each in groups.items()), key=lambda row: -float(row[2]))
        lines += [f"**{noise}**", "", markdown(HEAD, rows), ""]
    return "\n".join([*lines, ABOUT, "", *([source(found[-1])] if found else []), ""])


def main() -> None:
    """Run what is missing, then write the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="path without ending")
    parser.add_argument("--noises", default="sym50,asym40")
    parser.add_argument("--methods", default="", help="in place of all")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    stored = args.out.with_suffix(".jsonl")
    chosen = [name for name in args.methods.split(",") if name] or methods()
    for seed in map(int, args.seeds.split(",")):
        for noise in args.noises.split(","):
            for job in (Job(noise, method, seed) for method in chosen):
                done = {Job(*(r[key] for key in Job._fields)) for r in results(stored)}
                if job not in done:
                    keep(stored, run(job, args.overrides))
    text = table(results(stored))
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
